//! Requests to the committer, and their replies.

use std::collections::BTreeMap;
use std::sync::mpsc;

use tokio::sync::oneshot;

use crate::config;
use crate::event::{Envelope, Lane};

use super::error::{AppendError, QueueError, ReplayError};
use super::health::QueueHealth;
use super::types::{Appended, Seq, Settlement};
use crate::queue::format::entry::Fate;
use crate::queue::format::letter::DeadLetter;

/// One an event, in order.
pub(super) type AppendResult = Vec<Result<Appended, AppendError>>;

/// What the committer is asked to do.
#[derive(Debug)]
pub(super) enum Job {
    Append(WaitingAppend),
    Settle(Settling),
    /// Ends dead letters.
    EndLetters {
        letters: Vec<DeadLetter>,
        fate: Fate,
        answer: mpsc::SyncSender<Result<(), QueueError>>,
    },
    /// Accepts a dead letter's event again and ends the letter.
    Replay(Box<Replaying>),
    /// Says what it would say to a producer.
    Health(oneshot::Sender<QueueHealth>),
    /// Keeps to these limits from now on.
    Configure(Box<config::QueueConfig>),
    Close,
}

#[derive(Debug)]
pub(super) struct WaitingAppend {
    pub(super) events: Vec<Envelope>,
    pub(super) answer: oneshot::Sender<AppendResult>,
}

#[derive(Debug)]
pub(super) struct Settling {
    pub(super) settlements: Vec<Settlement>,
    pub(super) answer: oneshot::Sender<Result<(), QueueError>>,
}

#[derive(Debug)]
pub(super) struct Replaying {
    /// As it was listed.
    pub(super) letter: DeadLetter,
    pub(super) event: Envelope,
    pub(super) answer: mpsc::SyncSender<Result<Seq, ReplayError>>,
}

impl Settling {
    pub(super) fn has_death(&self) -> bool {
        self.settlements.iter().any(|settlement| settlement.outcome.is_death())
    }
}

impl Job {
    /// Events that it is about.
    pub(super) fn len(&self) -> usize {
        match self {
            Job::Append(append) => append.events.len(),
            Job::Settle(settle) => settle.settlements.len(),
            Job::EndLetters { letters, .. } => letters.len(),
            Job::Replay(_) => 1,
            Job::Health(_) | Job::Configure(_) | Job::Close => 0,
        }
    }
}

/// Where an event's answer comes from.
pub(super) enum Slot {
    Nth(Lane, u64),
    /// A repeat shares the fate of what it repeats if that is in this group.
    Duplicate(Lane),
    Refused(AppendError),
}

impl Slot {
    pub(super) fn result(
        self,
        outcome: &BTreeMap<Lane, Result<Seq, AppendError>>,
    ) -> Result<Appended, AppendError> {
        match self {
            Slot::Nth(lane, nth) => match &outcome[&lane] {
                Ok(first) => Ok(Appended::Stored(first + nth)),
                Err(error) => Err(error.clone()),
            },
            Slot::Duplicate(lane) => match outcome.get(&lane) {
                Some(Err(error)) => Err(error.clone()),
                _ => Ok(Appended::Duplicate),
            },
            Slot::Refused(error) => Err(error),
        }
    }
}
