//! The running daemon, seen from a command: where its admin socket is, and what its silence means.

use std::path::{Path, PathBuf};

use crate::admin::client::{Client, ClientError};

use super::access;

/// Where to ask, from the command line and the configuration.
#[derive(Clone, Copy, Debug)]
pub(super) struct Where<'a> {
    pub(super) config: Option<&'a Path>,
    pub(super) admin: Option<&'a Path>,
}

/// A socket that we may not use: path, owner, mode, who we are, what to do.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Denied(String);

impl Where<'_> {
    /// The daemon's admin socket.
    pub(super) fn client(self) -> anyhow::Result<Client> {
        let path: PathBuf = match self.admin {
            Some(path) => path.to_owned(),
            None => crate::config::admin_socket(self.config)?,
        };
        Ok(Client::new(path))
    }
}

/// A fault of the way to the daemon, in words that help.
pub(super) fn explained(error: ClientError) -> anyhow::Error {
    match error {
        ClientError::Permission { path } => Denied(access::explain(&path, "admin.mode")).into(),
        other => other.into(),
    }
}
