//! Why the queue did not do what it was asked. One variant per answer that a caller can act on.

use std::io;
use std::path::{Path, PathBuf};

use super::types::Seq;
use crate::event::Lane;

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
