//! Shares request slots between lanes: round robin, a request a turn.
//!
//! A lane that wants nothing collects nothing, so its share flows to the others at once.

use crate::event::Lane;

/// Whose turn it is.
#[derive(Debug, Default)]
pub(crate) struct Share {
    next: usize,
}

impl Share {
    /// Lanes in the order in which they may take the next slot.
    pub(crate) fn turns(&self) -> [Lane; Lane::ALL.len()] {
        let mut turns = Lane::ALL;
        turns.rotate_left(self.next);
        turns
    }

    /// `lane` took a slot: it goes to the end of the line.
    pub(crate) fn took(&mut self, lane: Lane) {
        self.next = (lane.index() + 1) % Lane::ALL.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_that_want_slots_take_turns_and_idle_ones_cost_nothing() {
        let wanting = [Lane::Conversations, Lane::RoutingStatus];
        let mut share = Share::default();

        let mut taken = Vec::new();
        for _ in 0..4 {
            let lane = share.turns().into_iter().find(|lane| wanting.contains(lane)).unwrap();
            share.took(lane);
            taken.push(lane);
        }

        assert_eq!(
            taken,
            [Lane::Conversations, Lane::RoutingStatus, Lane::Conversations, Lane::RoutingStatus]
        );
    }
}
