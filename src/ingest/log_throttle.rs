//! Log lines about producers' faults, throttled so that a faulty producer cannot fill the log.

use std::collections::HashSet;

use parking_lot::Mutex;

use crate::clock::Clock;
use crate::event::{Door, Unknown};
use crate::socket::Peer;
use crate::throttle::Throttle;

/// Unknown fields that are remembered as logged. Beyond it they are only counted.
const MAX_UNKNOWN: usize = 512;

/// Decides what is logged now.
#[derive(Debug)]
pub struct RefusalThrottle {
    clock: Clock,
    refusals: Mutex<Throttle<(Door, &'static str)>>,
    unknown: Mutex<HashSet<(String, String)>>,
}

impl RefusalThrottle {
    /// Nothing logged yet.
    pub fn new(clock: Clock) -> Self {
        Self { clock, refusals: Mutex::default(), unknown: Mutex::default() }
    }

    /// Logs a refusal unless the same reason was logged within the last second.
    pub fn refused(&self, door: Door, peer: Peer, reason: &'static str) {
        if let Some(held_back) = self.due(door, reason) {
            tracing::warn!(
                door = door.name(),
                uid = peer.known_uid(),
                pid = peer.pid,
                reason,
                held_back,
                "refused"
            );
        }
    }

    /// Warns about events that are ahead of our clock.
    pub fn ahead(&self, door: Door, peer: Peer) {
        if let Some(held_back) = self.due(door, "ahead") {
            let door = door.name();
            tracing::warn!(
                door,
                uid = peer.known_uid(),
                pid = peer.pid,
                held_back,
                "events ahead of our clock"
            );
        }
    }

    /// Tells of answers that nobody read.
    pub fn unheard(&self, door: Door, peer: Peer, answers: usize) {
        if let Some(held_back) = self.due(door, "unheard") {
            let door = door.name();
            tracing::info!(
                door,
                uid = peer.known_uid(),
                pid = peer.pid,
                answers,
                held_back,
                "a producer closed without reading its answers; its lines were taken, those refused are logged as refused"
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

    fn due(&self, door: Door, reason: &'static str) -> Option<u64> {
        self.refusals.lock().due((door, reason), self.clock.mono())
    }
}
