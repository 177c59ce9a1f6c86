//! Connection slots; when all are in use, the one that has kept us waiting longest is closed, so that peers that read
//! nothing never shut out a probe.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::socket::Watch;

/// Connections at once.
const CONNECTIONS_MAX: usize = 64;

/// All places of a listener. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct ConnectionSlots(Arc<Mutex<Vec<OpenConnection>>>);

#[derive(Debug)]
struct OpenConnection {
    watch: Watch,
    must_leave: CancellationToken,
}

/// A place until this is dropped.
#[derive(Debug)]
pub(super) struct ConnectionSlot {
    slots: ConnectionSlots,
    /// Fires when another needs the place.
    pub(super) must_leave: CancellationToken,
}

impl ConnectionSlots {
    /// A place for a connection. `None` if we are at work for all others.
    pub(super) fn take(&self, watch: &Watch) -> Option<ConnectionSlot> {
        let must_leave = CancellationToken::new();
        let mut open = self.0.lock();
        if open.len() >= CONNECTIONS_MAX {
            let waiting = open.iter().enumerate();
            let waiting = waiting.filter_map(|(at, open)| Some((open.watch.waits_since()?, at)));
            let (_, longest) = waiting.min()?;
            open.swap_remove(longest).must_leave.cancel();
        }
        open.push(OpenConnection { watch: watch.clone(), must_leave: must_leave.clone() });
        drop(open);
        Some(ConnectionSlot { slots: self.clone(), must_leave })
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        // Also tells its own entry from others.
        self.must_leave.cancel();
        self.slots.0.lock().retain(|open| !open.must_leave.is_cancelled());
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::Clock;

    #[test]
    fn when_all_places_are_taken_the_one_that_keeps_us_waiting_for_longest_makes_room() {
        let (slots, clock) = (ConnectionSlots::default(), Clock::manual(1_000));
        let mut taken = Vec::new();
        for _ in 0..CONNECTIONS_MAX {
            clock.advance(Duration::from_secs(1));
            taken.push(slots.take(&Watch::new(&clock)).unwrap());
        }

        let more = slots.take(&Watch::new(&clock));

        let left = |taken: &[ConnectionSlot]| taken.iter().position(|slot| slot.must_leave.is_cancelled());
        assert_eq!((more.is_some(), left(&taken)), (true, Some(0)));
        taken.remove(0);
        drop(more);
        assert!(slots.take(&Watch::new(&clock)).is_some());
        assert_eq!(left(&taken), None, "there was a place");
    }

    #[test]
    fn what_we_are_at_work_for_makes_no_room() {
        let (slots, clock) = (ConnectionSlots::default(), Clock::manual(1_000));
        let watch = Watch::new(&clock);
        watch.request_came();

        let taken: Vec<_> = (0..CONNECTIONS_MAX).map(|_| slots.take(&watch).unwrap()).collect();

        assert!(slots.take(&watch).is_none());
        drop(taken);
    }
}
