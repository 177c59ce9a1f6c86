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

use anyhow::Context;
use serde::Deserialize;

use crate::clock::{Clock, Mono};
use crate::config::Need;
use crate::event::catalogue::types;

use super::access::{self, TurnedAway};
use super::args::{self, EmitArgs};
use super::locate::contact;
use super::{Exit, complain, say};

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
    /// The event did not come to its end in time.
    #[error(
        "standard input did not end within {} (--timeout), and nothing was sent; close it, or give it longer",
        humantime::format_duration(*.0)
    )]
    InputOpen(Duration),
    /// Standard input cannot be read.
    #[error("cannot read standard input")]
    Input(#[source] io::Error),
    /// The daemon said no; in its words, which hold nothing of the event.
    #[error("refused: {0}")]
    Refused(String),
}

impl EmitError {
    /// 69 not reachable or not in time, 77 permission, 1 refused or unreadable.
    pub const fn exit_code(&self) -> u8 {
        match self {
            EmitError::Unreachable { .. } | EmitError::Crowded(_) | EmitError::InputOpen(_) => 69,
            EmitError::Permission(_) => 77,
            EmitError::Refused(_) | EmitError::Input(_) => 1,
        }
    }
}

/// The time for all that `emit` does, from its start.
#[derive(Clone, Debug)]
pub struct Deadline {
    clock: Clock,
    began: Mono,
    timeout: Duration,
}

impl Deadline {
    /// Ends `timeout` from now.
    pub fn new(clock: Clock, timeout: Duration) -> Self {
        Self { began: clock.mono(), clock, timeout }
    }

    /// What `work` gives, unless the time is over before. Then its thread, which may hang in a system call, ends
    /// with the process.
    fn watch<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        let (done, waited) = mpsc::sync_channel(1);
        std::thread::spawn(move || {
            let _ = done.send(work());
        });
        let left = self.timeout.saturating_sub(self.clock.mono().since(self.began));
        waited.recv_timeout(left).ok()
    }
}

/// From arguments to an exit code.
pub(super) fn command(path: Option<&Path>, args: EmitArgs) -> anyhow::Result<Exit> {
    let deadline = Deadline::new(Clock::system(), args.timeout.into());
    if args.list {
        return say(&describe::list());
    }
    let known = args.array.as_deref().and_then(|array| types().iter().find(|known| known.array == array));
    if args.help {
        return say(&known.map_or_else(args::emit_help, describe::fields));
    }
    let Some(array) = &args.array else {
        complain(&args::emit_help());
        return Ok(Exit::Usage);
    };
    // A dialplan that names the socket needs no configuration.
    let needs: &[Need] =
        if args.socket.is_some() { &[Need::SourceId] } else { &[Need::Stream, Need::SourceId] };
    let contact = contact(path, needs)?;
    if known.is_none() && !contact.extra_arrays.iter().any(|extra| extra.name.as_ref() == array.as_str()) {
        complain(&format!("trunkline: there is no array {array:?}; `trunkline emit --list` has them all"));
        return Ok(Exit::Usage);
    }
    let stdin = match args.from_json.as_deref() {
        Some("-") => Some(standard_input(&deadline)?),
        _ => None,
    };
    let now =
        jiff::Timestamp::from_millisecond(Clock::system().unix_ms()).context("the clock is out of range")?;
    let built = build::build(&build::BuildInput {
        array,
        known,
        json: stdin.as_deref().or(args.from_json.as_deref()),
        words: &args.fields,
        source_id: contact.source_id.as_deref(),
        event_id: uuid::Uuid::new_v4(),
        time: &now.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string(),
    });
    let built = match built {
        Ok(built) => built,
        Err(error) => {
            complain(&format!("trunkline: {error}"));
            return Ok(Exit::Usage);
        }
    };
    let socket = args.socket.unwrap_or(contact.stream);
    hand_over(&built.line, &socket, &deadline)?;
    say(&format!("{}\n", built.event_id))
}

/// Reads standard input to its end.
///
/// # Errors
/// If that is not in time, or it is no text.
pub fn standard_input(deadline: &Deadline) -> Result<String, EmitError> {
    match deadline.watch(|| io::read_to_string(io::stdin())) {
        Some(read) => read.map_err(EmitError::Input),
        None => Err(EmitError::InputOpen(deadline.timeout)),
    }
}

/// Hands a line to the daemon and waits for its answer until `deadline`. The event is on stable storage
/// when it returns `Ok`.
///
/// # Errors
/// See [`EmitError`].
pub fn hand_over(line: &str, socket: &Path, deadline: &Deadline) -> Result<(), EmitError> {
    let (line, path) = (format!("{line}\n"), socket.to_path_buf());
    let unreachable = |reason: String| EmitError::Unreachable { socket: socket.to_path_buf(), reason };
    match deadline.watch(move || exchange(&line, &path)) {
        Some(Ok(answer)) => judge(&answer, socket, unreachable),
        Some(Err(error)) if error.kind() == io::ErrorKind::PermissionDenied => {
            Err(EmitError::Permission(access::explain(socket, "ingest.stream.mode")))
        }
        Some(Err(error)) => Err(unreachable(error.to_string())),
        None => {
            let timeout = humantime::format_duration(deadline.timeout);
            Err(unreachable(format!("no answer within {timeout}")))
        }
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
    let answer: LineAnswer = serde_json::from_str(answer)
        .map_err(|_| unreachable("its answer cannot be understood".to_owned()))?;
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
