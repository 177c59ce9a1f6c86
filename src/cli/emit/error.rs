//! Why `emit` did not get its event accepted.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::build_error::BuildError;
use crate::cli::exit::Exit;
use crate::ids::MapError;

/// Why the event was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum EmitError {
    /// The words do not make an event.
    #[error(transparent)]
    Words(#[from] BuildError),
    /// Neither the table nor the configuration has such an array.
    #[error("unknown array {found:?}; {}see `trunkline emit --list`", .near.as_ref().map_or_else(String::new, |near| format!("did you mean {near}? Or ")))]
    UnknownArray {
        /// As it was given.
        found: String,
        /// The nearest array.
        near: Option<String>,
    },
    /// The map of names cannot be used.
    #[error(transparent)]
    Names(#[from] MapError),
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
    /// The time was over before anything was sent.
    #[error("{what} took longer than {} (--timeout), and nothing was sent", humantime::format_duration(*.timeout))]
    Late {
        /// What was waited for.
        what: &'static str,
        /// All the time that there was.
        timeout: Duration,
    },
    /// Standard input cannot be read.
    #[error("cannot read standard input")]
    Input(#[source] io::Error),
    /// The daemon said no; in its words, which hold nothing of the event.
    #[error("refused: {0}")]
    Refused(String),
}

impl EmitError {
    /// 64 usage, 69 not reachable or not in time, 77 permission, 1 refused or unreadable.
    pub(in crate::cli) const fn exit(&self) -> Exit {
        match self {
            EmitError::Words(_) | EmitError::UnknownArray { .. } => Exit::Usage,
            EmitError::Unreachable { .. } | EmitError::Crowded(_) | EmitError::Late { .. } => {
                Exit::Unreachable
            }
            EmitError::Permission(_) => Exit::Permission,
            EmitError::Names(_) => Exit::Configuration,
            EmitError::Refused(_) | EmitError::Input(_) => Exit::Failed,
        }
    }
}
