//! `[daemon]`: how the daemon ends.

use std::time::Duration;

use super::key::{ConfigKey, ValueType, key};
use super::values::Values;

/// `[daemon]`
#[derive(Clone, Debug)]
pub struct DaemonConfig {
    /// How long requests in flight may take to finish after SIGTERM.
    pub grace: Duration,
    /// How long delivery goes on after SIGTERM until the queue is empty; zero: not at all.
    pub drain: Duration,
}

pub(super) const KEYS: &[ConfigKey] = &[
    key(
        "daemon.grace",
        "10s",
        ValueType::Duration { off: false },
        "How long requests in flight may take to finish after SIGTERM.",
    ),
    key(
        "daemon.drain",
        "0s",
        ValueType::Duration { off: true },
        "After SIGTERM, go on delivering until the queue is empty, for at most this long. \"0s\": off.",
    ),
];

/// Reads the section.
pub(super) fn read(values: &mut Values<'_>) -> DaemonConfig {
    DaemonConfig { grace: values.duration("daemon.grace"), drain: values.duration("daemon.drain") }
}
