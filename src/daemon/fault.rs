//! Why the daemon did not start, and what kind of fault that is.

use crate::ingest;
use crate::queue::OpenError;
use crate::socket::BindError;
use crate::upstream;

/// Why the daemon did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The queue directory.
    #[error(transparent)]
    Queue(#[from] OpenError),
    /// A door's socket.
    #[error(transparent)]
    Door(#[from] BindError),
    /// `ingest.stream.allow_uids`.
    #[error("ingest.stream.allow_uids")]
    User(#[from] ingest::UnknownUser),
    /// The group of a socket.
    #[error("{key}")]
    Group {
        /// The key that names it.
        key: &'static str,
        /// Why it cannot be used.
        source: BindError,
    },
    /// What an operator paused cannot be read.
    #[error("cannot read {path}: {source}; remove the file to unpause all lanes")]
    Paused {
        /// The file.
        path: std::path::PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The HTTP client: proxy, CA file.
    #[error(transparent)]
    Client(#[from] upstream::ClientError),
}

/// A task of the daemon failed. Nothing that was accepted is lost by it.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error(
    "a task of the daemon failed, which is a bug in trunkline: the log says which; restart it and report the bug"
)]
pub struct Crashed;

/// Kinds of [`StartError`] that a caller tells apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartFault {
    /// Directory or socket cannot be made or is in use.
    CannotCreate,
    /// Not allowed to.
    Permission,
    /// The store.
    Storage,
    /// What the operator wrote.
    Configuration,
}

impl StartFault {
    /// Which kind a fault of the queue's directory is.
    pub fn of_queue(error: &OpenError) -> Self {
        match error {
            OpenError::InUse { .. } | OpenError::CannotMake { .. } => StartFault::CannotCreate,
            OpenError::Permission { .. } => StartFault::Permission,
            OpenError::Storage(_) | OpenError::Newer { .. } => StartFault::Storage,
        }
    }
}

impl StartError {
    /// Of a socket whose group the key `group` names.
    pub(super) fn of_socket(group: &'static str, error: BindError) -> Self {
        match error {
            BindError::UnknownGroup(_) => StartError::Group { key: group, source: error },
            error => StartError::Door(error),
        }
    }

    /// Which kind it is.
    pub fn kind(&self) -> StartFault {
        match self {
            StartError::Queue(error) => StartFault::of_queue(error),
            StartError::Door(error) => match error.exit_code() {
                77 => StartFault::Permission,
                78 => StartFault::Configuration,
                _ => StartFault::CannotCreate,
            },
            StartError::User(_) | StartError::Group { .. } | StartError::Client(_) => {
                StartFault::Configuration
            }
            StartError::Paused { .. } => StartFault::Storage,
        }
    }
}

/// An error with its causes, in a line.
pub(super) fn in_full(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
