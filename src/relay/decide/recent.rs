//! The last minute of a lane: how many of its events the API called retryable.

use std::collections::VecDeque;

use super::MINUTE;
use crate::clock::Mono;

/// Events of a minute from which on most of them being retryable speaks of the lane.
const TELLING: usize = 10;

/// One request of the last minute.
#[derive(Debug)]
struct Request {
    at: Mono,
    events: usize,
    retryable: usize,
}

/// The requests of the last minute.
#[derive(Debug, Default)]
pub(crate) struct RecentRequests(VecDeque<Request>);

impl RecentRequests {
    /// Remembers a request for a minute.
    pub(crate) fn push(&mut self, at: Mono, events: usize, retryable: usize) {
        self.0.push_back(Request { at, events, retryable });
        while self.0.front().is_some_and(|oldest| at.since(oldest.at) > MINUTE) {
            self.0.pop_front();
        }
    }

    /// Over half of the events, and not just of a few, were called retryable.
    pub(crate) fn are_mostly_retryable(&self) -> bool {
        let events: usize = self.0.iter().map(|request| request.events).sum();
        let retryable: usize = self.0.iter().map(|request| request.retryable).sum();
        events >= TELLING && retryable * 2 > events
    }
}
