//! Groups of events sent apart because one of them may spoil a request.

use std::collections::{HashSet, VecDeque};

use crate::clock::Mono;
use crate::event::Key;
use crate::relay::decide::item::Item;
use crate::relay::decide::size::SplitId;

/// Events that stand in one request, and no others with them.
#[derive(Clone, Debug)]
pub(crate) struct SuspectGroup {
    /// In rising order of sequence.
    pub(crate) items: Vec<Item>,
    /// Not before.
    pub(crate) due: Mono,
    /// It is half of a request that was too large.
    pub(crate) half_of: Option<SplitId>,
}

impl SuspectGroup {
    pub(crate) fn of(items: Vec<Item>, due: Mono) -> Self {
        Self { items, due, half_of: None }
    }
}

/// The groups in the order in which they are sent. A group waits for earlier ones that share a key with it.
#[derive(Debug, Default)]
pub(super) struct SuspectQueue(VecDeque<SuspectGroup>);

impl SuspectQueue {
    pub(super) fn events(&self) -> usize {
        self.0.iter().map(|group| group.items.len()).sum()
    }

    pub(super) fn groups(&self) -> impl Iterator<Item = &SuspectGroup> {
        self.0.iter()
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

    /// Takes out the group at `position`; with `one_per_key`, as far as no key comes again.
    pub(super) fn take(&mut self, position: usize, one_per_key: bool) -> Option<SuspectGroup> {
        let mut group = self.0.remove(position)?;
        let mut keys = HashSet::new();
        let again = group.items.iter().position(|item| !keys.insert(item.stored.event.key));
        if let Some(at) = again.filter(|_| one_per_key) {
            let rest = SuspectGroup::of(group.items.split_off(at), group.due);
            self.0.insert(position, rest);
            group.half_of = None;
        }
        Some(group)
    }

    /// Takes out the events that `is_meant` names: of the group at `position`, or of all.
    pub(super) fn extract(
        &mut self,
        position: Option<usize>,
        is_meant: impl Fn(&Item) -> bool + Copy,
    ) -> Vec<Item> {
        let mut found = Vec::new();
        for (at, group) in self.0.iter_mut().enumerate() {
            if position.is_none_or(|only| only == at) {
                let before = found.len();
                found.extend(group.items.extract_if(.., |item| is_meant(item)));
                group.half_of.take_if(|_| found.len() > before);
            }
        }
        self.0.retain(|group| !group.items.is_empty());
        found
    }

    /// When the next group is due that is not due yet.
    pub(super) fn next_due(&self, now: Mono) -> Option<Mono> {
        self.0.iter().map(|group| group.due).filter(|due| *due > now).min()
    }
}
