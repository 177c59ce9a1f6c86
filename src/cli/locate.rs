//! Finds the running daemon's admin socket, and explains failures.

use std::path::Path;

use crate::admin::client::{AdminClient, AdminClientError};
use crate::config::{self, ConfigError, Contact, Need};

use super::access;
use super::output::complain;

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
    pub(super) fn client(self) -> anyhow::Result<AdminClient> {
        let path = match self.admin {
            Some(path) => path.to_owned(),
            None => contact(self.config, &[Need::Admin])?.admin,
        };
        Ok(AdminClient::new(path))
    }
}

/// How to reach the daemon by its configuration; says so where the defaults had to do.
pub(super) fn contact(config: Option<&Path>, needs: &[Need]) -> Result<Contact, ConfigError> {
    let contact = config::contact(config, needs)?;
    if let Some(error) = &contact.passed_over {
        complain(&format!("trunkline: {error}; using the defaults"));
    }
    Ok(contact)
}

/// A fault of the way to the daemon, in words that help.
pub(super) fn explained(error: AdminClientError) -> anyhow::Error {
    match error {
        AdminClientError::Permission { path } => Denied(access::explain(&path, "admin.mode")).into(),
        other => other.into(),
    }
}
