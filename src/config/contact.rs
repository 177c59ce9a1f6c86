//! How commands find the daemon, also with a configuration that it would refuse.
//!
//! Errors in other keys, or an unreadable file, must not stop `emit`, `send` or operator commands.

use std::path::{Path, PathBuf};

use crate::event::ExtraArray;

use super::Config;
use super::error::{ConfigError, ConfigFaults};
use super::load::{environment, examine, read_file};

/// The keys that a command needs; a fault in one of them is reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// `admin.listen`
    Admin,
    /// `ingest.stream.path`
    Stream,
    /// `queue.dir`
    QueueDir,
    /// `emit.source_id`
    SourceId,
    /// `ids.file`
    IdsFile,
}

impl Need {
    const fn key(self) -> &'static str {
        match self {
            Need::Admin => "admin.listen",
            Need::Stream => "ingest.stream.path",
            Need::QueueDir => "queue.dir",
            Need::SourceId => "emit.source_id",
            Need::IdsFile => "ids.file",
        }
    }
}

/// Where the daemon is. Only what was asked for is sure to be valid.
#[derive(Debug)]
pub struct Contact {
    /// [`Need::Admin`]
    pub admin: PathBuf,
    /// [`Need::Stream`]
    pub stream: PathBuf,
    /// [`Need::QueueDir`]
    pub queue_dir: PathBuf,
    /// [`Need::SourceId`]
    pub source_id: Option<String>,
    /// [`Need::IdsFile`]
    pub ids_file: Option<PathBuf>,
    /// `[[ingest.extra_arrays]]`; none if they are at fault.
    pub extra_arrays: Vec<ExtraArray>,
    /// Why the default file does not count: it cannot be read, and these are defaults.
    pub passed_over: Option<ConfigError>,
}

impl Contact {
    fn of(config: Config, passed_over: Option<ConfigError>) -> Self {
        Self {
            admin: config.admin.listen,
            stream: config.ingest.stream.path,
            queue_dir: config.queue.dir,
            source_id: config.emit.source_id,
            ids_file: config.ids.file,
            extra_arrays: config.ingest.extra_arrays,
            passed_over,
        }
    }
}

/// Reads what `needs` names from `path`, else from the default file, and from the environment.
///
/// # Errors
/// `path` cannot be read; a key that is needed is at fault.
pub fn contact(path: Option<&Path>, needs: &[Need]) -> Result<Contact, ConfigError> {
    let read = read_file(path).and_then(|file| examine(file.as_ref(), environment()));
    let (examined, passed_over) = match read {
        Ok(examined) => (examined, None),
        Err(error) if path.is_none() => (examine(None, environment())?, Some(error)),
        Err(error) => return Err(error),
    };
    let is_needed = |key: &str| needs.iter().any(|need| need.key() == key);
    if examined.faults.iter().any(|fault| is_needed(&fault.key)) {
        return Err(ConfigError::Invalid(ConfigFaults(examined.faults)));
    }
    Ok(Contact::of(examined.config, passed_over))
}
