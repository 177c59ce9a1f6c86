//! What is asked of the task that has the configuration in force, and the shape of what comes back.

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use crate::queue::Owner;

/// One key that a reload changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReloadChange {
    /// Dotted name.
    pub key: String,
    /// As it was, secrets masked; `None`: not set.
    pub before: Option<String>,
    /// As it is.
    pub now: Option<String>,
    /// It takes a restart to come into force.
    pub needs_restart: bool,
}

/// How the login of a reload went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReloadLogin {
    /// Credentials and secret are what they were.
    NotDue,
    /// The login host took them.
    Succeeded,
    /// It did not, or could not be asked.
    Failed(String),
}

/// What a reload did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "result")]
pub enum ReloadAnswer {
    /// The configuration was taken over.
    Applied {
        /// What differs from before.
        changes: Vec<ReloadChange>,
        /// Whether the credentials that are configured now are good.
        login: ReloadLogin,
        /// Why events are withheld, if they are.
        withheld: Option<String>,
    },
    /// Nothing was changed.
    Refused {
        /// Why.
        message: String,
    },
}

/// Somebody wants the configuration read again.
#[derive(Debug)]
pub struct ReloadRequest {
    /// Who: `SIGHUP`, or a uid.
    pub by: String,
    /// Where the answer goes.
    pub answer: oneshot::Sender<ReloadAnswer>,
}

/// Whose the queue is after an `adopt`, and whose it was.
#[derive(Debug)]
pub struct Adopted {
    /// The account that is configured.
    pub owner: Owner,
    /// The one before.
    pub before: Option<Owner>,
}

/// What is asked of the task that has the configuration in force: one thing after the other.
#[derive(Debug)]
pub enum AdminRequest {
    /// To read the configuration again.
    Reload(ReloadRequest),
    /// To send what was queued for another account. The answer is an error if that cannot be written down.
    Adopt(oneshot::Sender<Result<Adopted, String>>),
}
