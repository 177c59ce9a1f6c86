//! Keeps each key's order within a lane: what is in memory, what is in hand, what must wait.
//!
//! ```text
//! queue ──frontier──> ready ──take──> flying ──settled──> gone, key free
//!   ^                  ^  │             │ └──wait, suspects──> ready or flying again
//!   └──parked (seq)────┘  └─ key busy: leaves memory, the first seq stays
//! ```
//!
//! Invariants
//! - A key is busy while an event of it is flying, waits, or stands among the suspects; then no other
//!   event of it is taken. `keys` is the one place that knows.
//! - What a parked key has from its `seq` on is not for sending; it is read again once the key is free.
//!   While it is looked for again, what the rescan has yet to look at is not for sending either.
//! - Keys are looked for again only while `cursor` is set.

mod in_hand;
mod keys;
mod place;
mod ready;
mod suspects;

use self::in_hand::InHand;
use self::keys::Unread;
pub use self::place::Place;
use self::ready::Ready;
pub(crate) use self::suspects::SuspectGroup;
use super::batch::{Filling, Limits, Offer};
use super::item::Item;
use crate::clock::Mono;
use crate::event::Key;
use crate::queue::{Page, Seq, Stored};

/// Parked keys of a lane at most: bounds memory.
pub(crate) const PARKED_KEYS_MAX: usize = 4096;

/// Suspects above which nothing new is read. Others' events go on being read while a search stands still for a while,
/// since an event of it waits: this is above what a search alone comes to.
const SUSPECTS_MAX: usize = 2_000;

/// A read that the lane needs next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReadPlan {
    /// From here on, for the first time.
    Frontier(Seq),
    /// From here on again, for freed keys.
    Rescan(Seq),
}

/// What the next batch would hold.
#[derive(Debug, Default)]
pub(crate) struct Choice {
    /// In rising order.
    pub(crate) seqs: Vec<Seq>,
    /// It can hold no more.
    pub(crate) is_full: bool,
}

/// One lane's order.
#[derive(Debug, Default)]
pub(crate) struct Order {
    ready: Ready,
    hand: InHand,
    cursor: Option<Seq>,
    next: Seq,
}

impl Order {
    /// Events ready in memory.
    pub(crate) fn ready_events(&self) -> usize {
        self.ready.len()
    }

    /// Bytes of their bodies.
    pub(crate) fn ready_bytes(&self) -> usize {
        self.ready.bytes()
    }

    /// When the oldest ready event was first seen.
    pub(crate) fn oldest_seen(&self) -> Option<Mono> {
        self.ready.items().map(|item| item.seen).next()
    }

    /// Nothing in memory, in hand or parked.
    pub(crate) fn is_empty(&self) -> bool {
        self.ready.is_empty() && self.hand.keys.is_empty() && self.cursor.is_none()
    }

    /// Where unread events start.
    pub(crate) fn frontier(&self) -> Seq {
        self.next
    }

    /// Events among which a culprit is sought.
    pub(crate) fn suspect_events(&self) -> usize {
        self.hand.suspect_events()
    }

    /// Why nothing new is read, if too much is in hand.
    pub(crate) fn backpressure(&self) -> Option<&'static str> {
        if self.suspect_events() >= SUSPECTS_MAX {
            return Some("requests are refused as a whole: the events that cause it are sought");
        }
        let keys = (self.hand.keys.parked() + self.hand.keys.rescans()).max(self.hand.keys.waits());
        (keys >= PARKED_KEYS_MAX).then_some("too many keys waiting")
    }

    /// The read that is needed next: freed keys first, they have waited longest.
    pub(crate) fn read_plan(&self) -> Option<ReadPlan> {
        if let Some(cursor) = self.cursor {
            return Some(ReadPlan::Rescan(cursor));
        }
        self.backpressure().is_none().then_some(ReadPlan::Frontier(self.next))
    }

    /// Takes in what `plan` read. A rescan during which the cursor went back is void: events before
    /// the page would be passed over.
    pub(crate) fn take_in(&mut self, plan: ReadPlan, page: Page, now: Mono) {
        match plan {
            ReadPlan::Frontier(_) => {
                for stored in page.events {
                    self.meet_new(stored, now);
                }
                self.next = self.next.max(page.next);
            }
            ReadPlan::Rescan(from) if self.cursor == Some(from) => self.rescan(page, now),
            ReadPlan::Rescan(_) => {}
        }
    }

    fn meet_new(&mut self, stored: Stored, now: Mono) {
        let key = stored.event.key;
        if self.hand.keys.unread(key).is_some() {
            return;
        }
        if self.hand.keys.is_busy(key) && self.park(key, stored.seq) {
            return;
        }
        self.ready.insert(Item::new(stored, now));
    }

    fn rescan(&mut self, page: Page, now: Mono) {
        for stored in page.events {
            let (key, seq) = (stored.event.key, stored.seq);
            if seq >= self.next {
                break;
            }
            match self.hand.keys.unread(key) {
                Some(Unread::Rescan(from)) if seq >= from => {}
                _ => continue,
            }
            if self.hand.keys.is_busy(key) {
                self.hand.keys.change(key, |state| state.unread = Some(Unread::Parked(seq)));
                continue;
            }
            self.hand.keys.change(key, |state| state.unread = Some(Unread::Rescan(seq + 1)));
            self.ready.insert(Item::new(stored, now));
        }
        self.cursor = Some(page.next);
        if page.next >= self.next || self.hand.keys.rescans() == 0 || page.at_end {
            self.cursor = None;
            self.hand.keys.end_rescans();
        }
    }

    /// Marks the key's events from `seq` on as not in memory. `false` at the limit.
    fn park(&mut self, key: Key, seq: Seq) -> bool {
        let has_room = self.hand.keys.parked() < PARKED_KEYS_MAX;
        self.hand.keys.change(key, |state| match state.unread {
            Some(Unread::Parked(first)) => {
                state.unread = Some(Unread::Parked(seq.min(first)));
                true
            }
            _ if has_room => {
                state.unread = Some(Unread::Parked(seq));
                true
            }
            _ => false,
        })
    }

    /// What the next batch would hold. Events of busy keys that are met on the way leave memory.
    pub(crate) fn choose(&mut self, limits: Limits) -> Choice {
        let mut filling = Filling::new(limits);
        let mut choice = Choice::default();
        let mut leaving = Vec::new();
        for item in self.ready.items() {
            let (key, seq) = (item.stored.event.key, item.stored.seq);
            if self.hand.keys.is_unread(key, seq) || self.hand.keys.is_busy(key) {
                leaving.push((seq, key));
                continue;
            }
            match filling.offer(&item.stored.event) {
                Offer::Added => choice.seqs.push(seq),
                Offer::Waits => {}
                Offer::Full => choice.is_full = true,
            }
            choice.is_full |= filling.is_full();
            if choice.is_full {
                break;
            }
        }
        for (seq, key) in leaving {
            if self.hand.keys.is_unread(key, seq) || self.park(key, seq) {
                self.ready.remove(seq);
            }
        }
        choice
    }

    /// The event of a probe: of the keys' first events the one that was sent least often, so that a
    /// key whose probe fails does not keep the others from theirs.
    pub(crate) fn probe(&mut self) -> Vec<Seq> {
        let every_key = Limits { max_events: usize::MAX, max_bytes: usize::MAX, one_per_key: true };
        let chosen = self.choose(every_key).seqs;
        chosen
            .into_iter()
            .min_by_key(|seq| self.ready.item(*seq).map(|item| item.attempts))
            .into_iter()
            .collect()
    }

    /// Takes chosen events in hand.
    pub(crate) fn take(&mut self, chosen: &[Seq]) -> Vec<Item> {
        let items: Vec<Item> = chosen.iter().filter_map(|seq| self.ready.remove(*seq)).collect();
        self.hand.fly(&items);
        items
    }

    /// Whether suspects may go now.
    pub(crate) fn has_due_suspects(&self, now: Mono) -> bool {
        self.hand.due_suspects(now).is_some()
    }

    /// The first suspects that may go now; with `single`, only one event of them.
    pub(crate) fn take_suspects(&mut self, now: Mono, single: bool) -> Option<Vec<Item>> {
        self.hand.take_suspects(now, single)
    }

    /// Takes in hand events that could leave now and were accepted before `oldest_ms`, `most` of the ready ones. Later
    /// events of their keys wait until these are settled, as behind any others.
    pub(crate) fn take_expired(&mut self, oldest_ms: i64, most: usize, now: Mono) -> Vec<Item> {
        let is_old = |item: &Item| item.stored.event.accepted_at_ms < oldest_ms;
        let suspects = self.hand.take_of_suspects(now, is_old);
        if !suspects.is_empty() {
            return suspects;
        }
        let may_leave = |item: &Item| {
            let key = item.stored.event.key;
            !self.hand.keys.is_busy(key) && !self.hand.keys.is_unread(key, item.stored.seq)
        };
        let expired = self.ready.items().filter(|item| is_old(item) && may_leave(item));
        let expired: Vec<Seq> = expired.map(|item| item.stored.seq).take(most).collect();
        self.take(&expired)
    }

    /// Flying events come back to be sent with any others, or as suspects where others of their key are.
    pub(crate) fn give_back(&mut self, items: Vec<Item>) {
        self.hand.land(&items);
        let (shared, alone): (Vec<Item>, Vec<Item>) = items.into_iter().partition(|item| {
            let state = self.hand.keys.state(item.stored.event.key);
            state.is_some_and(|state| state.waiting.is_some() || state.suspects > 0)
        });
        alone.into_iter().for_each(|item| self.ready.insert(item));
        self.hand.push_suspects(SuspectGroup { items: shared, due: Mono::default() });
    }

    /// A flying event's key waits until `due`.
    pub(crate) fn wait(&mut self, item: Item, due: Mono) {
        self.hand.wait(item, due);
    }

    /// Flying events are to be sent in these groups, in this order, before other events of their keys.
    pub(crate) fn suspect(&mut self, groups: Vec<SuspectGroup>) {
        for group in groups.into_iter().rev() {
            self.hand.land(&group.items);
            self.hand.push_suspects(group);
        }
    }

    /// Flying events are settled on stable storage: their keys are free unless others are in hand.
    pub(crate) fn settled(&mut self, events: impl Iterator<Item = Key>) {
        for seq in events.filter_map(|key| self.hand.settled(key)) {
            self.cursor = Some(self.cursor.map_or(seq, |cursor| cursor.min(seq)));
        }
    }

    /// Lets keys whose wait is over go on.
    pub(crate) fn wake(&mut self, now: Mono, lane_is_let_in: bool) {
        let free = self.hand.wake(now, lane_is_let_in);
        free.into_iter().for_each(|item| self.ready.insert(item));
    }

    /// The lane runs again: events whose own probe failed do not stand with others.
    pub(crate) fn isolate_held(&mut self, now: Mono) {
        let held: Vec<Seq> =
            self.ready.items().filter(|item| item.held).map(|item| item.stored.seq).collect();
        for seq in held.into_iter().rev() {
            let items = self.ready.remove(seq).into_iter().collect();
            self.hand.push_suspects(SuspectGroup { items, due: now });
        }
    }

    /// Keys that wait because their own probe failed.
    pub(crate) fn keys_held(&self) -> usize {
        self.hand.keys_held()
    }

    /// When the next key or suspect is due.
    pub(crate) fn next_due(&self, now: Mono) -> Option<Mono> {
        self.hand.next_due(now)
    }

    /// Where the unsettled event `seq` is.
    pub(crate) fn place(&self, seq: Seq, key: Key, now: Mono) -> Place {
        let waiting = self.hand.keys.state(key).and_then(|state| state.waiting.as_ref());
        if let Some(waiting) = waiting
            && let Some(item) = waiting.items.iter().find(|item| item.stored.seq == seq)
        {
            return Place::Again { after: waiting.due.since(now), attempts: item.attempts };
        }
        if let Some(item) = self.hand.suspect(seq) {
            return Place::Suspect { attempts: item.attempts };
        }
        if self.hand.keys.is_unread(key, seq) {
            return Place::BehindItsKey;
        }
        match (self.ready.item(seq).is_some(), self.hand.keys.is_busy(key)) {
            (true, true) => Place::BehindItsKey,
            (true, false) => Place::Next,
            (false, _) if seq >= self.next => Place::BehindOthers,
            (false, _) => Place::UnderWay,
        }
    }
}
