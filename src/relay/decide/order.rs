//! Keeps each key's order within a lane: what is in memory, what is in hand, what must wait.
//!
//! ```text
//! queue ──frontier──> ready ──take──> flying ──settled──> gone, key free
//!   ^                  ^  │             │ └──wait, suspects──> ready or flying again
//!   └──parked (seq)────┘  └─ key busy: leaves memory, the first seq stays
//! ```
//!
//! Invariants
//! - A key is busy while an event of it is flying, waits, or stands among the suspects.
//! - `parked[key] = s`: events of the key from `s` on are not for sending; they are read again once
//!   the key is free. `freed[key] = s`: the rescan has yet to look at its events from `s` on.
//! - `freed` is not empty only while `cursor` is set.

mod expired;
mod place;

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use super::batch::{Filling, Limits, Offer};
use super::item::{Item, Suspects, Waiting, decrement};
use crate::clock::Mono;
use crate::event::Key;
use crate::queue::{Page, Seq, Stored};

/// Parked keys of a lane at most. Source: issue of delivery, bounds memory.
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

/// One lane's order.
#[derive(Debug, Default)]
pub(crate) struct Order {
    ready: BTreeMap<Seq, Item>,
    ready_bytes: usize,
    in_hand: HashMap<Key, usize>,
    flying: HashMap<Key, usize>,
    waiting: HashMap<Key, Waiting>,
    suspects: VecDeque<Suspects>,
    parked: HashMap<Key, Seq>,
    freed: HashMap<Key, Seq>,
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
        self.ready_bytes
    }

    /// When the oldest ready event was first seen.
    pub(crate) fn oldest_seen(&self) -> Option<Mono> {
        self.ready.values().map(|item| item.seen).next()
    }

    /// Nothing in memory, in hand or parked.
    pub(crate) fn is_empty(&self) -> bool {
        self.ready.is_empty() && self.in_hand.is_empty() && self.parked.is_empty() && self.cursor.is_none()
    }

    /// Where unread events start.
    pub(crate) fn frontier(&self) -> Seq {
        self.next
    }

    /// Events among which a culprit is sought.
    pub(crate) fn suspect_events(&self) -> usize {
        self.suspects.iter().map(|suspects| suspects.items.len()).sum()
    }

    /// Of what too much is in hand, so that nothing new is read.
    pub(crate) fn crowd(&self) -> Option<&'static str> {
        if self.suspect_events() >= SUSPECTS_MAX {
            return Some("requests are refused as a whole: the events that cause it are sought");
        }
        let keys = (self.parked.len() + self.freed.len()).max(self.waiting.len());
        (keys >= PARKED_KEYS_MAX).then_some("too many keys waiting")
    }

    /// The read that is needed next: freed keys first, they have waited longest.
    pub(crate) fn read_plan(&self) -> Option<ReadPlan> {
        if let Some(cursor) = self.cursor {
            return Some(ReadPlan::Rescan(cursor));
        }
        self.crowd().is_none().then_some(ReadPlan::Frontier(self.next))
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
        if self.parked.contains_key(&key) || self.freed.contains_key(&key) {
            return;
        }
        if self.in_hand.contains_key(&key) && self.park(key, stored.seq) {
            return;
        }
        self.insert(Item::new(stored, now));
    }

    fn rescan(&mut self, page: Page, now: Mono) {
        for stored in page.events {
            let (key, seq) = (stored.event.key, stored.seq);
            if seq >= self.next {
                break;
            }
            let Some(from) = self.freed.get_mut(&key) else { continue };
            if seq < *from {
                continue;
            }
            if self.in_hand.contains_key(&key) {
                self.freed.remove(&key);
                self.parked.insert(key, seq);
                continue;
            }
            *from = seq + 1;
            self.insert(Item::new(stored, now));
        }
        self.cursor = Some(page.next);
        if page.next >= self.next || self.freed.is_empty() || page.at_end {
            self.cursor = None;
            self.freed.clear();
        }
    }

    fn insert(&mut self, item: Item) {
        let bytes = item.stored.event.body.len();
        if self.ready.insert(item.stored.seq, item).is_none() {
            self.ready_bytes += bytes;
        }
    }

    fn remove(&mut self, seq: Seq) -> Option<Item> {
        let item = self.ready.remove(&seq)?;
        self.ready_bytes -= item.stored.event.body.len();
        Some(item)
    }

    /// Marks the key's events from `seq` on as not in memory. `false` at the limit.
    fn park(&mut self, key: Key, seq: Seq) -> bool {
        if let Some(first) = self.parked.get_mut(&key) {
            *first = seq.min(*first);
            return true;
        }
        if self.parked.len() >= PARKED_KEYS_MAX {
            return false;
        }
        self.freed.remove(&key);
        self.parked.insert(key, seq);
        true
    }

    /// What the next batch would hold, by sequence, and whether it can hold no more. Events of busy
    /// keys that are met on the way leave memory.
    pub(crate) fn choose(&mut self, limits: Limits) -> (Vec<Seq>, bool) {
        let mut filling = Filling::new(limits);
        let mut chosen = Vec::new();
        let mut leaving = Vec::new();
        let mut full = false;
        for (seq, item) in &self.ready {
            let key = item.stored.event.key;
            let parked = self.parked.get(&key).is_some_and(|first| seq >= first);
            let unscanned = self.freed.get(&key).is_some_and(|from| seq >= from);
            if parked || unscanned {
                leaving.push((*seq, key, false));
                continue;
            }
            if self.in_hand.contains_key(&key) {
                leaving.push((*seq, key, true));
                continue;
            }
            match filling.offer(&item.stored.event) {
                Offer::Added => chosen.push(*seq),
                Offer::Waits => {}
                Offer::Full => full = true,
            }
            if full || filling.is_full() {
                full = true;
                break;
            }
        }
        for (seq, key, to_park) in leaving {
            if !to_park || self.park(key, seq) {
                self.remove(seq);
            }
        }
        (chosen, full)
    }

    /// The event of a probe: of the keys' first events the one that was sent least often, so that a
    /// key whose probe fails does not keep the others from theirs.
    pub(crate) fn probe(&mut self) -> Vec<Seq> {
        let every_key = Limits { max_events: usize::MAX, max_bytes: usize::MAX, one_per_key: true };
        let (chosen, _) = self.choose(every_key);
        chosen.into_iter().min_by_key(|seq| self.ready[seq].attempts).into_iter().collect()
    }

    /// Takes chosen events in hand.
    pub(crate) fn take(&mut self, chosen: &[Seq]) -> Vec<Item> {
        let items: Vec<Item> = chosen.iter().filter_map(|seq| self.remove(*seq)).collect();
        for item in &items {
            *self.in_hand.entry(item.stored.event.key).or_default() += 1;
        }
        self.lift(&items);
        items
    }

    fn lift(&mut self, items: &[Item]) {
        for item in items {
            *self.flying.entry(item.stored.event.key).or_default() += 1;
        }
    }

    fn land(&mut self, items: &[Item]) {
        for item in items {
            decrement(&mut self.flying, item.stored.event.key);
        }
    }

    /// Whether suspects may go now.
    pub(crate) fn has_due_suspects(&self, now: Mono) -> bool {
        self.due_suspects(now).is_some()
    }

    fn due_suspects(&self, now: Mono) -> Option<usize> {
        let mut earlier: HashSet<Key> = HashSet::new();
        self.suspects.iter().position(|suspects| {
            let blocked = suspects.due > now
                || suspects.items.iter().any(|item| {
                    let key = &item.stored.event.key;
                    self.flying.contains_key(key) || self.waiting.contains_key(key) || earlier.contains(key)
                });
            earlier.extend(suspects.items.iter().map(|item| item.stored.event.key));
            !blocked
        })
    }

    /// The first suspects that may go now; with `single`, only one event of them.
    pub(crate) fn take_suspects(&mut self, now: Mono, single: bool) -> Option<Vec<Item>> {
        let position = self.due_suspects(now)?;
        let mut suspects = self.suspects.remove(position)?;
        if single && suspects.items.len() > 1 {
            let rest = suspects.items.split_off(1);
            self.suspects.insert(position, Suspects { items: rest, due: suspects.due });
        }
        self.lift(&suspects.items);
        Some(suspects.items)
    }

    /// Flying events come back to be sent with any others.
    pub(crate) fn give_back(&mut self, items: Vec<Item>) {
        self.land(&items);
        let (alone, shared): (Vec<Item>, Vec<Item>) = items.into_iter().partition(|item| {
            let key = item.stored.event.key;
            !self.waiting.contains_key(&key)
                && !self.suspects.iter().any(|s| s.items.iter().any(|other| other.stored.event.key == key))
        });
        self.release(alone);
        if !shared.is_empty() {
            self.suspects.push_front(Suspects { items: shared, due: Mono::default() });
        }
    }

    fn release(&mut self, items: Vec<Item>) {
        for item in items {
            decrement(&mut self.in_hand, item.stored.event.key);
            self.insert(item);
        }
    }

    /// A flying event's key waits until `due`.
    pub(crate) fn wait(&mut self, item: Item, due: Mono) {
        self.land(std::slice::from_ref(&item));
        let waiting =
            self.waiting.entry(item.stored.event.key).or_insert_with(|| Waiting { items: Vec::new(), due });
        waiting.due = waiting.due.max(due);
        waiting.items.push(item);
        waiting.items.sort_by_key(|item| item.stored.seq);
    }

    /// Flying events are to be sent in these groups, in this order, before other events of their keys.
    pub(crate) fn suspect(&mut self, groups: Vec<Suspects>) {
        for group in groups.into_iter().rev() {
            self.land(&group.items);
            if !group.items.is_empty() {
                self.suspects.push_front(group);
            }
        }
    }

    /// Flying events are settled on stable storage: their keys are free unless others are in hand.
    pub(crate) fn settled(&mut self, events: impl Iterator<Item = Key>) {
        for key in events {
            decrement(&mut self.flying, key);
            if !decrement(&mut self.in_hand, key) {
                continue;
            }
            if let Some(seq) = self.parked.remove(&key) {
                self.freed.insert(key, seq);
                self.cursor = Some(self.cursor.map_or(seq, |cursor| cursor.min(seq)));
            }
        }
    }

    /// Lets keys whose wait is over go on.
    pub(crate) fn wake(&mut self, now: Mono, lane_is_let_in: bool) {
        let due: Vec<Key> =
            self.waiting.iter().filter(|(_, waiting)| waiting.due <= now).map(|(key, _)| *key).collect();
        for key in due {
            let Some(waiting) = self.waiting.remove(&key) else { continue };
            let alone = lane_is_let_in && waiting.items.iter().any(|item| item.held);
            if alone || self.in_hand.get(&key).copied().unwrap_or(0) > waiting.items.len() {
                self.line_up(key, waiting.items);
            } else {
                self.release(waiting.items);
            }
        }
    }

    /// The lane runs again: events whose own probe failed do not stand with others.
    pub(crate) fn isolate_held(&mut self, now: Mono) {
        let held: Vec<Seq> = self.ready.iter().filter(|(_, item)| item.held).map(|(seq, _)| *seq).collect();
        let items = self.take(&held);
        self.suspect(items.into_iter().map(|item| Suspects { items: vec![item], due: now }).collect());
    }

    /// Keys that wait because their own probe failed.
    pub(crate) fn keys_held(&self) -> usize {
        self.waiting.values().filter(|waiting| waiting.items.iter().any(|item| item.held)).count()
    }

    /// Other events of the key stand among the suspects, earlier or later: all of them go one by one.
    fn line_up(&mut self, key: Key, mut items: Vec<Item>) {
        for group in &mut self.suspects {
            items.extend(group.items.extract_if(.., |item| item.stored.event.key == key));
        }
        self.suspects.retain(|group| !group.items.is_empty());
        items.sort_by_key(|item| item.stored.seq);
        for item in items.into_iter().rev() {
            self.suspects.push_front(Suspects { items: vec![item], due: Mono::default() });
        }
    }

    /// When the next key or suspect is due.
    pub(crate) fn next_due(&self, now: Mono) -> Option<Mono> {
        let waits = self.waiting.values().map(|waiting| waiting.due);
        let suspects = self.suspects.iter().map(|suspects| suspects.due).filter(|due| *due > now);
        waits.chain(suspects).min()
    }
}
