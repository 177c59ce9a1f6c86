//! Request size limits of a lane: the configured ones, lowered after 413s and raised again over time.
//!
//! ```text
//! too large ──halves──> both pass ──> smaller from now on ──10 minutes──> a tenth larger …
//!                 └──> one does not: it is an event of it, or its halves will tell
//! ```

use std::collections::VecDeque;
use std::time::Duration;

use super::batch::BatchLimits;
use crate::clock::Mono;

/// A lowered size grows this often, by a tenth of what is configured.
const GROW_EVERY: Duration = Duration::from_secs(600);
/// Requests that were too large and of which both halves have not come back yet, at most: more than are in flight.
const SPLITS_MAX: usize = 512;

/// Which request a group of suspects is half of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SplitId(u64);

/// Events and bytes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) events: usize,
    pub(crate) bytes: usize,
}

/// A request that was too large, sent again in halves.
#[derive(Debug)]
struct HalvedRequest {
    id: SplitId,
    passed: usize,
    largest: usize,
}

/// A lane's sizes.
#[derive(Debug)]
pub(crate) struct SizeLimit {
    configured: Size,
    current: Size,
    grow_at: Mono,
    splits: VecDeque<HalvedRequest>,
    next_id: u64,
}

impl SizeLimit {
    pub(crate) fn new(configured: Size) -> Self {
        Self {
            configured,
            current: configured,
            grow_at: Mono::default(),
            splits: VecDeque::new(),
            next_id: 0,
        }
    }

    /// What the API taught is learnt again where the operator changes it.
    pub(crate) fn configure(&mut self, configured: Size) {
        if configured.events != self.configured.events {
            self.current.events = configured.events;
        }
        if configured.bytes != self.configured.bytes {
            self.current.bytes = configured.bytes;
        }
        self.configured = configured;
    }

    pub(crate) fn limits(&self, one_per_key: bool) -> BatchLimits {
        BatchLimits { max_events: self.current.events, max_bytes: self.current.bytes, one_per_key }
    }

    /// The sizes in force, if they are lower than configured.
    pub(crate) fn lowered(&self) -> Option<Size> {
        (self.current != self.configured).then_some(self.current)
    }

    /// A request was too large and goes again in halves, which are to be marked with the result. What it was half of
    /// itself tells nothing any more.
    pub(crate) fn split(&mut self, half_of: Option<SplitId>) -> SplitId {
        self.forget(half_of);
        let id = SplitId(self.next_id);
        self.next_id += 1;
        self.splits.push_back(HalvedRequest { id, passed: 0, largest: 0 });
        if self.splits.len() > SPLITS_MAX {
            self.splits.pop_front();
        }
        id
    }

    /// A half is neither taken nor too large: what it was half of tells nothing.
    pub(crate) fn forget(&mut self, half_of: Option<SplitId>) {
        self.splits.retain(|split| Some(split.id) != half_of);
    }

    /// A half was taken. If it is the second, no event was to blame: requests are that small from now on. `true` if
    /// they were larger before.
    pub(crate) fn passed(&mut self, half_of: Option<SplitId>, bytes: usize, now: Mono) -> bool {
        let Some(at) = self.splits.iter().position(|split| Some(split.id) == half_of) else { return false };
        let split = &mut self.splits[at];
        split.passed += 1;
        split.largest = split.largest.max(bytes);
        if split.passed < 2 {
            return false;
        }
        let largest = split.largest;
        self.splits.remove(at);
        let is_less = largest < self.current.bytes;
        self.current.bytes = self.current.bytes.min(largest);
        self.grow_at = now.plus(GROW_EVERY);
        is_less
    }

    /// The API named the number of events as too large. `true` if it was allowed before.
    pub(crate) fn too_many(&mut self, events: usize, now: Mono) -> bool {
        let half = (events / 2).max(1);
        let is_less = half < self.current.events;
        self.current.events = self.current.events.min(half);
        self.grow_at = now.plus(GROW_EVERY);
        is_less
    }

    /// Grows back what was lowered. `true` if that ends here.
    pub(crate) fn grow(&mut self, now: Mono) -> bool {
        let was_lowered = self.lowered().is_some();
        let more = |current: usize, full: usize| (current + (full / 10).max(1)).min(full);
        while self.grows_at().is_some_and(|at| at <= now) {
            self.current.events = more(self.current.events, self.configured.events);
            self.current.bytes = more(self.current.bytes, self.configured.bytes);
            self.grow_at = self.grow_at.plus(GROW_EVERY);
        }
        was_lowered && self.lowered().is_none()
    }

    /// When it grows next, if it is lowered.
    pub(crate) fn grows_at(&self) -> Option<Mono> {
        self.lowered().map(|_| self.grow_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: Size = Size { events: 100, bytes: 500_000 };

    fn at(seconds: u64) -> Mono {
        Mono::from_duration(Duration::from_secs(seconds))
    }

    #[test]
    fn one_event_that_is_too_large_lowers_nothing() {
        let mut size = SizeLimit::new(FULL);

        let mut half = size.split(None);
        for bytes in [250_000, 125_000, 62_500] {
            assert!(!size.passed(Some(half), bytes, at(0)));
            half = size.split(Some(half));
        }
        size.forget(Some(half));

        assert_eq!(size.lowered(), None);
    }

    #[test]
    fn halves_that_both_pass_lower_the_size_and_it_grows_back() {
        let mut size = SizeLimit::new(FULL);
        let half = size.split(None);
        assert!(!size.passed(Some(half), 250_000, at(0)));

        assert!(size.passed(Some(half), 240_000, at(0)));

        assert_eq!(size.lowered(), Some(Size { bytes: 250_000, ..FULL }));
        let ends: Vec<u64> = (0..7_200).step_by(60).filter(|second| size.grow(at(*second))).collect();
        assert_eq!((ends, size.lowered()), (vec![3_000], None));
    }
}
