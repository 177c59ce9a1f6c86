//! Groups of events that are sent just so, since one of them may spoil a request.

use std::collections::{HashSet, VecDeque};

use crate::clock::Mono;
use crate::event::Key;
use crate::relay::decide::item::Item;

/// Events that stand in one request, and no others with them.
#[derive(Clone, Debug)]
pub(crate) struct SuspectGroup {
    /// In rising order of sequence.
    pub(crate) items: Vec<Item>,
    /// Not before.
    pub(crate) due: Mono,
}

/// The groups in the order in which they are sent. A group waits for earlier ones that share a key with it.
#[derive(Debug, Default)]
pub(super) struct SuspectQueue(VecDeque<SuspectGroup>);

impl SuspectQueue {
    pub(super) fn events(&self) -> usize {
        self.0.iter().map(|group| group.items.len()).sum()
    }

    pub(super) fn items(&self) -> impl Iterator<Item = &Item> {
        self.0.iter().flat_map(|group| &group.items)
    }

    pub(super) fn push_front(&mut self, group: SuspectGroup) {
        if !group.items.is_empty() {
            self.0.push_front(group);
        }
    }

    /// The first group that may go now, by position; `blocks` says of which keys none may.
    pub(super) fn first_due(&self, now: Mono, blocks: impl Fn(Key) -> bool) -> Option<usize> {
        let mut earlier: HashSet<Key> = HashSet::new();
        self.0.iter().position(|group| {
            let mut keys = group.items.iter().map(|item| item.stored.event.key);
            let is_due = group.due <= now && !keys.any(|key| blocks(key) || earlier.contains(&key));
            earlier.extend(group.items.iter().map(|item| item.stored.event.key));
            is_due
        })
    }

    /// Takes out the group at `position`; with `single`, only its first event.
    pub(super) fn take(&mut self, position: usize, single: bool) -> Vec<Item> {
        if single && self.0[position].items.len() > 1 {
            return vec![self.0[position].items.remove(0)];
        }
        self.0.remove(position).map(|group| group.items).unwrap_or_default()
    }

    /// Takes out the events that `is_meant` names: of the group at `position`, or of all.
    pub(super) fn extract(
        &mut self,
        position: Option<usize>,
        is_meant: impl Fn(&Item) -> bool + Copy,
    ) -> Vec<Item> {
        let groups = self.0.iter_mut().enumerate().filter(|(at, _)| position.is_none_or(|only| only == *at));
        let found = groups.flat_map(|(_, group)| group.items.extract_if(.., |item| is_meant(item))).collect();
        self.0.retain(|group| !group.items.is_empty());
        found
    }

    /// When the next group is due that is not due yet.
    pub(super) fn next_due(&self, now: Mono) -> Option<Mono> {
        self.0.iter().map(|group| group.due).filter(|due| *due > now).min()
    }
}
