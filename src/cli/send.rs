//! `trunkline send`: lines from files or stdin to the stream socket.
//!
//! Survives a restart of the daemon without sending twice: every event has an id before it leaves, only
//! unanswered lines go again, in their order, and the daemon knows an id that it has accepted.

mod fill;
mod input;
mod session;
mod tally;

pub use tally::{RefusedLine, SendReport};

use std::collections::VecDeque;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::net::UnixStream;
use tokio::sync::mpsc::{Receiver, channel};

use crate::clock::Clock;
use crate::config::Need;

use super::access::{self, TurnedAway};
use super::args::SendArgs;
use super::escape::escaped;
use super::exit::Exit;
use super::locate::contact;
use super::output::{complain, say};
use super::runtime::async_runtime;
use input::{InputError, Line};
use session::SessionEnd;
use tally::{Tally, WINDOW};

/// How long the daemon may be away, unless told otherwise.
pub const DEFAULT_RECONNECT_FOR: Duration = Duration::from_secs(30);

const BACKOFF_FIRST: Duration = Duration::from_millis(50);
const BACKOFF_MOST: Duration = Duration::from_secs(1);

/// What to send where.
#[derive(Clone, Debug)]
pub struct SendOptions {
    /// In this order; none, or `-`: stdin.
    pub files: Vec<PathBuf>,
    /// Stream socket.
    pub socket: PathBuf,
    /// How long the daemon may be away, or refuse for the time being, without any progress.
    pub reconnect_for: Duration,
    /// Show progress on stderr; only if stderr is a terminal.
    pub progress: bool,
}

/// Why it ended early.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// Nobody listens.
    #[error("{socket}: the daemon is not reachable; {accepted} events were accepted before; is it running?", socket = socket.display())]
    Unreachable {
        /// Stream socket.
        socket: PathBuf,
        /// Events accepted until then.
        accepted: u64,
        /// Why the last attempt failed.
        #[source]
        source: Option<io::Error>,
    },
    /// Too many are connected, and stayed so; the text says the rest.
    #[error("{why}; {accepted} events were accepted")]
    Crowded {
        /// The daemon's words.
        why: String,
        /// Events accepted until then.
        accepted: u64,
    },
    /// The socket is not for us; the text says all.
    #[error("{0}")]
    Permission(String),
    /// A file cannot be read. What was read before it is sent and answered.
    #[error("{file}: cannot be read", file = file.display())]
    Input {
        /// The file.
        file: PathBuf,
        /// What came of the lines before it.
        report: SendReport,
        /// Why not.
        source: io::Error,
    },
}

impl SendError {
    /// 69 not reachable, 77 permission, 1 input.
    pub const fn exit(&self) -> Exit {
        match self {
            SendError::Unreachable { .. } | SendError::Crowded { .. } => Exit::Unreachable,
            SendError::Permission(_) => Exit::Permission,
            SendError::Input { .. } => Exit::Failed,
        }
    }
}

/// From arguments to an exit code.
pub(super) fn command(path: Option<&Path>, args: SendArgs) -> anyhow::Result<Exit> {
    let socket = match args.socket {
        Some(socket) => socket,
        None => contact(path, &[Need::Stream])?.stream,
    };
    let options = SendOptions {
        socket,
        files: args.files,
        reconnect_for: args.reconnect_for,
        progress: std::io::stderr().is_terminal(),
    };
    let sent = async_runtime()?.block_on(run(options, |refused| complain(&escaped(&refused.to_string()))));
    if let Ok(report) | Err(SendError::Input { report, .. }) = &sent {
        let counts = format!("accepted {} · refused {}", report.accepted, report.refused);
        // What was sent is sent: the counts go elsewhere if stdout cannot take them.
        say(&format!("{counts}\n")).context(counts)?;
    }
    Ok(if sent?.refused == 0 { Exit::Done } else { Exit::Failed })
}

/// Sends everything and waits for every answer. A file that cannot be read in the middle ends the input.
///
/// # Errors
/// If the daemon is not reachable at the start or stays away for `reconnect_for`, the socket is not for
/// us, or a file cannot be read.
pub async fn run(
    options: SendOptions,
    mut on_refused: impl FnMut(&RefusedLine<'_>) + Send,
) -> Result<SendReport, SendError> {
    let files = options.files;
    input::look_at(&files).map_err(|fault| unreadable(fault, SendReport::default()))?;
    let (lines, mut input) = channel(WINDOW);
    // Not joined: it may sit in a read of a terminal, and ends when `input` is dropped.
    std::thread::spawn(move || input::read_all(&files, &lines));
    let bar = if options.progress { bar() } else { ProgressBar::hidden() };
    let mut tally = Tally {
        unanswered: VecDeque::new(),
        input_ended: false,
        input_fault: None,
        report: SendReport::default(),
        on_refused: &mut on_refused,
        bar,
        trouble_since: None,
        gave_up: false,
        was_put_off: false,
        turned_away: None,
    };
    let reconnect = Reconnect { give_up_after: options.reconnect_for, clock: Clock::system() };
    let done = pump(&options.socket, &reconnect, &mut input, &mut tally).await;
    tally.bar.finish_and_clear();
    done?;
    match tally.input_fault {
        Some(fault) => Err(unreadable(fault, tally.report)),
        None => Ok(tally.report),
    }
}

fn unreadable(InputError { file, source }: InputError, report: SendReport) -> SendError {
    SendError::Input { file, report, source }
}

struct Reconnect {
    give_up_after: Duration,
    clock: Clock,
}

async fn pump(
    socket: &PathBuf,
    reconnect: &Reconnect,
    input: &mut Receiver<Result<Line, InputError>>,
    tally: &mut Tally<'_>,
) -> Result<(), SendError> {
    let mut backoff = BACKOFF_FIRST;
    let mut was_connected = false;
    loop {
        let mut fault = None;
        match UnixStream::connect(socket).await {
            Ok(stream) => {
                was_connected = true;
                if tally.unanswered.is_empty() {
                    tally.trouble_since = None;
                }
                if let SessionEnd::Done = session::run(stream, socket, input, tally).await {
                    return Ok(());
                }
            }
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                return Err(SendError::Permission(access::explain(socket, "ingest.stream.mode")));
            }
            // Somebody listens, and is behind with accepting.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                was_connected = true;
                tally.turned_away = Some(TurnedAway::Crowded(access::busy(socket)));
            }
            Err(error) => fault = Some(error),
        }
        let crowded = match tally.turned_away.take() {
            Some(TurnedAway::NotAllowed(why)) => return Err(SendError::Permission(why)),
            Some(TurnedAway::Crowded(why)) => Some(why),
            None => None,
        };
        if tally.trouble_since.is_none() {
            backoff = BACKOFF_FIRST;
        }
        let now = reconnect.clock.mono();
        let is_over = now.since(*tally.trouble_since.get_or_insert(now)) >= reconnect.give_up_after;
        if tally.gave_up || !was_connected || (is_over && !tally.was_put_off) {
            let (socket, accepted) = (socket.clone(), tally.report.accepted);
            return Err(match crowded {
                Some(why) => SendError::Crowded { why, accepted },
                None => SendError::Unreachable { socket, accepted, source: fault },
            });
        }
        // One last round in which "again later" counts as refused.
        tally.gave_up = is_over;
        tokio::time::sleep(backoff).await;
        backoff = (backoff * 2).min(BACKOFF_MOST);
    }
}

fn bar() -> ProgressBar {
    let style = ProgressStyle::with_template("{spinner} {human_pos} lines, {per_sec}, {elapsed}");
    ProgressBar::new_spinner().with_style(style.expect("the template is valid"))
}
