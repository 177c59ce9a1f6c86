//! What the daemon hands over: handles of all parts, and what is known of the account.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot, watch};

use super::heartbeat::Heartbeat;
use crate::clock::Clock;
use crate::ingest::DoorContext;
use crate::metrics::Metrics;
use crate::queue::{Caretaker, DeadLetters, LedgerReader, Owner, Ownership, Reader, Writer};
use crate::relay::{Command, RelayStatus};
use crate::upstream::Client;

/// Whether events are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The doors are not open yet.
    Starting,
    /// Open.
    Accepting,
    /// They close, or are closed.
    Stopping,
}

/// To whom events go.
#[derive(Clone, Debug)]
pub struct Account {
    /// As the configuration says; with the organisation once a login told it.
    pub owner: Owner,
    /// Organisation's name, once known.
    pub organisation_name: Option<String>,
}

/// What of the configuration the operator's window needs.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `admin.late_after`
    pub late_after: Duration,
    /// `queue.dead_letters_max_age`; zero: never.
    pub dead_letters_max_age: Duration,
    /// `queue.min_free_disk`
    pub min_free_disk: u64,
}

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

/// What is asked of whoever has the configuration in force: one thing after the other.
#[derive(Debug)]
pub enum Request {
    /// To read the configuration again.
    Reload(ReloadRequest),
    /// To send what was queued for another account. The answer is an error if that cannot be written down.
    Adopt(oneshot::Sender<Result<Adopted, String>>),
}

/// Handles of the daemon's parts.
#[derive(Debug)]
pub struct AdminContext {
    /// Both clocks.
    pub clock: Clock,
    /// When the daemon started, milliseconds since 1970.
    pub started_ms: i64,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// The lanes' state.
    pub relay: watch::Receiver<RelayStatus>,
    /// The relay's ear.
    pub commands: mpsc::Sender<Command>,
    /// Depths, and what is queued.
    pub backlog: Reader,
    /// How the queue is.
    pub caretaker: Caretaker,
    /// Dead letters.
    pub dead_letters: DeadLetters,
    /// What became of events.
    pub ledger: LedgerReader,
    /// For whom the queue is.
    pub ownership: Ownership,
    /// Token, skew.
    pub upstream: Client,
    /// To whom events go.
    pub account: watch::Receiver<Account>,
    /// Rules for events that are mended.
    pub doors: Arc<DoorContext<Writer>>,
    /// Configuration.
    pub settings: watch::Receiver<Settings>,
    /// Who reads it again, and adopts.
    pub requests: mpsc::Sender<Request>,
    /// Whether events are taken.
    pub phase: watch::Receiver<Phase>,
    /// The loops' heartbeats.
    pub vitality: Arc<Heartbeat>,
    /// Where lanes that are paused are remembered.
    pub queue_dir: std::path::PathBuf,
}
