//! For whom the queued events were accepted.
//!
//! `owner` is a JSON object of one line, replaced as a whole. Sending one organisation's calls to another
//! cannot be undone, so a directory remembers.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::files;
use crate::queue::error::OpenError;

const FILE: &str = "owner";

/// The account that queued events are meant for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// Region's name, or the API's base URL where that was set.
    pub region: String,
    /// OAuth client id; `None` with an access token from a file.
    pub client_id: Option<String>,
    /// Organisation's id, once a login has shown it.
    pub organisation: Option<String>,
}

/// What the directory remembers of its owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum OwnerFile {
    Known(Owner),
    /// Nobody sent from it yet.
    Absent,
    /// It was read and is not one.
    Damaged {
        path: PathBuf,
    },
}

impl OwnerFile {
    /// Who it is, if that is known.
    pub(crate) fn known(self) -> Option<Owner> {
        match self {
            OwnerFile::Known(owner) => Some(owner),
            OwnerFile::Absent | OwnerFile::Damaged { .. } => None,
        }
    }
}

impl Owner {
    /// Whether events of `self` may leave as `other`. What is not known on both sides does not count.
    pub fn fits(&self, other: &Owner) -> bool {
        match (&self.organisation, &other.organisation) {
            // The same organisation may get a new client.
            (Some(ours), Some(theirs)) => ours == theirs,
            _ => self.is_same_client(other),
        }
    }

    /// The same client of the same region.
    pub fn is_same_client(&self, other: &Owner) -> bool {
        self.region == other.region && self.client_id == other.client_id
    }

    /// Reads whose the directory is.
    ///
    /// # Errors
    /// If the file cannot be read: that is no absence.
    pub(crate) fn read(dir: &Path) -> Result<OwnerFile, OpenError> {
        let path = dir.join(FILE);
        let raw = files::read_if_there(dir, FILE).map_err(|error| OpenError::reading(&path, &error))?;
        let Some(raw) = raw else { return Ok(OwnerFile::Absent) };
        Ok(serde_json::from_slice(&raw).map_or(OwnerFile::Damaged { path }, OwnerFile::Known))
    }

    /// Writes it whole and durable.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub(crate) fn write(&self, dir: &Path) -> Result<(), OpenError> {
        let write = || {
            let mut line = serde_json::to_vec(self)?;
            line.push(b'\n');
            files::replace(dir, FILE, &line)
        };
        write().map_err(|error: io::Error| OpenError::from_io(dir, &error))
    }
}

impl std::fmt::Display for Owner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.client_id {
            Some(client) => write!(f, "client {client} in {}", self.region)?,
            None => write!(f, "the holder of the access token in {}", self.region)?,
        }
        match &self.organisation {
            Some(organisation) => write!(f, " (organisation {organisation})"),
            None => Ok(()),
        }
    }
}
