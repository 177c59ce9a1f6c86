//! What the daemon tells about itself as it changes.

use std::time::Duration;

use tokio::sync::watch;

use crate::queue::Owner;
use crate::upstream;

/// Whether events are accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifecycle {
    /// The doors are not open yet.
    Starting,
    /// The doors are open.
    Accepting,
    /// The doors are closing, or closed.
    Stopping,
}

/// The account that events are sent to.
#[derive(Clone, Debug)]
pub struct Destination {
    /// As the configuration says; with the organisation once a login has shown it.
    pub owner: Owner,
    /// The organisation's name, once known.
    pub organisation_name: Option<String>,
}

/// The part of the configuration that reports depend on.
#[derive(Clone, Debug)]
pub struct AdminSettings {
    /// `admin.late_after`
    pub late_after: Duration,
    /// `queue.dead_letters_max_age`; zero: never.
    pub dead_letters_max_age: Duration,
    /// `queue.min_free_disk`
    pub min_free_disk: u64,
}

/// The account that events are sent to, and the client that logs in to it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct DestinationWatch {
    /// The account.
    pub destination: watch::Receiver<Destination>,
    /// Host, token and clock skew.
    pub upstream: upstream::Client,
}
