//! The ledger: what became of each event, and thereby which are settled. A row of its own.
//!
//! A settlement is one chunk of entries and one sync. Each of its segments begins with a snapshot of
//! what was settled in every living segment, so that a start reads the newest only and old ones can be
//! deleted by age and size.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use crate::queue::format::chunk::{self, Kind, runs_that_fit};
use crate::queue::format::entry::{self, Fate, LedgerEntry};
use crate::queue::format::snapshot::{self, SNAPSHOT_END, Snapshot};
use crate::queue::log::append::SegmentedLog;
use crate::queue::log::segment::Segment;
use crate::queue::log::source::{Chunks, Source};
use crate::queue::log::store::StoreError;
use crate::queue::log::survey::scan;
use crate::queue::types::Seq;

#[derive(Debug)]
pub(crate) struct Ledger {
    pub(crate) row: SegmentedLog,
    keep_ms: i64,
    max_bytes: u64,
    has_snapshot: bool,
}

/// What the ledger of an earlier process says.
#[derive(Debug, Default)]
pub(crate) struct Recovered {
    /// Bitmap when a segment began.
    pub(crate) marks: Vec<Snapshot>,
    /// Bitmap since.
    pub(crate) entries: Vec<LedgerEntry>,
}

impl Ledger {
    pub(crate) fn new(row: SegmentedLog, keep: Duration, max_bytes: u64) -> Self {
        let mut ledger = Self { row, keep_ms: 0, max_bytes: 0, has_snapshot: false };
        ledger.configure(keep, max_bytes);
        ledger
    }

    pub(crate) fn configure(&mut self, keep: Duration, max_bytes: u64) {
        self.keep_ms = i64::try_from(keep.as_millis()).unwrap_or(i64::MAX);
        self.max_bytes = max_bytes;
    }

    /// Reads back to the newest whole snapshot.
    pub(crate) fn recover(&self) -> Recovered {
        let mut recovered = Recovered::default();
        for segment in self.row.segments.iter().rev() {
            let raw = match &segment.raw {
                Some(raw) => Some(raw.clone()),
                None => match scan(self.row.id, segment.first, &segment.dir) {
                    Ok(raw) => raw.map(Arc::new),
                    Err(error) => {
                        tracing::error!(segment = %segment.dir.display(), %error, "a part of the ledger cannot be read: some events may be sent again");
                        None
                    }
                },
            };
            let Some(raw) = raw else { continue };
            let gaps = raw.gaps(segment.first, segment.end);
            if !gaps.is_empty() {
                tracing::error!(segment = %segment.dir.display(), ?gaps, "a part of the ledger cannot be read: some events may be sent again");
            }
            let (mut ends_at, mut begins_whole) = (None, segment.first);
            for place in raw.places().iter().filter(|place| place.first < segment.end) {
                let Ok(bytes) = raw.read(*place) else { continue };
                let Ok(chunk) = chunk::decode(&bytes) else { continue };
                if chunk.first == begins_whole {
                    begins_whole = chunk.end();
                }
                let marks = snapshot::decode_marks(&chunk).unwrap_or_default();
                if marks.iter().any(|mark| mark.row == SNAPSHOT_END) && begins_whole == chunk.end() {
                    ends_at = Some(chunk.end());
                }
                recovered.marks.extend(marks.into_iter().filter(|mark| mark.row != SNAPSHOT_END));
                recovered.entries.extend(entry::decode(&chunk).unwrap_or_default());
            }
            if ends_at.is_some() {
                break;
            }
        }
        recovered
    }

    /// Lane and number of events that died at `since_ms` or later, of an earlier process.
    pub(crate) fn died_since(&self, since_ms: i64) -> HashSet<(u8, Seq)> {
        let mut died = HashSet::new();
        for segment in self.row.segments.iter().filter(|segment| segment.newest_ms >= since_ms) {
            let raw = match &segment.raw {
                Some(raw) => Some(raw.clone()),
                None => scan(self.row.id, segment.first, &segment.dir).ok().flatten().map(Arc::new),
            };
            let Some(raw) = raw else { continue };
            for place in raw.places().iter().filter(|place| place.first < segment.end) {
                let Ok(bytes) = raw.read(*place) else { continue };
                let entries = chunk::decode(&bytes).and_then(|chunk| entry::decode(&chunk));
                let is_death = |entry: &LedgerEntry| matches!(entry.fate, Fate::Dead(_));
                let dead = entries.unwrap_or_default().into_iter().filter(is_death);
                died.extend(dead.map(|entry| (entry.lane as u8, entry.seq)));
            }
        }
        died
    }

    /// Writes entries down and syncs once. `marks` is asked only when a new segment begins.
    pub(crate) fn record(
        &mut self,
        entries: &[LedgerEntry],
        marks: impl FnOnce() -> Vec<Snapshot>,
    ) -> Result<(), StoreError> {
        let Some(newest_ms) = entries.iter().map(|entry| entry.settled_at_ms).max() else { return Ok(()) };
        self.write(entries, newest_ms, marks)
    }

    /// Leaves a newest segment of which everything is older than it may be.
    pub(crate) fn renew(
        &mut self,
        now_ms: i64,
        marks: impl FnOnce() -> Vec<Snapshot>,
    ) -> Result<(), StoreError> {
        let oldest_kept = now_ms.saturating_sub(self.keep_ms);
        let is_old = |newest: &Segment| newest.count() > 0 && newest.newest_ms < oldest_kept;
        if !self.row.segments.last().is_some_and(is_old) {
            return Ok(());
        }
        self.row.roll(0)?;
        self.has_snapshot = false;
        self.write(&[], now_ms, marks)?;
        self.prune(now_ms);
        Ok(())
    }

    /// `newest_ms` is when the newest entry was settled; of a snapshot alone, when it is taken.
    fn write(
        &mut self,
        entries: &[LedgerEntry],
        newest_ms: i64,
        marks: impl FnOnce() -> Vec<Snapshot>,
    ) -> Result<(), StoreError> {
        if self.row.make_room(0)? {
            self.has_snapshot = false;
        }
        let mut next = self.row.next;
        let mut chunks = Vec::new();
        let takes_snapshot = !self.has_snapshot;
        if takes_snapshot {
            let mut records: Vec<Vec<u8>> = marks().iter().map(snapshot::encode_mark).collect();
            let end = Snapshot { row: SNAPSHOT_END, first: 0, end: 0, bitmap: Vec::new() };
            records.push(snapshot::encode_mark(&end));
            let mut at = 0;
            for length in runs_that_fit(records.iter().map(Vec::len)) {
                let part = records[at..at + length].concat();
                chunks.push((next, length, chunk::encode(Kind::Snapshot, next, length, &part)));
                (at, next) = (at + length, next + length as Seq);
            }
        }
        let mut at = 0;
        for length in runs_that_fit(entries.iter().map(LedgerEntry::size)) {
            let part = entry::encode(&entries[at..at + length]);
            chunks.push((next, length, chunk::encode(Kind::Entries, next, length, &part)));
            (at, next) = (at + length, next + length as Seq);
        }
        let oldest_ms = entries.iter().map(|entry| entry.settled_at_ms).min().unwrap_or(newest_ms);
        let result = self.row.append(&chunks, Vec::new(), (oldest_ms, newest_ms));
        // After a fault a new segment was begun, or will be.
        self.has_snapshot = result.is_ok() && (self.has_snapshot || takes_snapshot);
        if takes_snapshot {
            self.prune(newest_ms);
        }
        result
    }

    /// Deletes what is older or larger than it may be. The newest stays: it knows what is settled.
    pub(crate) fn prune(&mut self, now_ms: i64) {
        if !self.has_snapshot {
            return;
        }
        let oldest_kept = now_ms.saturating_sub(self.keep_ms);
        let mut excess = self.row.disk().saturating_sub(self.max_bytes);
        self.row.delete_where(
            |_| None,
            |segment| {
                let is_excess = excess > 0;
                excess = excess.saturating_sub(segment.closing().disk.max(1));
                is_excess || segment.newest_ms < oldest_kept
            },
        );
    }

    /// Gives the space of all but the newest segment back.
    pub(crate) fn give_way(&mut self) {
        if self.has_snapshot && self.row.segments.len() > 1 {
            tracing::warn!("the ledger gives way: space is needed for events");
            self.row.delete_where(|_| None, |_| true);
        }
    }

    /// Where all entries are read, newest segment first.
    pub(crate) fn sources(&self) -> Vec<Source> {
        self.row.segments.iter().rev().map(|segment| self.row.source_of(segment)).collect()
    }
}

/// Entries that carry the id `id` anywhere, oldest first; at most `limit`, the newest of them. Reads for
/// as long as the ledger is large: without a lock.
pub(crate) fn find(sources: Vec<Source>, id: &str, limit: usize) -> Result<Vec<LedgerEntry>, StoreError> {
    let event_id = Uuid::try_parse(id).ok();
    let mut found = Vec::new();
    for source in sources {
        let mut here = Vec::new();
        let source = match source.chunks {
            // It may have been deleted meanwhile; then there is nothing in it.
            Chunks::Unread => source.read_from_file()?,
            _ => source,
        };
        let mut at = source.first;
        while at < source.end {
            let Some(raw) = source.chunk_at(at)? else { break };
            let Ok(chunk) = chunk::decode(&raw) else { break };
            let entries = entry::decode(&chunk).unwrap_or_default();
            here.extend(entries.into_iter().filter(|entry| entry.is_about(id, event_id)));
            at = chunk.end().max(at + 1);
        }
        here.reverse();
        found.extend(here);
        if found.len() >= limit {
            break;
        }
    }
    found.truncate(limit);
    found.reverse();
    Ok(found)
}
