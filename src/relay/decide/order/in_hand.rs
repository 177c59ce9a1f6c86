//! Events in flight, suspected or waiting. Their keys are busy.
//!
//! Invariant: what `keys` counts of flying events and suspects is what was taken and what is in the queue.

use std::collections::HashSet;

use super::keys::{KeyState, Keys, Until, Waiting};
use super::suspects::{SuspectGroup, SuspectQueue};
use crate::clock::Mono;
use crate::event::Key;
use crate::queue::Seq;
use crate::relay::decide::item::Item;

#[derive(Debug, Default)]
pub(super) struct InHand {
    pub(super) keys: Keys,
    suspects: SuspectQueue,
}

impl InHand {
    /// Events among which a culprit is sought.
    pub(super) fn suspect_events(&self) -> usize {
        self.suspects.events()
    }

    /// The suspect at `seq`.
    pub(super) fn suspect(&self, seq: Seq) -> Option<&Item> {
        self.suspects.items().find(|item| item.stored.seq == seq)
    }

    /// The events leave in a request.
    pub(super) fn fly(&mut self, items: &[Item]) {
        for item in items {
            self.keys.change(item.stored.event.key, |state| state.flying += 1);
        }
    }

    /// The first suspects that may go now, by position.
    pub(super) fn due_suspects(&self, now: Mono) -> Option<usize> {
        self.suspects.first_due(now, |key| self.keys.state(key).is_some_and(KeyState::blocks_suspects))
    }

    /// The first suspects that may go now leave in a request; with `one_per_key`, up to the second of a key.
    pub(super) fn take_suspects(&mut self, now: Mono, one_per_key: bool) -> Option<SuspectGroup> {
        let position = self.due_suspects(now)?;
        let group = self.suspects.take(position, one_per_key)?;
        self.suspects_fly(&group.items);
        Some(group)
    }

    /// Suspects that a probe may be made of: the first of each key.
    pub(super) fn probes(&self, now: Mono) -> impl Iterator<Item = &Item> {
        let mut seen = HashSet::new();
        let due = self.suspects.groups().filter(move |group| group.due <= now);
        due.flat_map(|group| &group.items).filter(move |item| {
            let key = item.stored.event.key;
            seen.insert(key) && !self.keys.state(key).is_some_and(KeyState::blocks_suspects)
        })
    }

    /// The suspect at `seq` leaves alone.
    pub(super) fn take_suspect(&mut self, seq: Seq) -> Option<Item> {
        let items = self.suspects.extract(None, |item| item.stored.seq == seq);
        self.suspects_fly(&items);
        items.into_iter().next()
    }

    /// Of the first suspects that may go now, those that `is_meant` names.
    pub(super) fn take_of_suspects(
        &mut self,
        now: Mono,
        is_meant: impl Fn(&Item) -> bool + Copy,
    ) -> Vec<Item> {
        let Some(position) = self.due_suspects(now) else { return Vec::new() };
        let items = self.suspects.extract(Some(position), is_meant);
        self.suspects_fly(&items);
        items
    }

    fn suspects_fly(&mut self, items: &[Item]) {
        for item in items {
            self.keys.change(item.stored.event.key, |state| {
                state.suspects -= 1;
                state.flying += 1;
            });
        }
    }

    /// The group goes before all other suspects.
    pub(super) fn push_suspects(&mut self, group: SuspectGroup) {
        for item in &group.items {
            self.keys.change(item.stored.event.key, |state| state.suspects += 1);
        }
        self.suspects.push_front(group);
    }

    /// The events have come back from their request.
    pub(super) fn land(&mut self, items: &[Item]) {
        for item in items {
            self.keys.change(item.stored.event.key, |state| state.flying -= 1);
        }
    }

    /// A flying event's key waits until `due`.
    pub(super) fn wait(&mut self, item: Item, due: Mono) {
        self.keys.change(item.stored.event.key, |state| {
            state.flying -= 1;
            let waiting = state.waiting.get_or_insert_with(|| Waiting { items: Vec::new(), due });
            waiting.due = waiting.due.max(due);
            waiting.items.push(item);
            waiting.items.sort_by_key(|item| item.stored.seq);
        });
    }

    /// Ends all waits.
    pub(super) fn try_now(&mut self, now: Mono) {
        for key in self.keys.waiting().map(|(key, _)| key).collect::<Vec<Key>>() {
            self.keys.change(key, |state| {
                if let Some(waiting) = &mut state.waiting {
                    waiting.due = now;
                }
            });
        }
    }

    /// Ends the waits that are over. Events of keys that are busy besides, and held ones with `held_alone`, line up
    /// among the suspects; the others come back.
    pub(super) fn wake(&mut self, now: Mono, held_alone: bool) -> Vec<Item> {
        let mut free = Vec::new();
        while let Some(key) = self.keys.due_key(now) {
            let (waiting, is_busy) = self.keys.change(key, |state| (state.waiting.take(), state.is_busy()));
            let items = waiting.map(|waiting| waiting.items).unwrap_or_default();
            if is_busy || held_alone && items.iter().any(|item| item.held) {
                self.line_up(key, items);
            } else {
                free.extend(items);
            }
        }
        free
    }

    /// Other events of the key stand among the suspects, earlier or later: all of them go one by one.
    fn line_up(&mut self, key: Key, mut items: Vec<Item>) {
        let others = self.suspects.extract(None, |item| item.stored.event.key == key);
        self.keys.change(key, |state| state.suspects -= others.len());
        items.extend(others);
        items.sort_by_key(|item| item.stored.seq);
        for item in items.into_iter().rev() {
            self.push_suspects(SuspectGroup::of(vec![item], Mono::default()));
        }
    }

    /// A flying event of the key is settled. If that sets the key free, and events of it were parked: from where on
    /// they are to be read again.
    pub(super) fn settled(&mut self, key: Key) -> Option<Seq> {
        self.keys.change(key, |state| {
            state.flying -= 1;
            if state.is_busy() {
                return None;
            }
            let unread = state.unread.as_mut().filter(|unread| unread.until == Until::Settled)?;
            unread.until = Until::Found;
            Some(unread.from)
        })
    }

    /// Keys that wait because their own probe failed.
    pub(super) fn keys_held(&self) -> usize {
        self.keys.waiting().filter(|(_, waiting)| waiting.items.iter().any(|item| item.held)).count()
    }

    /// Keys that the API wants again later, and when the last of them is due; without those whose own probe failed.
    pub(super) fn asked_waits(&self) -> Option<(usize, Mono)> {
        let asked = self.keys.waiting().filter(|(_, waiting)| !waiting.items.iter().any(|item| item.held));
        asked.fold(None, |last, (_, waiting)| {
            let (count, due) = last.unwrap_or((0, waiting.due));
            Some((count + 1, waiting.due.max(due)))
        })
    }

    /// When the next key or suspect is due.
    pub(super) fn next_due(&self, now: Mono) -> Option<Mono> {
        self.keys.next_due().into_iter().chain(self.suspects.next_due(now)).min()
    }
}
