//! The ledger: what became of each event, and thereby which are settled. A log of its own.
//!
//! A settlement is one chunk of entries and one sync. Each of its segments begins with a snapshot of
//! what was settled in every living segment, so that a start reads the newest only and old ones can be
//! deleted by age and size.

use std::collections::HashSet;
use std::time::Duration;

use uuid::Uuid;

use crate::queue::format::chunk::EncodedChunk;
use crate::queue::format::entry::{self, Fate, LedgerEntry};
use crate::queue::format::snapshot::{self, SegmentSnapshot};
use crate::queue::log::append::{Batch, SegmentedLog};
use crate::queue::log::header::TimeRange;
use crate::queue::log::segment::Segment;
use crate::queue::log::source::Source;
use crate::queue::types::{Seq, StoreError};

#[derive(Debug)]
pub(crate) struct Ledger {
    pub(crate) log: SegmentedLog,
    keep_ms: i64,
    max_bytes: u64,
    has_snapshot: bool,
}

/// What the ledger of an earlier process says.
#[derive(Debug, Default)]
pub(crate) struct Recovered {
    /// Settled when the ledger's segment began.
    pub(crate) snapshots: Vec<SegmentSnapshot>,
    /// Settled since.
    pub(crate) entries: Vec<LedgerEntry>,
}

impl Ledger {
    pub(crate) fn new(log: SegmentedLog, keep: Duration, max_bytes: u64) -> Self {
        let mut ledger = Self { log, keep_ms: 0, max_bytes: 0, has_snapshot: false };
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
        for source in self.log.index.sources() {
            let dir = source.dir.clone();
            let source = match source.ready() {
                Ok(source) => source,
                Err(error) => {
                    tracing::error!(segment = %dir.display(), %error, "a part of the ledger cannot be read: some events may be sent again");
                    continue;
                }
            };
            let (mut has_snapshot, mut whole_to) = (false, source.first);
            for chunk in source.chunks_from(source.first).filter_map(Result::ok) {
                if chunk.numbers().start == whole_to {
                    whole_to = chunk.numbers().end;
                }
                let snapshots = snapshot::decode(&chunk.chunk()).unwrap_or_default();
                has_snapshot |=
                    whole_to == chunk.numbers().end && snapshots.iter().any(SegmentSnapshot::is_end);
                recovered.snapshots.extend(snapshots.into_iter().filter(|snapshot| !snapshot.is_end()));
                recovered.entries.extend(entry::decode(&chunk.chunk()).unwrap_or_default());
            }
            if whole_to < source.end {
                tracing::error!(segment = %dir.display(), "a part of the ledger cannot be read: some events may be sent again");
            }
            if has_snapshot {
                break;
            }
        }
        recovered
    }

    /// Lane and number of events that died at `since_ms` or later, of an earlier process.
    pub(crate) fn died_since(&self, since_ms: i64) -> HashSet<(u8, Seq)> {
        let mut died = HashSet::new();
        let is_recent = |segment: &&Segment| segment.times.newest_ms >= since_ms;
        for segment in self.log.index.segments().iter().filter(is_recent) {
            let Ok(source) = Source::of(self.log.id, segment).ready() else { continue };
            for chunk in source.chunks_from(source.first).filter_map(Result::ok) {
                let entries = entry::decode(&chunk.chunk()).unwrap_or_default();
                let dead = entries.into_iter().filter(|entry| matches!(entry.fate, Fate::Dead(_)));
                died.extend(dead.map(|entry| (entry.lane as u8, entry.seq)));
            }
        }
        died
    }

    /// Writes entries down and syncs once. `settled` is asked only when a new segment begins.
    pub(crate) fn record(
        &mut self,
        entries: &[LedgerEntry],
        settled: impl FnOnce() -> Vec<SegmentSnapshot>,
    ) -> Result<(), StoreError> {
        let Some(newest_ms) = entries.iter().map(|entry| entry.settled_at_ms).max() else { return Ok(()) };
        self.write(entries, newest_ms, settled)
    }

    /// Leaves a newest segment of which everything is older than it may be.
    pub(crate) fn renew(
        &mut self,
        now_ms: i64,
        settled: impl FnOnce() -> Vec<SegmentSnapshot>,
    ) -> Result<(), StoreError> {
        let oldest_kept = now_ms.saturating_sub(self.keep_ms);
        let is_old = |newest: &Segment| newest.count() > 0 && newest.times.newest_ms < oldest_kept;
        if !self.log.index.newest().is_some_and(is_old) {
            return Ok(());
        }
        self.log.roll(0)?;
        self.has_snapshot = false;
        self.write(&[], now_ms, settled)?;
        self.prune(now_ms);
        Ok(())
    }

    /// `newest_ms` is when the newest entry was settled; of a snapshot alone, when it is taken.
    fn write(
        &mut self,
        entries: &[LedgerEntry],
        newest_ms: i64,
        settled: impl FnOnce() -> Vec<SegmentSnapshot>,
    ) -> Result<(), StoreError> {
        if self.log.make_room(0)? {
            self.has_snapshot = false;
        }
        let takes_snapshot = !self.has_snapshot;
        let mut chunks = Vec::new();
        if takes_snapshot {
            chunks = snapshot::encode(self.log.next(), &settled());
        }
        let next = chunks.last().map_or(self.log.next(), EncodedChunk::end);
        chunks.extend(entry::encode(next, entries));
        let oldest_ms = entries.iter().map(|entry| entry.settled_at_ms).min().unwrap_or(newest_ms);
        let times = TimeRange { oldest_ms, newest_ms };
        let result = self.log.append(Batch { chunks, ids: Vec::new(), times });
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
        let mut excess = self.log.index.disk().saturating_sub(self.max_bytes);
        self.log.delete_where(
            |_| None,
            |segment| {
                let is_excess = excess > 0;
                excess = excess.saturating_sub(segment.closing().disk.max(1));
                is_excess || segment.times.newest_ms < oldest_kept
            },
        );
    }

    /// Gives the space of all but the newest segment back.
    pub(crate) fn give_way(&mut self) {
        if self.has_snapshot && self.log.index.segments().len() > 1 {
            tracing::warn!("the ledger gives way: space is needed for events");
            self.log.delete_where(|_| None, |_| true);
        }
    }

    /// Where all entries are read, newest segment first.
    pub(crate) fn sources(&self) -> Vec<Source> {
        self.log.index.sources()
    }
}

/// Entries that carry the id `id` anywhere, oldest first; at most `limit`, the newest of them. Reads for
/// as long as the ledger is large: without a lock.
pub(crate) fn find(sources: Vec<Source>, id: &str, limit: usize) -> Result<Vec<LedgerEntry>, StoreError> {
    let event_id = Uuid::try_parse(id).ok();
    let mut found = Vec::new();
    for source in sources {
        let mut here = Vec::new();
        // It may have been deleted meanwhile; then there is nothing in it.
        let source = source.ready()?;
        for chunk in source.chunks_from(source.first) {
            let entries = entry::decode(&chunk?.chunk()).unwrap_or_default();
            here.extend(entries.into_iter().filter(|entry| entry.is_about(id, event_id)));
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
