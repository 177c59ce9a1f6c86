//! Log lines about producers' faults, throttled so that a faulty producer cannot fill the log.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use parking_lot::Mutex;

use crate::clock::{Clock, Mono};
use crate::event::{Door, Unknown};
use crate::socket::Peer;

/// One line a second for each reason, as `docs/operating.md` says.
const QUIET: Duration = Duration::from_secs(1);

/// Unknown fields that are remembered as logged. Beyond it they are only counted.
const MAX_UNKNOWN: usize = 512;

/// Decides what is logged now.
#[derive(Debug)]
pub struct RefusalThrottle {
    clock: Clock,
    refusals: Mutex<HashMap<(Door, &'static str), LastLogged>>,
    unknown: Mutex<HashSet<(String, String)>>,
}

#[derive(Debug)]
struct LastLogged {
    logged_at: Mono,
    since: u64,
}

impl RefusalThrottle {
    /// Nothing logged yet.
    pub fn new(clock: Clock) -> Self {
        Self { clock, refusals: Mutex::default(), unknown: Mutex::default() }
    }

    /// Logs a refusal unless the same reason was logged within the last second.
    pub fn refused(&self, door: Door, peer: Peer, reason: &'static str) {
        if let Some(held_back) = self.due(door, reason) {
            tracing::warn!(door = door.name(), uid = peer.uid, pid = peer.pid, reason, held_back, "refused");
        }
    }

    /// Warns about events that are ahead of our clock.
    pub fn ahead(&self, door: Door, peer: Peer) {
        if let Some(held_back) = self.due(door, "ahead") {
            let door = door.name();
            tracing::warn!(door, uid = peer.uid, pid = peer.pid, held_back, "events ahead of our clock");
        }
    }

    /// Tells of answers that nobody read.
    pub fn unheard(&self, door: Door, peer: Peer, answers: usize) {
        if let Some(held_back) = self.due(door, "unheard") {
            let door = door.name();
            tracing::info!(
                door,
                uid = peer.uid,
                pid = peer.pid,
                answers,
                held_back,
                "a producer closed without reading its answers; its lines were accepted"
            );
        }
    }

    /// Logs a field or value that the table does not have, once.
    pub fn unknown(&self, unknown: &Unknown) {
        let key = (unknown.array.name().to_owned(), unknown.field.clone());
        let mut logged = self.unknown.lock();
        if logged.len() < MAX_UNKNOWN && logged.insert(key) {
            let (array, field) = (unknown.array.name(), &unknown.field);
            tracing::info!(array, field, kind = ?unknown.kind, "unknown field or value, forwarded unchanged");
        }
    }

    /// `Some(how many were held back)` if a line is due.
    fn due(&self, door: Door, reason: &'static str) -> Option<u64> {
        let now = self.clock.mono();
        let mut refusals = self.refusals.lock();
        let Some(last) = refusals.get_mut(&(door, reason)) else {
            refusals.insert((door, reason), LastLogged { logged_at: now, since: 0 });
            return Some(0);
        };
        if now.since(last.logged_at) < QUIET {
            last.since += 1;
            return None;
        }
        last.logged_at = now;
        Some(std::mem::take(&mut last.since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_logged_once_a_second_and_tells_what_it_held_back() {
        let clock = Clock::manual(1_000);
        let throttle = RefusalThrottle::new(clock.clone());

        let at_once = [(); 3].map(|()| throttle.due(Door::Stream, "missing"));
        let other = throttle.due(Door::Stream, "too_large");
        clock.advance(QUIET);
        let later = throttle.due(Door::Stream, "missing");

        assert_eq!(at_once, [Some(0), None, None]);
        assert_eq!(other, Some(0));
        assert_eq!(later, Some(2));
    }
}
