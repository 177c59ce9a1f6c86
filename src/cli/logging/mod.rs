//! Where log lines go and what they look like.
//!
//! `lines` takes them to their reader without ever waiting for it; `journal` is the journal's own form.
//!
//! Invariants
//! - Nobody who logs waits for a reader of the log.
//! - What is not written is counted, and reported once the reader goes on.

mod journal;
mod lines;

use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::clock::Clock;
use crate::config::{LogConfig, LogFormat};
use crate::daemon::SetLevel;

use journal::{Journal, Journald};
use lines::{LogQueue, Stderr};

/// How long the last lines may take to be written at the exit.
const FLUSH_WITHIN: Duration = Duration::from_secs(1);

/// Log time: UTC with milliseconds, as `eventDateTime` is written.
struct Utc(Clock);

impl FormatTime for Utc {
    fn format_time(&self, w: &mut tracing_subscriber::fmt::format::Writer<'_>) -> std::fmt::Result {
        let now = jiff::Timestamp::from_millisecond(self.0.unix_ms()).map_err(|_| std::fmt::Error)?;
        write!(w, "{now:.3}")
    }
}

/// The log of this process.
pub(super) struct Logging {
    /// Changes the level later.
    pub(super) set_level: SetLevel,
    lines: LogQueue,
}

impl Logging {
    /// Waits until what was logged is written, but not for a reader that is stuck.
    pub(super) fn flush(&self) {
        self.lines.flush(FLUSH_WITHIN);
    }
}

/// Sends log lines where `log` says: to stderr, or to the journal with fields. Only the first call in a
/// process takes effect. Without a journal, lines go to stderr as text. `dropped` counts lines that nobody took in time.
///
/// # Errors
/// If the thread that writes cannot be started.
pub(super) fn start(log: &LogConfig, dropped: Counter) -> io::Result<Logging> {
    let (ours, handle) = tracing_subscriber::reload::Layer::new(levels(log.level));
    let registry = tracing_subscriber::registry().with(ours);
    let (journal, no_journal) = match log.format {
        LogFormat::Journald => match Journald::open() {
            Ok(socket) => (Some(socket), None),
            Err(error) => (None, Some(error)),
        },
        LogFormat::Text | LogFormat::Json => (None, None),
    };
    let (lines, started) = match journal {
        Some(socket) => {
            let lines = LogQueue::start(socket, dropped, tell_dropped)?;
            (lines.clone(), registry.with(Journal(lines)).try_init())
        }
        None => {
            let lines = LogQueue::start(Stderr::open()?, dropped, tell_dropped)?;
            let text = tracing_subscriber::fmt::layer()
                .with_writer(lines.clone())
                .with_timer(Utc(Clock::system()))
                .with_target(false);
            let started = match log.format {
                LogFormat::Json => registry.with(text.with_ansi(false).json().flatten_event(true)).try_init(),
                _ => registry.with(text.with_ansi(io::stderr().is_terminal())).try_init(),
            };
            (lines, started)
        }
    };
    if let Some(error) = no_journal {
        tracing::warn!(%error, "log.format is journald, but there is no journal; logging text to stderr");
    }
    if started.is_err() {
        tracing::debug!("logging was started before");
    }
    let set_level: SetLevel = Arc::new(move |level| {
        if handle.reload(levels(level)).is_err() {
            tracing::warn!("the log level cannot be changed any more");
        }
    });
    Ok(Logging { set_level, lines })
}

fn tell_dropped(lines: u64) {
    tracing::warn!(lines, "log lines were dropped: the reader of the log did not keep up");
}

/// Crates below us speak at `warn` and above only: their lower lines name hosts and bodies.
fn levels(level: tracing::Level) -> Targets {
    Targets::new()
        .with_target("trunkline", level)
        .with_default(LevelFilter::from_level(level.min(tracing::Level::WARN)))
}
