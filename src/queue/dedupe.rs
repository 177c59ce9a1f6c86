//! Remembers what was accepted, so that a repeat is answered and not queued again. Pure.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use uuid::Uuid;

use crate::event::Envelope;

/// Ids remembered at most. Source: the interface.
pub(super) const MAX_IDS: usize = 500_000;

/// The (array, `eventId`) pairs of the last `window`.
#[derive(Debug)]
pub(super) struct Dedupe {
    window_ms: i64,
    seen: HashMap<(Uuid, u32), i64>,
    order: VecDeque<((Uuid, u32), i64)>,
}

impl Dedupe {
    /// `window` zero: nothing is remembered.
    pub(super) fn new(window: Duration) -> Self {
        let window_ms = i64::try_from(window.as_millis()).unwrap_or(i64::MAX);
        Self { window_ms, seen: HashMap::new(), order: VecDeque::new() }
    }

    /// Whether the same event was remembered within the window.
    pub(super) fn seen(&mut self, event: &Envelope, now_ms: i64) -> bool {
        while let Some((id, at)) = self.order.front().copied()
            && (now_ms - at > self.window_ms || self.order.len() > MAX_IDS)
        {
            self.order.pop_front();
            if self.seen.get(&id) == Some(&at) {
                self.seen.remove(&id);
            }
        }
        self.seen.contains_key(&identity(event))
    }

    /// Remembers an event from its acceptance on.
    pub(super) fn remember(&mut self, event: &Envelope) {
        if self.window_ms > 0 {
            let id = identity(event);
            self.seen.insert(id, event.accepted_at_ms);
            self.order.push_back((id, event.accepted_at_ms));
        }
    }

    /// An event that was not stored after all.
    pub(super) fn forget(&mut self, event: &Envelope) {
        self.seen.remove(&identity(event));
    }
}

fn identity(event: &Envelope) -> (Uuid, u32) {
    (event.event_id, crc32c::crc32c(event.array.name().as_bytes()))
}
