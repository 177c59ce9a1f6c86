//! A lane's counters of requests and settlements; changed only here.

use super::settling::Unsettled;
use crate::queue::QueueError;

/// Counts of a lane.
#[derive(Debug, Default)]
pub(super) struct Traffic {
    requests: usize,
    events_in_flight: usize,
    /// Groups of outcomes that are not on stable storage yet.
    settling: usize,
    /// Events in them.
    events_settling: usize,
    /// Those of the groups that wait for room in the dead letters.
    waiting_for_room: usize,
    last_status: Option<u16>,
}

impl Traffic {
    /// A request with so many events has started.
    pub(super) fn began(&mut self, events: usize) {
        self.requests += 1;
        self.events_in_flight += events;
    }

    /// A request with so many events has its answer.
    pub(super) fn answered(&mut self, events: usize, status: Option<u16>) {
        self.requests -= 1;
        self.events_in_flight -= events;
        self.last_status = status;
    }

    /// The outcomes of so many events are being written down.
    pub(super) fn settling(&mut self, events: usize) {
        self.settling += 1;
        self.events_settling += events;
    }

    /// Outcomes could not be written down and will be again. `true` if the lane holds from now on, for want of room in
    /// the dead letters.
    pub(super) fn not_settled(&mut self, unsettled: &mut Unsettled) -> bool {
        let is_full = matches!(unsettled.fault, Some((QueueError::DeadLettersFull, _)));
        let is_news = is_full && self.waiting_for_room == 0;
        self.waiting_for_room += usize::from(is_full);
        self.waiting_for_room -= usize::from(unsettled.waits_for_room);
        unsettled.waits_for_room = is_full;
        is_news
    }

    /// Outcomes are on stable storage.
    pub(super) fn settled(&mut self, done: &Unsettled) {
        self.settling -= 1;
        self.events_settling -= done.settlements.len();
        self.waiting_for_room -= usize::from(done.waits_for_room);
    }

    /// Requests in flight.
    pub(super) fn requests(&self) -> usize {
        self.requests
    }

    /// Events in them.
    pub(super) fn events_in_flight(&self) -> usize {
        self.events_in_flight
    }

    /// Events whose outcome is not on stable storage yet.
    pub(super) fn events_settling(&self) -> usize {
        self.events_settling
    }

    /// Outcomes wait for room in the dead letters.
    pub(super) fn waits_for_room(&self) -> bool {
        self.waiting_for_room > 0
    }

    /// HTTP status of the last answer.
    pub(super) fn last_status(&self) -> Option<u16> {
        self.last_status
    }

    /// Requests in flight, or outcomes that are not on stable storage yet.
    pub(super) fn has_open_ends(&self) -> bool {
        self.requests > 0 || self.settling > 0
    }
}
