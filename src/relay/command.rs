//! What may be asked of the relay while it runs.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::config;
use crate::event::{Key, Lane};
use crate::queue::Seq;
use crate::relay::decide::order::Place;

/// What may be asked of the relay.
#[derive(Debug)]
pub enum Command {
    /// Sends nothing of this lane, or of any.
    Pause(Option<Lane>),
    /// Sends again, and at once: whatever is waited for, the lane tries now.
    Resume(Option<Lane>),
    /// Sends nothing, for this reason, until [`Command::Release`].
    Withhold(Arc<str>),
    /// Sends what was withheld.
    Release,
    /// Credentials or address are new: what waits for better ones is tried at once.
    TryNow,
    /// The account is another: what the API said of the limits of the one before is void.
    ForgetLimits,
    /// Keeps to these settings from now on.
    Configure(Box<Settings>),
    /// Answers from the loop: it runs.
    Ping(oneshot::Sender<()>),
    /// Says where an unsettled event is.
    Locate(Question),
}

/// What of the relay can change while it runs.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `[relay]`
    pub relay: config::RelayConfig,
    /// `daemon.grace`
    pub grace: Duration,
    /// `daemon.drain`
    pub drain: Duration,
}

/// Which event is meant.
#[derive(Debug)]
pub struct Question {
    /// Its lane.
    pub lane: Lane,
    /// Its position there.
    pub seq: Seq,
    /// Its key.
    pub key: Key,
    /// Where the answer goes.
    pub answer: oneshot::Sender<Place>,
}
