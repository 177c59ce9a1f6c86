//! Reads unsettled events of a segment, chunk by chunk, and what the store lost from its raw file.
//!
//! A segment's numbers follow each other without a gap. The store may leave chunks out after damage and
//! say nothing, so a gap is the sign: it is filled by carving, and what stays missing is told.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::chunk::{self, MAGIC};
use super::store::{Entry, Store, StoreError};
use super::types::{Page, Seq, Stored};

/// A segment that is open for reading.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) store: Arc<Store>,
    pub(super) dir: PathBuf,
    pub(super) first: Seq,
    pub(super) end: Seq,
}

/// A page being filled from one segment.
struct Filling<'a, F> {
    source: &'a Source,
    max_events: usize,
    max_bytes: usize,
    bytes: usize,
    is_settled: F,
    page: &'a mut Page,
}

/// Reads from `page.next` on until the page is full or the segment ends.
pub(super) fn read_chunks(
    source: &Source,
    (max_events, max_bytes): (usize, usize),
    is_settled: impl Fn(Seq) -> bool,
    page: &mut Page,
) {
    page.next = page.next.max(source.first);
    let bytes = page.events.iter().map(|stored| stored.event.body.len()).sum();
    let mut filling = Filling { source, max_events, max_bytes, bytes, is_settled, page };
    let mut entry = first_entry(&source.store, filling.page.next);
    while let Ok(Some((key, value))) = &entry {
        if let Ok(events) = chunk::decode(value)
            && let Some(first) = events.first().map(|stored| stored.seq)
            && (!filling.close_gap(first) || !events.into_iter().all(|stored| filling.add(stored)))
        {
            return;
        }
        entry = source.store.after(key);
    }
    if let Err(error) = entry {
        tracing::error!(segment = %source.dir.display(), %error, "the store cannot read on; carving the rest");
    }
    if filling.close_gap(source.end) {
        page.next = source.end;
    }
}

fn first_entry(store: &Store, from: Seq) -> Result<Option<Entry>, StoreError> {
    match store.at_or_before(&from.to_be_bytes())? {
        Some(entry) => Ok(Some(entry)),
        None => store.after(&from.to_be_bytes()),
    }
}

impl<F: Fn(Seq) -> bool> Filling<'_, F> {
    /// Adds an event unless it is settled or was passed. `false` if the page is full before it.
    fn add(&mut self, stored: Stored) -> bool {
        if stored.seq < self.page.next || stored.seq >= self.source.end {
            return true;
        }
        let events = self.page.events.len();
        if events >= self.max_events || (self.bytes >= self.max_bytes && events > 0) {
            return false;
        }
        self.page.next = stored.seq + 1;
        if !(self.is_settled)(stored.seq) {
            self.bytes += stored.event.body.len();
            self.page.events.push(stored);
        }
        true
    }

    /// Carves what is unsettled between the page's next event and `to`. `false` if the page is full.
    fn close_gap(&mut self, to: Seq) -> bool {
        let from = self.page.next;
        let missing = (from..to.min(self.source.end)).filter(|seq| !(self.is_settled)(*seq)).count();
        if missing == 0 {
            return true;
        }
        let carved = carve(&self.source.dir, from, to);
        let found = carved.keys().filter(|seq| !(self.is_settled)(**seq)).count();
        let segment = self.source.dir.display();
        tracing::error!(%segment, from, to, missing, carved = found, "a damaged part of the queue was carved");
        if !carved.into_values().all(|stored| self.add(stored)) {
            return false;
        }
        if found < missing {
            let lost = missing - found;
            tracing::error!(%segment, from, to, lost, "events cannot be read; their segment stays on disk");
        }
        true
    }
}

/// Events of `from..to` whose chunks stand whole in the segment's raw file.
pub(super) fn carve(dir: &Path, from: Seq, to: Seq) -> BTreeMap<Seq, Stored> {
    let raw = match fs::read(dir.join("db")) {
        Ok(raw) => raw,
        Err(error) => {
            tracing::error!(segment = %dir.display(), %error, "the raw file cannot be read");
            Vec::new()
        }
    };
    let starts = raw.windows(MAGIC.len()).enumerate().filter(|(_, bytes)| *bytes == MAGIC);
    starts
        .filter_map(|(at, _)| chunk::decode(&raw[at..]).ok())
        .flatten()
        .filter(|stored| (from..to).contains(&stored.seq))
        .map(|stored| (stored.seq, stored))
        .collect()
}

/// Whether the raw file holds any whole chunk.
pub(super) fn holds_events(dir: &Path) -> bool {
    !carve(dir, 0, Seq::MAX).is_empty()
}
