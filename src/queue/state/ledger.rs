//! The ledger: the outcome of each event, and so which are settled. A log of its own.
//!
//! A settlement is one chunk of entries and one sync. Each of its segments begins with a snapshot of
//! what was settled in every living segment, so that a start reads the newest only and old ones can be
//! deleted by age and size.

use std::ops::Range;
use std::time::Duration;

use uuid::Uuid;

use crate::clock::Ages;
use crate::event::Lane;

use super::recovered::Recovered;
use super::repeatable::Repeatable;
use crate::queue::error::StoreError;
use crate::queue::format::bitmap::Bitmap;
use crate::queue::format::chunk::EncodedChunk;
use crate::queue::format::entry::{self, Fate, LedgerEntry};
use crate::queue::format::snapshot::{self, SegmentSnapshot};
use crate::queue::log::append::{AppendBatch, SegmentedLog};
use crate::queue::log::header::TimeRange;
use crate::queue::log::segment::{LogId, Segment};
use crate::queue::log::source::Source;
use crate::queue::types::Seq;

/// Bytes of entries for which it is worth beginning a new segment when space is needed.
const WORTH_GIVING: u64 = 1024 * 1024;

/// What a search of the ledger came to.
#[derive(Clone, Debug, Default)]
pub struct LedgerFindings {
    /// Oldest first.
    pub entries: Vec<LedgerEntry>,
    /// Parts that could not be read, each with its fault.
    pub unread: Vec<String>,
}

#[derive(Debug)]
pub(crate) struct Ledger {
    pub(crate) log: SegmentedLog,
    keep: Duration,
    max_bytes: u64,
    has_snapshot: bool,
    dedupe_window: Duration,
    repeatable: Repeatable,
}

impl Ledger {
    /// Keeps everything until it is configured.
    pub(crate) fn new(log: SegmentedLog) -> Self {
        Self {
            log,
            keep: Duration::MAX,
            max_bytes: u64::MAX,
            has_snapshot: false,
            dedupe_window: Duration::ZERO,
            repeatable: Repeatable::default(),
        }
    }

    pub(crate) fn configure(&mut self, keep: Duration, max_bytes: u64) {
        self.keep = keep;
        self.max_bytes = max_bytes;
    }

    /// Remembers from now on, beginning with what was recovered, which events may come again within
    /// `window`.
    pub(crate) fn remember_repeatable(&mut self, window: Duration, recovered: &Recovered, ages: &Ages) {
        self.dedupe_window = window;
        for snapshot in &recovered.snapshots {
            self.repeatable.merge(snapshot, ages.now_boot_ms());
        }
        self.note_repeatable(&recovered.entries, ages);
    }

    fn note_repeatable(&mut self, entries: &[LedgerEntry], ages: &Ages) {
        for entry in entries.iter().filter(|entry| entry.fate.is_repeatable()) {
            self.repeatable.insert(entry.lane, entry.seq, ages.boot_ms(entry.settled_at_ms));
        }
    }

    /// Whether the event of that number ended so that the same event may come again.
    pub(crate) fn is_repeatable(&self, lane: Lane, seq: Seq) -> bool {
        self.repeatable.contains(lane, seq)
    }

    /// Reads back to the newest whole snapshot. What is older is only for a trace.
    ///
    /// # Errors
    /// If a part that counts cannot be read: that may pass. Without it events would be sent again.
    pub(crate) fn recover(&self) -> Result<Recovered, StoreError> {
        let mut recovered = Recovered::default();
        let mut sources = self.log.index.sources().into_iter();
        for source in sources.by_ref() {
            let dir = source.dir.clone();
            source.check_known()?;
            let source = source.ready()?;
            let (mut has_snapshot, mut whole_to) = (false, source.first);
            for chunk in source.chunks() {
                let chunk = chunk?;
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
                tracing::error!(segment = %dir.display(), "part of the ledger is damaged: some events may be sent again");
            }
            if has_snapshot {
                break;
            }
        }
        for source in sources {
            if let Err(error) = source.check_known() {
                tracing::error!(%error, "an old part of the ledger cannot be read: a trace lacks what is in it");
            }
        }
        Ok(recovered)
    }

    /// What all of it says is settled of `within` in the log `id`. What was lost is not: it may have been
    /// found again.
    ///
    /// # Errors
    /// If a part of it cannot be read.
    pub(crate) fn settled_in(&self, id: LogId, within: Range<Seq>) -> Result<Bitmap, StoreError> {
        let none = || Bitmap::new(within.start);
        let (mut in_snapshots, mut ended, mut lost) = (none(), none(), none());
        for source in self.log.index.sources() {
            let source = source.ready()?;
            for chunk in source.chunks() {
                let chunk = chunk?;
                for snapshot in snapshot::decode(&chunk.chunk()).unwrap_or_default() {
                    if snapshot.log == id.number() && snapshot.first == within.start {
                        in_snapshots.merge(&snapshot.bitmap, snapshot.end);
                    }
                }
                for entry in entry::decode(&chunk.chunk()).unwrap_or_default() {
                    let of = if entry.fate.is_of_a_letter() { LogId::Dead } else { LogId::Lane(entry.lane) };
                    if of == id && within.contains(&entry.seq) {
                        let part = if entry.fate == Fate::Lost { &mut lost } else { &mut ended };
                        part.insert(entry.seq);
                    }
                }
            }
        }
        let mut settled = in_snapshots.without(&lost);
        settled.extend(&ended);
        Ok(settled)
    }

    /// Writes entries down and syncs once. `settled` is asked only when a new segment begins.
    pub(crate) fn record(
        &mut self,
        entries: &[LedgerEntry],
        ages: &Ages,
        settled: impl FnOnce() -> Vec<SegmentSnapshot>,
    ) -> Result<(), StoreError> {
        let Some(newest_ms) = entries.iter().map(|entry| entry.settled_at_ms).max() else { return Ok(()) };
        self.write(entries, newest_ms, ages, settled)
    }

    /// Leaves a newest segment of which everything is older than it may be.
    pub(crate) fn renew(
        &mut self,
        now_ms: i64,
        ages: &Ages,
        settled: impl FnOnce() -> Vec<SegmentSnapshot>,
    ) -> Result<(), StoreError> {
        let keep = self.keep;
        let is_old = |newest: &Segment| newest.count() > 0 && ages.of(newest.times.newest_ms) > keep;
        if !self.log.index.newest().is_some_and(is_old) {
            return Ok(());
        }
        self.log.roll(0)?;
        self.has_snapshot = false;
        self.write(&[], now_ms, ages, settled)?;
        self.prune(ages);
        Ok(())
    }

    /// `newest_ms` is when the newest entry was settled; of a snapshot alone, when it is taken.
    fn write(
        &mut self,
        entries: &[LedgerEntry],
        newest_ms: i64,
        ages: &Ages,
        settled: impl FnOnce() -> Vec<SegmentSnapshot>,
    ) -> Result<(), StoreError> {
        if self.log.make_room(0)? {
            self.has_snapshot = false;
        }
        let takes_snapshot = !self.has_snapshot;
        let mut chunks = Vec::new();
        if takes_snapshot {
            let mut snapshots = settled();
            snapshots.extend(self.repeatable.snapshots(self.dedupe_window, ages));
            chunks = snapshot::encode(self.log.next(), &snapshots);
        }
        let next = chunks.last().map_or(self.log.next(), EncodedChunk::end);
        chunks.extend(entry::encode(next, entries));
        let oldest_ms = entries.iter().map(|entry| entry.settled_at_ms).min().unwrap_or(newest_ms);
        let times = TimeRange { oldest_ms, newest_ms };
        let result = self.log.append(AppendBatch { chunks, ids: Vec::new(), times });
        if result.is_ok() && !self.dedupe_window.is_zero() {
            self.note_repeatable(entries, ages);
        }
        // After a fault a new segment was begun, or will be.
        self.has_snapshot = result.is_ok() && (self.has_snapshot || takes_snapshot);
        if takes_snapshot {
            self.prune(ages);
        }
        result
    }

    /// Deletes what is older or larger than it may be. The newest stays: it knows what is settled.
    pub(crate) fn prune(&mut self, ages: &Ages) {
        if !self.has_snapshot {
            return;
        }
        let keep = self.keep;
        let mut excess = self.log.index.disk().saturating_sub(self.max_bytes);
        self.log.delete_where(
            |_| None,
            |segment| {
                // Nobody knows how old it is.
                if segment.is_unknown {
                    return false;
                }
                let is_excess = excess > 0;
                excess = excess.saturating_sub(segment.closing().disk.max(1));
                is_excess || ages.of(segment.times.newest_ms) > keep
            },
        );
    }

    /// Gives the space of all but the newest segment back, or of that too if it is the only one and
    /// large. `true` if anything was given.
    pub(crate) fn give_way(
        &mut self,
        now_ms: i64,
        ages: &Ages,
        settled: impl FnOnce() -> Vec<SegmentSnapshot>,
    ) -> bool {
        let is_alone = self.log.index.segments().len() < 2;
        if is_alone && self.log.index.newest().is_some_and(|newest| newest.bytes >= WORTH_GIVING) {
            let renewed = self.log.roll(0).and_then(|()| {
                self.has_snapshot = false;
                self.write(&[], now_ms, ages, settled)
            });
            if let Err(error) = renewed {
                tracing::debug!(%error, "cannot begin a new segment of the ledger");
            }
        }
        let known = self.log.index.segments().iter().filter(|segment| !segment.is_unknown);
        let gives = self.has_snapshot && known.count() > 1;
        if gives {
            self.log.delete_where(|_| None, |segment| !segment.is_unknown);
        }
        gives
    }

    /// Where all entries are read, newest segment first.
    pub(crate) fn sources(&self) -> Vec<Source> {
        self.log.index.sources()
    }
}

/// Entries that carry the id `id` anywhere, oldest first; at most `limit`, the newest of them. What cannot be
/// read is passed over and named. Reads for as long as the ledger is large: without a lock.
pub(crate) fn find(sources: Vec<Source>, id: &str, limit: usize) -> LedgerFindings {
    let event_id = Uuid::try_parse(id).ok();
    let (mut entries, mut unread) = (Vec::new(), Vec::new());
    for source in sources {
        let dir = source.dir.clone();
        match find_in(source, id, event_id) {
            Ok(here) => entries.extend(here.into_iter().rev()),
            // It was deleted meanwhile.
            Err(_) if !dir.exists() => {}
            Err(error) => unread.push(error.words),
        }
        if entries.len() >= limit {
            break;
        }
    }
    entries.truncate(limit);
    entries.reverse();
    LedgerFindings { entries, unread }
}

fn find_in(source: Source, id: &str, event_id: Option<Uuid>) -> Result<Vec<LedgerEntry>, StoreError> {
    let mut found = Vec::new();
    for chunk in source.ready()?.chunks() {
        let entries = entry::decode(&chunk?.chunk()).unwrap_or_default();
        found.extend(entries.into_iter().filter(|entry| entry.is_about(id, event_id)));
    }
    Ok(found)
}
