//! Takes what is too old out of a lane's order, before a request is made of it.

use super::Order;
use crate::clock::Mono;
use crate::queue::Seq;
use crate::relay::decide::item::Item;

impl Order {
    /// Takes in hand events that could leave now and were accepted before `oldest_ms`, `most` of the ready ones. Later
    /// events of their keys wait until these are settled, as behind any others.
    pub(in crate::relay) fn take_expired(&mut self, oldest_ms: i64, most: usize, now: Mono) -> Vec<Item> {
        let is_old = |item: &Item| item.stored.event.accepted_at_ms < oldest_ms;
        if let Some(position) = self.due_suspects(now) {
            let group = &mut self.suspects[position].items;
            let expired: Vec<Item> = group.extract_if(.., |item| is_old(item)).collect();
            if group.is_empty() {
                self.suspects.remove(position);
            }
            if !expired.is_empty() {
                self.lift(&expired);
                return expired;
            }
        }
        let may_leave = |seq: Seq, item: &Item| {
            let key = &item.stored.event.key;
            let is_unread = |first: Option<&Seq>| first.is_some_and(|first| seq >= *first);
            !self.in_hand.contains_key(key)
                && !is_unread(self.parked.get(key))
                && !is_unread(self.freed.get(key))
        };
        let expired = self.ready.iter().filter(|(seq, item)| is_old(item) && may_leave(**seq, item));
        let expired: Vec<Seq> = expired.map(|(seq, _)| *seq).take(most).collect();
        self.take(&expired)
    }
}
