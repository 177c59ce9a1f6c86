//! The handles that health, status, metrics and systemd's status line are read from.

use std::sync::Arc;

use tokio::sync::watch;

use super::heartbeat::Heartbeat;
use super::state::{AdminSettings, DestinationWatch, Lifecycle};
use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::queue::{DeadLetters, Reader};
use crate::relay::RelayStatus;
use crate::socket::FileState;

/// Everything that a report reads. Nothing can be changed through it.
#[derive(Debug)]
pub struct Overview {
    /// Both clocks.
    pub clock: Clock,
    /// When the daemon started, milliseconds since 1970.
    pub started_ms: i64,
    /// Counters and gauges.
    pub metrics: Arc<Metrics>,
    /// Whether events are accepted.
    pub lifecycle: watch::Receiver<Lifecycle>,
    /// Limits that a report is judged by.
    pub settings: watch::Receiver<AdminSettings>,
    /// The lanes' state.
    pub lanes: watch::Receiver<RelayStatus>,
    /// The lanes' depth.
    pub backlog: Reader,
    /// How many dead letters there are, and how old they are.
    pub dead_letters: DeadLetters,
    /// The account that events are sent to.
    pub identity: DestinationWatch,
    /// When the loops last answered, and what was counted then.
    pub heartbeat: Arc<Heartbeat>,
    /// Why the file system of `queue.dir` should not hold a queue, if so.
    pub disk_warning: Option<String>,
    /// The socket files that producers connect to.
    pub door_files: Vec<FileState>,
}

impl Overview {
    /// Why producers cannot connect to a door; looks at the socket files.
    pub(super) fn door_fault(&self) -> Option<String> {
        self.door_files.iter().find_map(FileState::fault)
    }

    pub(super) fn lifecycle(&self) -> Lifecycle {
        *self.lifecycle.borrow()
    }
}
