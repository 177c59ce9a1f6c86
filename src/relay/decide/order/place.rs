//! Says where an event is, for an operator.

use super::Order;
use crate::clock::Mono;
use crate::event::Key;
use crate::queue::Seq;
use crate::relay::command::Place;

impl Order {
    /// Where the unsettled event `seq` is.
    pub(in crate::relay) fn place(&self, seq: Seq, key: Key, now: Mono) -> Place {
        if let Some(waiting) = self.waiting.get(&key)
            && let Some(item) = waiting.items.iter().find(|item| item.stored.seq == seq)
        {
            return Place::Again { after: waiting.due.since(now), attempts: item.attempts };
        }
        let mut suspects = self.suspects.iter().flat_map(|suspects| &suspects.items);
        if let Some(item) = suspects.find(|item| item.stored.seq == seq) {
            return Place::Suspect { attempts: item.attempts };
        }
        let is_after = |first: Option<&Seq>| first.is_some_and(|first| seq >= *first);
        if is_after(self.parked.get(&key)) || is_after(self.freed.get(&key)) {
            return Place::BehindItsKey;
        }
        match (self.ready.contains_key(&seq), self.in_hand.contains_key(&key)) {
            (true, true) => Place::BehindItsKey,
            (true, false) => Place::Next,
            (false, _) if seq >= self.next => Place::BehindOthers,
            (false, _) => Place::UnderWay,
        }
    }
}
