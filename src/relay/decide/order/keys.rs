//! What is known of each key that is more than ready: one map from key to state, changed only by `Keys::change`.
//!
//! Invariants
//! - A key is in the map only while it is busy or has unread events.
//! - `due` has exactly the keys that wait, `parked` counts exactly the parked ones, `rescans` has exactly
//!   those that are looked for again.

use std::collections::{BTreeSet, HashMap, HashSet};

use crate::clock::Mono;
use crate::event::Key;
use crate::queue::Seq;
use crate::relay::decide::item::Item;

/// Events of one key that the API wants again.
#[derive(Debug)]
pub(super) struct Waiting {
    /// In rising order of sequence.
    pub(super) items: Vec<Item>,
    /// Not before.
    pub(super) due: Mono,
}

/// A key's events that are not in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct UnreadEvents {
    /// All from here on.
    pub(super) from: Seq,
    /// Since when the first of them has waited to be sent.
    pub(super) since: Mono,
    /// When they will be.
    pub(super) until: Until,
}

/// What unread events of a key wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Until {
    /// An earlier event of the key is not settled yet: nothing is read until it is.
    Settled,
    /// The key was set free: the rescan will find them.
    Found,
}

/// One key. Idle keys, of which all events are ready, have no state.
#[derive(Debug, Default)]
pub(super) struct KeyState {
    /// Events in a request, or whose outcome is being written.
    pub(super) flying: usize,
    /// Events among the suspects.
    pub(super) suspects: usize,
    /// Events that the API wants again.
    pub(super) waiting: Option<Waiting>,
    /// Events that are not in memory.
    pub(super) unread: Option<UnreadEvents>,
}

impl KeyState {
    /// An event of the key is in hand: no other of it may be taken.
    pub(super) fn is_busy(&self) -> bool {
        self.flying > 0 || self.suspects > 0 || self.waiting.is_some()
    }

    /// An event of it is in flight or waits, so none of its suspects may go.
    pub(super) fn blocks_suspects(&self) -> bool {
        self.flying > 0 || self.waiting.is_some()
    }

    fn is_idle(&self) -> bool {
        !self.is_busy() && self.unread.is_none()
    }

    fn due(&self) -> Option<Mono> {
        self.waiting.as_ref().map(|waiting| waiting.due)
    }

    fn is_parked(&self) -> bool {
        self.unread.is_some_and(|unread| unread.until == Until::Settled)
    }

    fn is_rescanned(&self) -> bool {
        self.unread.is_some_and(|unread| unread.until == Until::Found)
    }
}

/// All keys that are more than ready.
#[derive(Debug, Default)]
pub(super) struct Keys {
    states: HashMap<Key, KeyState>,
    due: BTreeSet<(Mono, Key)>,
    parked: usize,
    rescans: HashSet<Key>,
}

impl Keys {
    /// The only way to change a key's state.
    pub(super) fn change<R>(&mut self, key: Key, change: impl FnOnce(&mut KeyState) -> R) -> R {
        let state = self.states.entry(key).or_default();
        let (due, was_parked, was_rescanned) = (state.due(), state.is_parked(), state.is_rescanned());
        let result = change(state);
        if due != state.due() {
            due.map(|due| self.due.remove(&(due, key)));
            state.due().map(|due| self.due.insert((due, key)));
        }
        self.parked = self.parked - usize::from(was_parked) + usize::from(state.is_parked());
        match (was_rescanned, state.is_rescanned()) {
            (false, true) => drop(self.rescans.insert(key)),
            (true, false) => drop(self.rescans.remove(&key)),
            _ => {}
        }
        if state.is_idle() {
            self.states.remove(&key);
        }
        result
    }

    pub(super) fn state(&self, key: Key) -> Option<&KeyState> {
        self.states.get(&key)
    }

    pub(super) fn is_busy(&self, key: Key) -> bool {
        self.state(key).is_some_and(KeyState::is_busy)
    }

    /// What of the key is not in memory.
    pub(super) fn unread(&self, key: Key) -> Option<UnreadEvents> {
        self.state(key)?.unread
    }

    /// Whether the event at `seq` belongs to what is not in memory.
    pub(super) fn is_unread(&self, key: Key, seq: Seq) -> bool {
        self.unread(key).is_some_and(|unread| seq >= unread.from)
    }

    /// An event of the key is in hand or unread.
    pub(super) fn is_empty(&self) -> bool {
        self.states.is_empty()
    }

    pub(super) fn parked(&self) -> usize {
        self.parked
    }

    pub(super) fn rescans(&self) -> usize {
        self.rescans.len()
    }

    pub(super) fn waits(&self) -> usize {
        self.due.len()
    }

    /// Keys that wait, the next that is due first.
    pub(super) fn waiting(&self) -> impl Iterator<Item = (Key, &Waiting)> {
        self.due.iter().filter_map(|(_, key)| Some((*key, self.state(*key)?.waiting.as_ref()?)))
    }

    /// The first key whose wait is over.
    pub(super) fn due_key(&self, now: Mono) -> Option<Key> {
        self.due.first().filter(|(due, _)| *due <= now).map(|(_, key)| *key)
    }

    pub(super) fn next_due(&self) -> Option<Mono> {
        self.due.first().map(|(due, _)| *due)
    }

    /// Ends the rescan: what was looked for is found.
    pub(super) fn end_rescans(&mut self) {
        for key in self.rescans.iter().copied().collect::<Vec<Key>>() {
            self.change(key, |state| state.unread = None);
        }
    }
}
