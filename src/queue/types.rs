//! Public types of the queue: stored events, pages, outcomes.

use std::sync::Arc;

use crate::event::Envelope;

/// Position of an event in its lane. Starts at 1; 0 is before everything.
pub type Seq = u64;

/// An event at rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Its position in `event.lane`.
    pub seq: Seq,
    /// The event.
    pub event: Envelope,
}

/// What became of an appended event. Either way the producer may be told that it is accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Appended {
    /// On stable storage at this position.
    Stored(Seq),
    /// The same array and `eventId` is on stable storage already, within the dedupe window.
    Duplicate,
}

/// Why an event lies in the dead letters. The text is in metrics and listings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum DeadReason {
    /// The API listed the event as not retryable.
    Rejected = 1,
    /// The API refused a request in which the event stood alone.
    InvalidAlone = 2,
    /// A request with this event alone was too large.
    TooLarge = 3,
    /// The API kept calling it retryable.
    Attempts = 4,
    /// Older than `relay.event_max_age`.
    Expired = 5,
}

impl DeadReason {
    /// All reasons.
    pub const ALL: [DeadReason; 5] = [
        DeadReason::Rejected,
        DeadReason::InvalidAlone,
        DeadReason::TooLarge,
        DeadReason::Attempts,
        DeadReason::Expired,
    ];

    /// Code in metrics, listings and filters.
    pub const fn code(self) -> &'static str {
        match self {
            DeadReason::Rejected => "rejected",
            DeadReason::InvalidAlone => "invalid_alone",
            DeadReason::TooLarge => "too_large",
            DeadReason::Attempts => "attempts",
            DeadReason::Expired => "expired",
        }
    }

    /// The reason with this discriminant.
    pub fn from_id(id: u8) -> Option<DeadReason> {
        DeadReason::ALL.into_iter().find(|reason| *reason as u8 == id)
    }
}

/// What became of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The API took it.
    Delivered,
    /// It goes to the dead letters.
    Dead {
        /// Our code.
        reason: DeadReason,
        /// The API's words; may quote personal data, so it stays out of the log.
        message: String,
    },
}

impl Outcome {
    pub(crate) fn is_death(&self) -> bool {
        matches!(self, Outcome::Dead { .. })
    }
}

/// The end of an event's way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settlement {
    /// The event, with its body: a dead letter keeps it.
    pub stored: Stored,
    /// What became of it.
    pub outcome: Outcome,
    /// Requests it stood in.
    pub attempts: u32,
    /// HTTP status of the last answer, if there was one.
    pub status: Option<u16>,
    /// `ININ-Correlation-Id` of the last answer.
    pub correlation_id: Option<Arc<str>>,
}

/// A run of unsettled events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// In rising order of `seq`; settled ones are passed over.
    pub events: Vec<Stored>,
    /// Where the next read of this run starts: greater than every `seq` that was looked at.
    pub next: Seq,
    /// Nothing was stored at or after `next` when this was read.
    pub at_end: bool,
}

/// How much a page may hold: at least one event if there is one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PageLimit {
    pub(crate) events: usize,
    /// Of bodies, about.
    pub(crate) bytes: usize,
}

/// How much a lane holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LaneDepth {
    /// Unsettled events.
    pub events: u64,
    /// Bytes of their bodies, approximate after a restart.
    pub bytes: u64,
    /// `accepted_at_ms` of the oldest unsettled event, if any.
    pub oldest_ms: Option<i64>,
    /// When this process last accepted one.
    pub last_accepted_ms: Option<i64>,
}
