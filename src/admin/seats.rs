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
pub(super) struct Seats(Arc<Mutex<Vec<Seated>>>);

#[derive(Debug)]
struct Seated {
    watch: Watch,
    must_leave: CancellationToken,
}

/// A place until this is dropped.
#[derive(Debug)]
pub(super) struct Seat {
    seats: Seats,
    /// Fires when another needs the place.
    pub(super) must_leave: CancellationToken,
}

impl Seats {
    /// A place for a connection. `None` if we are at work for all others.
    pub(super) fn take(&self, watch: &Watch) -> Option<Seat> {
        let must_leave = CancellationToken::new();
        let mut seated = self.0.lock();
        if seated.len() >= CONNECTIONS_MAX {
            let waiting = seated.iter().enumerate();
            let waiting = waiting.filter_map(|(at, seated)| Some((seated.watch.waits_since()?, at)));
            let (_, longest) = waiting.min()?;
            seated.swap_remove(longest).must_leave.cancel();
        }
        seated.push(Seated { watch: watch.clone(), must_leave: must_leave.clone() });
        drop(seated);
        Some(Seat { seats: self.clone(), must_leave })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        // Also so that its own entry can be told from others.
        self.must_leave.cancel();
        self.seats.0.lock().retain(|seated| !seated.must_leave.is_cancelled());
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::Clock;

    #[test]
    fn when_all_places_are_taken_the_one_that_keeps_us_waiting_for_longest_makes_room() {
        let (seats, clock) = (Seats::default(), Clock::manual(1_000));
        let mut taken = Vec::new();
        for _ in 0..CONNECTIONS_MAX {
            clock.advance(Duration::from_secs(1));
            taken.push(seats.take(&Watch::new(&clock)).unwrap());
        }

        let more = seats.take(&Watch::new(&clock));

        let left = |taken: &[Seat]| taken.iter().position(|seat| seat.must_leave.is_cancelled());
        assert_eq!((more.is_some(), left(&taken)), (true, Some(0)));
        taken.remove(0);
        drop(more);
        assert!(seats.take(&Watch::new(&clock)).is_some());
        assert_eq!(left(&taken), None, "there was a place");
    }

    #[test]
    fn what_we_are_at_work_for_makes_no_room() {
        let (seats, clock) = (Seats::default(), Clock::manual(1_000));
        let watch = Watch::new(&clock);
        watch.request_came();

        let taken: Vec<_> = (0..CONNECTIONS_MAX).map(|_| seats.take(&watch).unwrap()).collect();

        assert!(seats.take(&watch).is_none());
        drop(taken);
    }
}
