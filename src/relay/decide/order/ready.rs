//! Events in memory that are ready to send, by sequence.

use std::collections::BTreeMap;

use crate::queue::Seq;
use crate::relay::decide::item::Item;

/// Ready events and what they take of memory.
#[derive(Debug, Default)]
pub(super) struct Ready {
    items: BTreeMap<Seq, Item>,
    bytes: usize,
    held: usize,
}

impl Ready {
    pub(super) fn insert(&mut self, item: Item) {
        let bytes = item.stored.event.body.len();
        let is_held = item.held;
        if self.items.insert(item.stored.seq, item).is_none() {
            self.bytes += bytes;
            self.held += usize::from(is_held);
        }
    }

    pub(super) fn remove(&mut self, seq: Seq) -> Option<Item> {
        let item = self.items.remove(&seq)?;
        self.bytes -= item.stored.event.body.len();
        self.held -= usize::from(item.held);
        Some(item)
    }

    pub(super) fn item(&self, seq: Seq) -> Option<&Item> {
        self.items.get(&seq)
    }

    pub(super) fn items(&self) -> impl Iterator<Item = &Item> {
        self.items.values()
    }

    /// Events whose own probe has not failed.
    pub(super) fn not_held(&self) -> usize {
        self.items.len() - self.held
    }

    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Bytes of the events' bodies.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}
