//! Public types of the queue: stored events, outcomes, errors, and the relay's trait.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::event::{Envelope, Lane};

/// Position of an event in its lane. Starts at 1; 0 is before everything.
pub type Seq = u64;

/// An event at rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Its position in `event.lane`.
    pub seq: Seq,
    /// The event.
    pub event: Envelope,
}

/// What became of an appended event. Either way the producer may be told that it is accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Appended {
    /// On stable storage at this position.
    Stored(Seq),
    /// The same array and `eventId` is on stable storage already, within the dedupe window.
    Duplicate,
}

/// Why an event was not stored. One variant per answer the producer can act on; all but the first are
/// worth sending again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// Permanent: the same event can never fit.
    #[error("event is {actual_bytes} bytes; the queue takes {max_bytes}")]
    TooLarge {
        /// As it came.
        actual_bytes: usize,
        /// What a segment can hold in one piece.
        max_bytes: usize,
    },
    /// Clears as the upstream takes batches.
    #[error("queue is full at {max_bytes} bytes")]
    Full {
        /// `queue.max_size`.
        max_bytes: u64,
    },
    /// The lane has used its reserve and the shared rest.
    #[error("lane {lane} has used its share of the queue")]
    LaneFull {
        /// The lane that is full; the others go on.
        lane: Lane,
    },
    /// Free space under `queue.dir` is below `queue.min_free_disk`.
    #[error("disk has {free_bytes} bytes free, needs {min_bytes}")]
    DiskLow {
        /// Free now.
        free_bytes: u64,
        /// `queue.min_free_disk`.
        min_bytes: u64,
    },
    /// Another directory lies there now, or none: what is stored would be found by nobody.
    #[error("queue.dir {} was removed or replaced; put it back or restart the daemon", path.display())]
    DirectoryGone {
        /// `queue.dir`.
        path: PathBuf,
    },
    /// The write or its sync failed; it was not accepted and will not come back.
    #[error("storage fault: {0}")]
    Storage(String),
    /// The daemon stops.
    #[error("stopping")]
    Stopping,
}

/// Why an event lies in the dead letters. The text stands in metrics and listings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum DeadReason {
    /// The API listed the event as not retryable.
    Rejected = 1,
    /// The API refused a request in which the event stood alone.
    InvalidAlone = 2,
    /// A request with this event alone was too large.
    TooLarge = 3,
    /// The API kept calling it retryable.
    Attempts = 4,
    /// Older than `relay.event_max_age`.
    Expired = 5,
}

impl DeadReason {
    /// All reasons.
    pub const ALL: [DeadReason; 5] = [
        DeadReason::Rejected,
        DeadReason::InvalidAlone,
        DeadReason::TooLarge,
        DeadReason::Attempts,
        DeadReason::Expired,
    ];

    /// Code in metrics, listings and filters.
    pub const fn code(self) -> &'static str {
        match self {
            DeadReason::Rejected => "rejected",
            DeadReason::InvalidAlone => "invalid_alone",
            DeadReason::TooLarge => "too_large",
            DeadReason::Attempts => "attempts",
            DeadReason::Expired => "expired",
        }
    }

    /// The reason with this discriminant.
    pub fn from_id(id: u8) -> Option<DeadReason> {
        DeadReason::ALL.into_iter().find(|reason| *reason as u8 == id)
    }
}

/// What became of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The API took it.
    Delivered,
    /// It goes to the dead letters.
    Dead {
        /// Our code.
        reason: DeadReason,
        /// The API's words; may quote personal data, so it stays out of the log.
        message: String,
    },
}

impl Outcome {
    pub(crate) fn is_death(&self) -> bool {
        matches!(self, Outcome::Dead { .. })
    }
}

/// The end of an event's way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settlement {
    /// The event, with its body: a dead letter keeps it.
    pub stored: Stored,
    /// What became of it.
    pub outcome: Outcome,
    /// Requests it stood in.
    pub attempts: u32,
    /// HTTP status of the last answer, if there was one.
    pub status: Option<u16>,
    /// `ININ-Correlation-Id` of the last answer.
    pub correlation_id: Option<Arc<str>>,
}

/// A run of unsettled events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// In rising order of `seq`; settled ones are passed over.
    pub events: Vec<Stored>,
    /// Where the next read of this run starts: greater than every `seq` that was looked at.
    pub next: Seq,
    /// Nothing was stored at or after `next` when this was read.
    pub at_end: bool,
}

/// How much a page may hold: at least one event if there is one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PageLimit {
    pub(crate) events: usize,
    /// Of bodies, about.
    pub(crate) bytes: usize,
}

/// How much a lane holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LaneDepth {
    /// Unsettled events.
    pub events: u64,
    /// Bytes of their bodies, approximate after a restart.
    pub bytes: u64,
    /// `accepted_at_ms` of the oldest unsettled event, if any.
    pub oldest_ms: Option<i64>,
    /// When this process last accepted one.
    pub last_accepted_ms: Option<i64>,
}

/// What the queue would say to a producer now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueueHealth {
    /// Why no event of any lane is accepted.
    pub refusal: Option<AppendError>,
    /// Lanes that have used their share; the others go on.
    pub full_lanes: Vec<Lane>,
    /// Outcomes cannot be written down.
    pub settling_fails: bool,
}

/// Why the queue could not read or settle.
#[derive(Clone, Debug, thiserror::Error)]
pub enum QueueError {
    /// The store's own fault, in its words.
    #[error("storage fault: {0}")]
    Storage(String),
    /// Dead letters cannot be read now; those from `resume_at` on may be.
    #[error("dead letters before number {resume_at} cannot be read: {fault}")]
    LettersUnread {
        /// The first number behind them.
        resume_at: Seq,
        /// Why.
        fault: String,
    },
    /// The dead letters have used their part of the directory: replay, export or discard some.
    #[error("dead letters have used a quarter of queue.max_size")]
    DeadLettersFull,
    /// The queue is closed.
    #[error("queue is closed")]
    Closed,
}

/// The store's own words for what went wrong.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{words}")]
pub(crate) struct StoreError {
    pub(crate) words: String,
    /// The file system or a quota has no room left, for bytes or for files.
    pub(crate) is_full: bool,
}

impl StoreError {
    /// The system's `error` about `path`.
    pub(crate) fn io(path: &Path, error: &io::Error) -> Self {
        StoreError { words: format!("{}: {error}", path.display()), is_full: is_full(error.kind()) }
    }

    /// What has no error of the system behind it.
    pub(crate) fn new(words: impl Into<String>) -> Self {
        StoreError { words: words.into(), is_full: false }
    }
}

/// Whether an error says that there is no room: `ENOSPC`, also for want of inodes, or `EDQUOT`.
pub(crate) fn is_full(kind: io::ErrorKind) -> bool {
    matches!(kind, io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Why a dead letter was not replayed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ReplayError {
    /// The letter was discarded, replayed, superseded or aged out meanwhile.
    #[error("the dead letter is not there any more")]
    Ended,
    /// Not accepted; the letter stays.
    #[error("not accepted")]
    Refused(#[source] AppendError),
    /// The queue's own fault.
    #[error("storage fault")]
    Queue(#[source] QueueError),
}

impl From<StoreError> for QueueError {
    fn from(error: StoreError) -> Self {
        QueueError::Storage(error.words)
    }
}

/// The queue as the relay sees it. Cheap to clone; tests put a plain vector behind it.
pub trait Backlog: Clone + Send + Sync + 'static {
    /// Reads at most `max_events` and about `max_bytes` (at least one event if there is one) of the
    /// lane's unsettled events from `from` on.
    fn read(
        &self,
        lane: Lane,
        from: Seq,
        max_events: usize,
        max_bytes: usize,
    ) -> impl Future<Output = Result<Page, QueueError>> + Send;

    /// Returns when all outcomes are on stable storage. On an error none may be taken for settled;
    /// the same call again is harmless.
    fn settle(&self, settlements: Vec<Settlement>) -> impl Future<Output = Result<(), QueueError>> + Send;

    /// Returns at once if an event at or after `from` is stored, else when one is.
    fn wait_for(&self, lane: Lane, from: Seq) -> impl Future<Output = ()> + Send;

    /// Depth of a lane now.
    fn depth(&self, lane: Lane) -> LaneDepth;
}

/// Why the queue could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another daemon holds the directory.
    #[error("{path} is in use by another daemon; stop that one or set queue.dir to another directory")]
    InUse {
        /// `queue.dir`.
        path: PathBuf,
    },
    /// Not allowed to.
    #[error(
        "{path}: permission denied; the directory and all in it must belong to the user that runs the daemon"
    )]
    Permission {
        /// What was denied.
        path: PathBuf,
    },
    /// The directory cannot be made or read.
    #[error("{path}: {reason}")]
    CannotMake {
        /// What was tried.
        path: PathBuf,
        /// The system's words.
        reason: String,
    },
    /// The store's own fault.
    #[error("storage fault: {0}")]
    Storage(String),
    /// Written by a newer version.
    #[error("{path} has format version {version}, this build knows up to 1; install the newer version again")]
    Newer {
        /// The segment.
        path: PathBuf,
        /// Its version.
        version: u32,
    },
}

impl OpenError {
    /// What the system's `error` while reading `path` means: no permission, or a fault that may pass.
    pub(super) fn reading(path: &Path, error: &std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::PermissionDenied => OpenError::Permission { path: path.to_path_buf() },
            _ => OpenError::Storage(format!("{}: {error}", path.display())),
        }
    }

    /// What the system's `error` about `path` means here.
    pub(super) fn from_io(path: &Path, error: &io::Error) -> Self {
        let path = path.to_path_buf();
        match error.kind() {
            io::ErrorKind::PermissionDenied => OpenError::Permission { path },
            _ => OpenError::CannotMake { path, reason: error.to_string() },
        }
    }
}
