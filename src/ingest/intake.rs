//! From a body to its answer: what was refused at the door, and what the sink says about the rest.

use bytes::Bytes;
use uuid::Uuid;

use crate::event::{self, BodyError, Door, Envelope, Lane, Receipt, Refusal, answer, parse_body};
use crate::metrics::{ArrayLabel, DoorLabel, DoorReason, Metrics};
use crate::queue::{AppendError, Appended};
use crate::socket::Peer;

use super::{DoorContext, Sink};

/// A body's events before they go to the sink, and what the answer needs to know of them.
#[derive(Debug)]
pub struct Intake {
    door: Door,
    peer: Peer,
    /// Refused at the door; the sink's refusals join them.
    pub refused: Vec<Refusal>,
    /// Lanes of the arrays that had events, each once.
    pub lanes: Vec<Lane>,
    assigned: Vec<Uuid>,
    positions: Vec<EventPosition>,
}

#[derive(Debug)]
struct EventPosition {
    array: event::Array,
    index: usize,
    event_id: Uuid,
}

/// A body that was checked.
#[derive(Debug)]
pub struct Taken {
    /// For the answer.
    pub intake: Intake,
    /// What is to be stored.
    pub events: Vec<Envelope>,
}

/// Checks a body. The events go to [`Sink::submit`], its results to [`Intake::settle`].
///
/// # Errors
/// If nothing of it can be taken; counted and logged already.
pub fn take<S: Sink>(
    body: &Bytes,
    context: &DoorContext<S>,
    door: Door,
    peer: Peer,
) -> Result<Taken, BodyError> {
    let receipt = Receipt { now_ms: context.clock.unix_ms(), door, uid: peer.uid };
    let settings = context.settings();
    let parsed = parse_body(body, &settings.catalogue, &settings.rules(), &receipt, &mut Uuid::new_v4);
    let parsed = parsed.inspect_err(|_| context.refuse(door, peer, "bad_body"))?;
    for refusal in &parsed.refused {
        context.refuse(door, peer, refusal.reason);
    }
    for unknown in &parsed.unknown {
        let label = ArrayLabel { array: unknown.array.name().to_owned() };
        context.metrics.events_unknown.get_or_create(&label).inc();
        context.log_throttle.unknown(unknown);
    }
    if parsed.ahead > 0 {
        let ahead = u64::try_from(parsed.ahead).unwrap_or(u64::MAX);
        context.metrics.events_ahead.get_or_create(&DoorLabel { door: door.name() }).inc_by(ahead);
        context.log_throttle.ahead(door, peer);
    }
    let positions = parsed.events.iter().zip(&parsed.indexes).map(|(event, index)| EventPosition {
        array: event.array.clone(),
        index: *index,
        event_id: event.event_id,
    });
    let intake = Intake {
        door,
        peer,
        positions: positions.collect(),
        refused: parsed.refused,
        lanes: parsed.lanes,
        assigned: parsed.assigned,
    };
    Ok(Taken { intake, events: parsed.events })
}

impl<S: Sink> DoorContext<S> {
    /// Counts a refusal and logs it, if one is due.
    pub(super) fn refuse(&self, door: Door, peer: Peer, reason: &'static str) {
        count_refused(&self.metrics, door, reason);
        self.log_throttle.refused(door, peer, reason);
    }
}

fn count_refused(metrics: &Metrics, door: Door, reason: &'static str) {
    metrics.events_refused.get_or_create(&DoorReason { door: door.name(), reason }).inc();
    metrics.sums.refused.inc();
}

impl Intake {
    /// Adds the sink's word on each event, in the order of submission. Returns how many are accepted.
    pub fn settle<S: Sink>(
        &mut self,
        results: Vec<Result<Appended, AppendError>>,
        context: &DoorContext<S>,
    ) -> usize {
        let positions = std::mem::take(&mut self.positions);
        let mut accepted: usize = 0;
        let mut results = results.into_iter();
        for position in positions {
            // A sink that gives too few results has not said that the event is safe.
            let result = results.next().unwrap_or(Err(AppendError::Stopping));
            match result {
                Ok(Appended::Stored(_)) => accepted += 1,
                Ok(Appended::Duplicate) => {
                    accepted += 1;
                    context.metrics.events_duplicate.inc();
                }
                Err(error) => {
                    let refusal = refusal(&position, &error);
                    context.refuse(self.door, self.peer, refusal.reason);
                    self.refused.push(refusal);
                }
            }
        }
        let label = DoorLabel { door: self.door.name() };
        let count = u64::try_from(accepted).unwrap_or(u64::MAX);
        context.metrics.events_accepted.get_or_create(&label).inc_by(count);
        accepted
    }

    /// The stream door's answer, without a line feed.
    pub fn stream_answer(&self) -> Bytes {
        answer::stream(&self.refused, &self.assigned)
    }
}

fn refusal(position: &EventPosition, error: &AppendError) -> Refusal {
    let array = position.array.name();
    Refusal {
        event_id: Some(position.event_id.to_string()),
        message: format!("{array}[{}]: {}", position.index, words(error)),
        array: array.to_owned(),
        index: position.index,
        retryable: !matches!(error, AppendError::TooLarge { .. }),
        reason: reason(error),
    }
}

/// The error in words for producers; the store's own words are for the operator's log.
fn words(error: &AppendError) -> String {
    match error {
        AppendError::Storage(_) => "storage fault, it was not stored".to_owned(),
        AppendError::DirectoryGone { .. } => "the queue's directory is gone, it was not stored".to_owned(),
        AppendError::TooLarge { .. }
        | AppendError::Full { .. }
        | AppendError::LaneFull { .. }
        | AppendError::DiskLow { .. }
        | AppendError::Stopping => error.to_string(),
    }
}

const fn reason(error: &AppendError) -> &'static str {
    match error {
        AppendError::TooLarge { .. } => "too_large",
        AppendError::Full { .. } => "full",
        AppendError::LaneFull { .. } => "lane_full",
        AppendError::DiskLow { .. } => "disk_low",
        AppendError::DirectoryGone { .. } => "directory_gone",
        AppendError::Storage(_) => "storage",
        AppendError::Stopping => "stopping",
    }
}
