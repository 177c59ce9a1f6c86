//! Keeps each key's order within a lane: what is in memory, what is in hand, what must wait.
//!
//! ```text
//! queue ──frontier──> ready ──take──> flying ──settled──> gone, key free
//!   ^                  ^  │             │ └──wait, suspects──> ready or flying again
//!   └──parked (seq)────┘  └─ key busy: leaves memory, the first seq stays
//! ```
//!
//! Invariants
//! - A key is busy while one of its events is in flight, waiting or a suspect; then no other event of it is
//!   taken. `keys` alone records that.
//! - Events of a parked key from its `seq` on are not sent until the key is free and they were read again.
//!   During that rescan, events that it has not reached are not sent either.
//! - Keys are rescanned only while `cursor` is set.

mod in_hand;
mod keys;
mod place;
mod ready;
mod suspects;

use std::collections::HashSet;

use self::in_hand::InHand;
use self::keys::{UnreadEvents, Until};
pub use self::place::Place;
use self::ready::Ready;
pub(crate) use self::suspects::SuspectGroup;
use super::batch::{BatchLimits, Filling, Offer};
use super::item::{Item, ProbeTurn};
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
    /// Since when the one that has waited longest has; `None` without any.
    pub(crate) since: Option<Mono>,
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
    probes: u64,
}

impl Order {
    /// Events ready in memory. Those whose own probe failed leave room for the others to be read, of which none would
    /// be tried otherwise.
    pub(crate) fn ready_events(&self) -> usize {
        self.ready.not_held()
    }

    /// Bytes of their bodies.
    pub(crate) fn ready_bytes(&self) -> usize {
        self.ready.bytes()
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
            return Some("whole requests are rejected; searching for the events that cause it");
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

    /// Takes in what `plan` read; `accepted` is when an event was accepted, as far as that is known. A rescan during
    /// which the cursor went back is void: events before the page would be passed over.
    pub(crate) fn take_in(&mut self, plan: ReadPlan, page: Page, accepted: impl Fn(&Stored) -> Mono) {
        match plan {
            ReadPlan::Frontier(_) => {
                for stored in page.events {
                    let since = accepted(&stored);
                    self.meet_new(stored, since);
                }
                self.next = self.next.max(page.next);
            }
            ReadPlan::Rescan(from) if self.cursor == Some(from) => self.rescan(page, accepted),
            ReadPlan::Rescan(_) => {}
        }
    }

    fn meet_new(&mut self, stored: Stored, since: Mono) {
        let key = stored.event.key;
        if self.hand.keys.unread(key).is_some() {
            return;
        }
        if self.hand.keys.is_busy(key) && self.park(key, stored.seq, since) {
            return;
        }
        self.ready.insert(Item::new(stored, since));
    }

    fn rescan(&mut self, page: Page, accepted: impl Fn(&Stored) -> Mono) {
        for stored in page.events {
            let (key, seq) = (stored.event.key, stored.seq);
            if seq >= self.next {
                break;
            }
            let sought = self.hand.keys.unread(key).filter(|unread| unread.until == Until::Found);
            let Some(unread) = sought.filter(|unread| seq >= unread.from) else { continue };
            let is_busy = self.hand.keys.is_busy(key);
            let next = match is_busy {
                true => UnreadEvents { from: seq, until: Until::Settled, ..unread },
                false => UnreadEvents { from: seq + 1, ..unread },
            };
            self.hand.keys.change(key, |state| state.unread = Some(next));
            if !is_busy {
                // What was parked has waited, whatever the wall clock says.
                let since = accepted(&stored).min(unread.since);
                self.ready.insert(Item::new(stored, since));
            }
        }
        self.cursor = Some(page.next);
        if page.next >= self.next || self.hand.keys.rescans() == 0 || page.at_end {
            self.cursor = None;
            self.hand.keys.end_rescans();
        }
    }

    /// Marks the key's events from `seq` on, which have waited since then, as not in memory. `false` at the limit.
    fn park(&mut self, key: Key, seq: Seq, since: Mono) -> bool {
        let has_room = self.hand.keys.parked() < PARKED_KEYS_MAX;
        self.hand.keys.change(key, |state| {
            let before = state.unread;
            let is_parked = before.is_some_and(|unread| unread.until == Until::Settled);
            if !is_parked && !has_room {
                return false;
            }
            let from = before.map_or(seq, |unread| unread.from.min(seq));
            let since = before.map_or(since, |unread| unread.since.min(since));
            state.unread = Some(UnreadEvents { from, since, until: Until::Settled });
            true
        })
    }

    /// Lets the key's ready events leave memory.
    fn park_ready(&mut self, key: Key) {
        let of_key = self.ready.items().filter(|item| item.stored.event.key == key);
        for (seq, since) in of_key.map(|item| (item.stored.seq, item.since)).collect::<Vec<_>>() {
            if self.park(key, seq, since) {
                self.ready.remove(seq);
            }
        }
    }

    /// What the next batch would hold. Events of busy keys that are met on the way leave memory.
    pub(crate) fn choose(&mut self, limits: BatchLimits) -> Choice {
        let mut filling = Filling::new(limits);
        let mut choice = Choice::default();
        let mut leaving = Vec::new();
        for item in self.ready.items() {
            let (key, seq) = (item.stored.event.key, item.stored.seq);
            if self.hand.keys.is_unread(key, seq) || self.hand.keys.is_busy(key) {
                leaving.push((seq, key, item.since));
                continue;
            }
            match filling.offer(&item.stored.event) {
                Offer::Added => {
                    choice.seqs.push(seq);
                    choice.since = Some(choice.since.map_or(item.since, |since| since.min(item.since)));
                }
                Offer::Waits => {}
                Offer::Full => choice.is_full = true,
            }
            choice.is_full |= filling.is_full();
            if choice.is_full {
                break;
            }
        }
        for (seq, key, since) in leaving {
            if self.hand.keys.is_unread(key, seq) || self.park(key, seq, since) {
                self.ready.remove(seq);
            }
        }
        choice
    }

    /// The event of the next probe: the first event of the key whose turn it is, among suspects and ready ones.
    fn next_probe(&self, now: Mono) -> Option<Seq> {
        let keys = &self.hand.keys;
        let mut seen = HashSet::new();
        let ready = self.ready.items().filter(|item| {
            let (key, seq) = (item.stored.event.key, item.stored.seq);
            seen.insert(key) && !keys.is_busy(key) && !keys.is_unread(key, seq)
        });
        ready.chain(self.hand.probes(now)).min_by_key(|item| item.turn).map(|item| item.stored.seq)
    }

    /// Whether there is an event to probe with.
    pub(crate) fn has_probe(&self, now: Mono) -> bool {
        self.next_probe(now).is_some()
    }

    /// Takes the event of the next probe in hand; its key goes to the end of the line.
    pub(crate) fn take_probe(&mut self, now: Mono) -> Option<Item> {
        let seq = self.next_probe(now)?;
        let mut item = match self.hand.take_suspect(seq) {
            Some(item) => item,
            None => self.take(&[seq]).pop()?,
        };
        self.probes += 1;
        item.turn = ProbeTurn::after_probe(self.next, self.probes);
        Some(item)
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

    /// The first suspects that may go now; with `one_per_key`, up to the second of a key.
    pub(crate) fn take_suspects(&mut self, now: Mono, one_per_key: bool) -> Option<SuspectGroup> {
        self.hand.take_suspects(now, one_per_key)
    }

    /// Takes in hand events that could leave now and are too old, `most` of the ready ones. Later
    /// events of their keys wait until these are settled, as behind any others.
    pub(crate) fn take_expired(
        &mut self,
        is_old: impl Fn(&Item) -> bool + Copy,
        most: usize,
        now: Mono,
    ) -> Vec<Item> {
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
        self.hand.push_suspects(SuspectGroup::of(shared, Mono::default()));
    }

    /// A flying event's key waits until `due`. If its own probe failed, its other events make room for other keys': they
    /// would not be tried otherwise.
    pub(crate) fn wait(&mut self, item: Item, due: Mono) {
        let held = item.held.then_some(item.stored.event.key);
        self.hand.wait(item, due);
        if let Some(key) = held {
            self.park_ready(key);
        }
    }

    /// Keys that wait go on at once.
    pub(crate) fn try_now(&mut self, now: Mono) {
        self.hand.try_now(now);
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
            self.hand.push_suspects(SuspectGroup::of(items, now));
        }
    }

    /// Keys that wait because their own probe failed.
    pub(crate) fn keys_held(&self) -> usize {
        self.hand.keys_held()
    }

    /// Keys that the API wants again later, and when the last of them is due; without those that are held.
    pub(crate) fn asked_waits(&self) -> Option<(usize, Mono)> {
        self.hand.asked_waits()
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
