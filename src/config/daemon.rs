//! `[daemon]`: how the daemon ends.

use std::time::Duration;

use super::key::{ConfigKey, ValueType, key};
use super::values::Values;

/// `[daemon]`
#[derive(Clone, Debug)]
pub struct DaemonConfig {
    /// How long requests in flight may take after SIGTERM.
    pub grace: Duration,
    /// How long delivery goes on after SIGTERM until the queue is empty; zero: not at all.
    pub drain: Duration,
}

pub(super) const KEYS: &[ConfigKey] = &[
    key(
        "daemon.grace",
        "10s",
        ValueType::Duration { off: false },
        "How long requests in flight may take after SIGTERM.",
    ),
    key(
        "daemon.drain",
        "0s",
        ValueType::Duration { off: true },
        "How long delivery goes on after SIGTERM until the queue is empty. \"0s\": not at all.",
    ),
];

/// Reads the section.
pub(super) fn read(values: &mut Values<'_>) -> DaemonConfig {
    DaemonConfig { grace: values.duration("daemon.grace"), drain: values.duration("daemon.drain") }
}
