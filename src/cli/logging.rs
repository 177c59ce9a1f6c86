//! Where log lines go and what they look like.

use std::io::IsTerminal;
use std::sync::Arc;

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::clock::Clock;
use crate::config::{Log, LogFormat};
use crate::daemon::SetLevel;

/// Log time: UTC with milliseconds, as `eventDateTime` is written.
struct Utc(Clock);

impl FormatTime for Utc {
    fn format_time(&self, w: &mut tracing_subscriber::fmt::format::Writer<'_>) -> std::fmt::Result {
        let now = jiff::Timestamp::from_millisecond(self.0.unix_ms()).map_err(|_| std::fmt::Error)?;
        write!(w, "{now:.3}")
    }
}

/// Sends log lines where `log` says: to stderr, or to the journal with fields. Only the first call in a
/// process takes effect. Without a journal, lines go to stderr as text.
///
/// Gives what changes the level later.
pub(super) fn start(log: &Log) -> SetLevel {
    let (ours, handle) = tracing_subscriber::reload::Layer::new(levels(log.level));
    let registry = tracing_subscriber::registry().with(ours);
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_timer(Utc(Clock::system()))
        .with_target(false);
    let text = lines.with_ansi(std::io::stderr().is_terminal());
    let started = match log.format {
        LogFormat::Json => registry.with(text.with_ansi(false).json().flatten_event(true)).try_init(),
        LogFormat::Text => registry.with(text).try_init(),
        LogFormat::Journald => match tracing_journald::layer() {
            Ok(journal) => registry.with(journal).try_init(),
            Err(error) => {
                let started = registry.with(text).try_init();
                tracing::warn!(%error, "log.format is journald, but there is no journal: text on stderr");
                started
            }
        },
    };
    if started.is_err() {
        tracing::debug!("logging was started before");
    }
    Arc::new(move |level| {
        if handle.reload(levels(level)).is_err() {
            tracing::warn!("the log level cannot be changed any more");
        }
    })
}

/// Crates below us speak at `warn` and above only: their lower lines name hosts and bodies.
fn levels(level: tracing::Level) -> Targets {
    Targets::new()
        .with_target("trunkline", level)
        .with_default(LevelFilter::from_level(level.min(tracing::Level::WARN)))
}
