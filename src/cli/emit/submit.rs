//! One line to the stream door, and its answer.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use super::error::EmitError;
use crate::cli::access::{self, TurnedAway};
use crate::cli::answer::LineAnswer;

/// Longest answer to one event.
const MAX_ANSWER: u64 = 64 * 1024;

/// Hands a line to the daemon and waits for its answer. The event is on stable storage when it returns `Ok`. Where many
/// wait to be accepted it waits, too, for a place among them; `connected` is called once it has one.
pub(super) fn submit(line: &[u8], socket: &Path, connected: impl FnOnce()) -> Result<(), EmitError> {
    match exchange(line, socket, connected) {
        Ok(answer) => judge(&answer, socket),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            Err(EmitError::Permission(access::explain(socket, "ingest.stream.mode")))
        }
        Err(error) => Err(unreachable(socket, error.to_string())),
    }
}

fn unreachable(socket: &Path, reason: String) -> EmitError {
    EmitError::Unreachable { socket: socket.to_owned(), reason }
}

fn exchange(line: &[u8], socket: &Path, connected: impl FnOnce()) -> io::Result<String> {
    let mut stream = UnixStream::connect(socket)?;
    connected();
    // A daemon that turns us away closes while we write; what it said lies in the socket all the same.
    let written = stream.write_all(&[line, b"\n"].concat());
    let mut answer = String::new();
    let read = BufReader::new(stream).take(MAX_ANSWER).read_line(&mut answer);
    if answer.is_empty() {
        written.and(read)?;
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it closed the connection"));
    }
    Ok(answer)
}

fn judge(answer: &str, socket: &Path) -> Result<(), EmitError> {
    let answer: LineAnswer = serde_json::from_str(answer)
        .map_err(|_| unreachable(socket, "cannot understand its answer".to_owned()))?;
    match TurnedAway::of(socket, answer.status, answer.message.as_deref().unwrap_or_default()) {
        Some(TurnedAway::NotAllowed(why)) => return Err(EmitError::Permission(why)),
        Some(TurnedAway::Crowded(why)) => return Err(EmitError::Crowded(why)),
        None => {}
    }
    match (answer.errors.iter().flatten().next(), answer.message) {
        (Some(error), _) => Err(EmitError::Refused(error.message().to_owned())),
        (None, Some(message)) => Err(EmitError::Refused(message)),
        (None, None) => Ok(()),
    }
}
