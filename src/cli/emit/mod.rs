//! `trunkline emit`: one event from a shell or a dialplan.
//!
//! A call must never hang for it: everything together ends after `--timeout`.

pub mod build;
pub mod describe;

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use serde::Deserialize;

use super::access::{self, TurnedAway};

/// Longest answer to one event.
const MAX_ANSWER: u64 = 64 * 1024;

/// Why the event was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum EmitError {
    /// Nobody answered in time.
    #[error("{socket}: the daemon is not reachable: {reason}; is it running?", socket = .socket.display())]
    Unreachable {
        /// Stream socket.
        socket: PathBuf,
        /// What happened.
        reason: String,
    },
    /// Too many are connected; the text says all.
    #[error("{0}")]
    Crowded(String),
    /// The socket is not for us; the text says all.
    #[error("{0}")]
    Permission(String),
    /// The daemon said no; in its words, which hold nothing of the event.
    #[error("refused: {0}")]
    Refused(String),
}

impl EmitError {
    /// 69 not reachable, 77 permission, 1 refused.
    pub const fn exit_code(&self) -> u8 {
        match self {
            EmitError::Unreachable { .. } | EmitError::Crowded(_) => 69,
            EmitError::Permission(_) => 77,
            EmitError::Refused(_) => 1,
        }
    }
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    errors: Vec<Refusal>,
    message: Option<String>,
    status: Option<u16>,
}

#[derive(Deserialize)]
struct Refusal {
    message: String,
}

/// Hands a line to the daemon and waits for its answer, at most `timeout`. The event is on stable
/// storage when it returns `Ok`.
///
/// # Errors
/// See [`EmitError`].
pub fn hand_over(line: &str, socket: &Path, timeout: Duration) -> Result<(), EmitError> {
    let (answer, answered) = mpsc::sync_channel(1);
    let (line, path) = (format!("{line}\n"), socket.to_path_buf());
    // A thread that hangs in a system call ends with the process.
    std::thread::spawn(move || {
        let _ = answer.send(exchange(&line, &path));
    });
    let unreachable = |reason: String| EmitError::Unreachable { socket: socket.to_path_buf(), reason };
    match answered.recv_timeout(timeout) {
        Ok(Ok(answer)) => judge(&answer, socket, unreachable),
        Ok(Err(error)) if error.kind() == io::ErrorKind::PermissionDenied => {
            Err(EmitError::Permission(access::explain(socket, "ingest.stream.mode")))
        }
        Ok(Err(error)) => Err(unreachable(error.to_string())),
        Err(_) => Err(unreachable(format!("no answer within {}", humantime::format_duration(timeout)))),
    }
}

fn exchange(line: &str, socket: &Path) -> io::Result<String> {
    let mut stream = UnixStream::connect(socket)?;
    // A daemon that turns us away closes while we write; what it said lies in the socket all the same.
    let written = stream.write_all(line.as_bytes());
    let mut answer = String::new();
    let read = io::Read::take(BufReader::new(stream), MAX_ANSWER).read_line(&mut answer);
    if answer.is_empty() {
        written.and(read)?;
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it closed the connection"));
    }
    Ok(answer)
}

fn judge(answer: &str, socket: &Path, unreachable: impl Fn(String) -> EmitError) -> Result<(), EmitError> {
    let answer: Answer = serde_json::from_str(answer)
        .map_err(|_| unreachable("its answer cannot be understood".to_owned()))?;
    match TurnedAway::of(socket, answer.status, answer.message.as_deref().unwrap_or_default()) {
        Some(TurnedAway::NotAllowed(why)) => return Err(EmitError::Permission(why)),
        Some(TurnedAway::Crowded(why)) => return Err(EmitError::Crowded(why)),
        None => {}
    }
    match (answer.errors.into_iter().next(), answer.message) {
        (Some(refusal), _) => Err(EmitError::Refused(refusal.message)),
        (None, Some(message)) => Err(EmitError::Refused(message)),
        (None, None) => Ok(()),
    }
}
