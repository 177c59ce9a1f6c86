//! Remembers what was accepted, so that a repeat is answered and not queued again. Pure.
//!
//! Ids lie in a ring in order of acceptance; a table of positions finds them. Full, that is 500,000 ids
//! in about 20 MB.

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use hashbrown::HashTable;

use crate::queue::log::ids::{Identity, MAX_IDS};

/// Whole seconds of boot time in 32 bits, which halves what an id takes.
#[derive(Clone, Copy, Debug)]
struct Remembered {
    event_id: [u8; 16],
    array: u32,
    at_s: u32,
}

impl Remembered {
    fn is(&self, identity: Identity) -> bool {
        self.array == identity.array && self.event_id == *identity.event_id.as_bytes()
    }

    fn identity(&self) -> Identity {
        Identity { event_id: uuid::Uuid::from_bytes(self.event_id), array: self.array }
    }
}

/// The (array, `eventId`) pairs of the last `window`.
#[derive(Debug)]
pub(crate) struct Dedupe {
    window: Duration,
    hasher: RandomState,
    ring: VecDeque<Remembered>,
    /// Position of the ring's front, counted from the first id ever, wrapping.
    front: u32,
    /// Positions in the ring, counted in the same way.
    table: HashTable<u32>,
}

impl Dedupe {
    /// `window` zero: nothing is remembered.
    pub(crate) fn new(window: Duration) -> Self {
        Self { window, hasher: RandomState::new(), ring: VecDeque::new(), front: 0, table: HashTable::new() }
    }

    /// Whether anything is remembered at all.
    pub(crate) fn is_on(&self) -> bool {
        !self.window.is_zero()
    }

    fn at(&self, position: u32) -> &Remembered {
        &self.ring[position.wrapping_sub(self.front) as usize]
    }

    /// Whether the same event was remembered within the window.
    /// `now_ms` is boot time, here and below.
    pub(crate) fn seen(&mut self, identity: Identity, now_ms: i64) -> bool {
        let since = seconds(now_ms).saturating_sub(u32::try_from(self.window.as_secs()).unwrap_or(u32::MAX));
        while self.ring.len() > MAX_IDS || self.ring.front().is_some_and(|oldest| oldest.at_s < since) {
            self.drop_oldest();
        }
        let hash = self.hasher.hash_one(identity);
        self.table.find(hash, |position| self.at(*position).is(identity)).is_some()
    }

    fn drop_oldest(&mut self) {
        let Some(oldest) = self.ring.front().copied() else { return };
        let position = self.front;
        let hash = self.hasher.hash_one(oldest.identity());
        if let Ok(entry) = self.table.find_entry(hash, |found| *found == position) {
            entry.remove();
        }
        self.ring.pop_front();
        self.front = self.front.wrapping_add(1);
    }

    /// Remembers an event from its acceptance on.
    pub(crate) fn remember(&mut self, identity: Identity, at_ms: i64) {
        if !self.is_on() {
            return;
        }
        self.forget(identity);
        while self.ring.len() >= MAX_IDS {
            self.drop_oldest();
        }
        let position = self.front.wrapping_add(u32::try_from(self.ring.len()).expect("at most MAX_IDS"));
        let Identity { event_id, array } = identity;
        self.ring.push_back(Remembered { event_id: event_id.into_bytes(), array, at_s: seconds(at_ms) });
        let hash = self.hasher.hash_one(identity);
        let (ring, front, hasher) = (&self.ring, self.front, &self.hasher);
        self.table.insert_unique(hash, position, |position| {
            hasher.hash_one(ring[position.wrapping_sub(front) as usize].identity())
        });
    }

    /// An event that was not stored after all, or may come again.
    pub(crate) fn forget(&mut self, identity: Identity) {
        let hash = self.hasher.hash_one(identity);
        let (ring, front) = (&self.ring, self.front);
        let is_it = |position: &u32| ring[position.wrapping_sub(front) as usize].is(identity);
        if let Ok(entry) = self.table.find_entry(hash, is_it) {
            entry.remove();
        }
    }

    /// Some events that were accepted between these times may come again, and nobody knows which.
    pub(crate) fn forget_between(&mut self, from_ms: i64, to_ms: i64) {
        let (from_s, to_s) = (seconds(from_ms), seconds(to_ms));
        let meant = self.ring.iter().filter(|remembered| (from_s..=to_s).contains(&remembered.at_s));
        let meant: Vec<Identity> = meant.map(Remembered::identity).collect();
        meant.into_iter().for_each(|identity| self.forget(identity));
    }

    /// How far back ids reach at the moment; less than the window when it is full.
    pub(crate) fn effective(&self, now_ms: i64) -> Duration {
        match self.ring.front() {
            Some(oldest) if self.ring.len() >= MAX_IDS => {
                Duration::from_secs(u64::from(seconds(now_ms).saturating_sub(oldest.at_s))).min(self.window)
            }
            _ => self.window,
        }
    }
}

/// What was accepted before the boot lies before zero.
fn seconds(ms: i64) -> u32 {
    u32::try_from(ms.div_euclid(1000) + i64::from(1_u32 << 31)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn identity(nth: u128) -> Identity {
        Identity { event_id: Uuid::from_u128(nth), array: 7 }
    }

    #[test]
    fn an_id_is_known_within_its_window_and_not_after() {
        let mut dedupe = Dedupe::new(Duration::from_secs(900));
        dedupe.remember(identity(1), 1_000_000);
        dedupe.remember(identity(2), 1_500_000);

        let within = [identity(1), identity(2), identity(3)].map(|id| dedupe.seen(id, 1_900_000));
        let after = [identity(1), identity(2)].map(|id| dedupe.seen(id, 1_901_000));

        assert_eq!(within, [true, true, false]);
        assert_eq!(after, [false, true]);
        assert!(!dedupe.seen(Identity { array: 8, ..identity(2) }, 1_901_000));
    }

    #[test]
    fn only_the_newest_half_million_are_kept_and_a_forgotten_one_may_come_again() {
        let mut dedupe = Dedupe::new(Duration::from_secs(900));
        for nth in 0..=MAX_IDS as u128 {
            dedupe.remember(identity(nth), 5_000);
        }

        dedupe.forget(identity(400_000));

        assert!(!dedupe.seen(identity(0), 5_000));
        assert!(dedupe.seen(identity(1), 5_000));
        assert!(dedupe.seen(identity(MAX_IDS as u128), 5_000));
        assert!(!dedupe.seen(identity(400_000), 5_000));
        assert_eq!(dedupe.effective(65_000), Duration::from_secs(60));
    }

    #[test]
    fn off_remembers_nothing() {
        let mut dedupe = Dedupe::new(Duration::ZERO);

        dedupe.remember(identity(1), 5_000);

        assert!(!dedupe.seen(identity(1), 5_000));
    }
}
