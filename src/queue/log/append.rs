//! A log of segments: where chunks are appended, and which numbers they get. Each lane, the dead letters
//! and the ledger are one.
//!
//! Invariants
//! - Only the newest segment is written, and only if this process made it.
//! - After a fault of a write or sync it is sealed: the next append makes a new segment, whose header
//!   says how far the old one counts.
//! - `next` is above every number that was ever tried, so none is used twice.
//! - `end` of a segment moves only after its sync.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::header::{self, TimeRange};
use super::ids::IdEntry;
use super::index::SegmentIndex;
use super::maintenance::{self, Chore, Closed, Leaving, Maintenance, SpareSlot};
use super::segment::{Live, LogId, SLOT, Segment};
use super::store::Store;
use crate::files::sync_dir;
use crate::queue::error::StoreError;
use crate::queue::format::chunk::EncodedChunk;
use crate::queue::format::snapshot::SegmentSnapshot;
use crate::queue::types::Seq;

/// Numbers that stay free at the end of a segment's slot: more than one append can take.
const SLOT_REST: Seq = 1 << 16;

#[derive(Debug)]
pub(crate) struct SegmentedLog {
    pub(crate) id: LogId,
    pub(crate) index: SegmentIndex,
    dir: PathBuf,
    next: Seq,
    maintenance: Maintenance,
    sealed: bool,
    segment_bytes: u64,
    spare: SpareSlot,
    /// First number of a segment that must not be written any more: it cannot be read while it is.
    to_leave: Option<Seq>,
}

/// What one append writes.
#[derive(Debug)]
pub(crate) struct AppendBatch {
    /// Numbered from [`SegmentedLog::next`] on, without gaps.
    pub(crate) chunks: Vec<EncodedChunk>,
    /// For the `ids` file; may be empty.
    pub(crate) ids: Vec<IdEntry>,
    /// Of the records.
    pub(crate) times: TimeRange,
}

/// Appended records that are not synced yet.
#[derive(Debug)]
pub(crate) struct Pending {
    /// First number of the segment that it was put into.
    segment: Seq,
    pub(crate) first: Seq,
    end: Seq,
    bytes: u64,
    ids: Vec<IdEntry>,
    times: TimeRange,
}

impl SegmentedLog {
    /// A log of segments that were found (`recovery`); numbers begin at `next` or later.
    pub(crate) fn new(
        index: SegmentIndex,
        id: LogId,
        dir: PathBuf,
        next: Seq,
        segment_bytes: u64,
        maintenance: Maintenance,
    ) -> Self {
        Self {
            id,
            index,
            dir,
            next,
            maintenance,
            sealed: false,
            segment_bytes,
            spare: SpareSlot::default(),
            to_leave: None,
        }
    }

    /// The number that the next record gets.
    pub(crate) fn next(&self) -> Seq {
        self.next
    }

    /// Numbers up to `seq` were used by what is not here any more.
    pub(crate) fn raise_next(&mut self, seq: Seq) {
        self.next = self.next.max(slot_after(seq));
    }

    /// Takes over what a snapshot says of one of the segments; `false` if it is not here.
    pub(crate) fn merge(&mut self, snapshot: &SegmentSnapshot) -> bool {
        self.raise_next(snapshot.first);
        self.index.merge(snapshot)
    }

    /// First number of the next segment.
    fn next_slot(&self) -> Seq {
        match self.index.newest() {
            Some(newest) => self.next.max(slot_after(newest.first)),
            None => self.next.max(SLOT),
        }
    }

    /// The newest segment's store, if it may be written.
    pub(crate) fn live(&self) -> Option<Arc<Store>> {
        let live = self.index.newest()?.live.as_ref()?;
        (!self.sealed).then(|| live.store.clone())
    }

    /// Has the segment that begins at `first` left before anything more is put into it, if it is the newest. It
    /// is not left at once: an append to it may be on its way to the disk.
    pub(crate) fn leave(&mut self, first: Seq) {
        self.to_leave = Some(first);
    }

    /// Whether the newest segment is to be left.
    pub(crate) fn is_to_leave(&self) -> bool {
        self.to_leave.is_some() && self.to_leave == self.index.newest().map(|newest| newest.first)
    }

    /// Makes sure that the newest segment takes chunks of at most `largest` bytes. `true` if it is new.
    pub(crate) fn make_room(&mut self, largest: usize) -> Result<bool, StoreError> {
        let has_room = self.index.newest().is_some_and(|newest| {
            newest.bytes < self.segment_bytes && self.next < newest.first + SLOT - SLOT_REST
        });
        if has_room && !self.is_to_leave() && self.live().is_some_and(|store| largest <= store.max_value()) {
            return Ok(false);
        }
        self.roll(largest)?;
        Ok(true)
    }

    /// Puts a batch into the newest segment; not durable and not visible before
    /// [`SegmentedLog::committed`]. [`SegmentedLog::make_room`] comes first.
    pub(crate) fn put(&mut self, batch: AppendBatch) -> Result<Pending, StoreError> {
        let AppendBatch { chunks, ids, times } = batch;
        let first = self.next;
        // The numbers count as tried whatever comes of it.
        self.next = chunks.last().map_or(first, EncodedChunk::end);
        let store = self.live().ok_or_else(|| StoreError::new("no segment to write to"))?;
        let mut bytes = 0;
        for chunk in &chunks {
            bytes += chunk.bytes.len() as u64;
            store.put(chunk.first, &chunk.bytes)?;
        }
        let segment = self.index.newest().map_or(0, |newest| newest.first);
        Ok(Pending { segment, first, end: self.next, bytes, ids, times })
    }

    /// Shows what was put after its sync returned.
    pub(crate) fn committed(&mut self, pending: Pending) {
        let newest = self.index.newest_mut().expect("what is pending stands in a segment");
        assert_eq!(newest.first, pending.segment, "a segment is not left while an append to it is pending");
        newest.end = pending.end;
        newest.bytes += pending.bytes;
        newest.times.include(pending.times);
        if let Some(live) = &mut newest.live {
            live.ids.extend(pending.ids);
            live.appended_at.push((pending.first, pending.times.oldest_ms));
        }
    }

    /// Puts, syncs and shows: for logs that nobody reads meanwhile.
    pub(crate) fn append(&mut self, batch: AppendBatch) -> Result<(), StoreError> {
        let result = self.put(batch).and_then(|pending| {
            self.live().ok_or_else(|| StoreError::new("no segment to sync"))?.flush()?;
            Ok(pending)
        });
        match result {
            Ok(pending) => {
                self.committed(pending);
                Ok(())
            }
            Err(error) => {
                self.seal();
                Err(error)
            }
        }
    }

    /// After a failed write or sync, which whoever asked for it tells: what was tried after the last sync must not count, now or after a
    /// restart. The segment's closing says so at once, and the next segment's header too.
    pub(crate) fn seal(&mut self) {
        self.sealed = true;
        let Some(newest) = self.index.newest() else { return };
        if let Err(error) = header::close(&newest.dir, newest.first, &newest.closing()) {
            tracing::debug!(log = self.id.name(), %error, "the sealed segment's end cannot be written yet");
        }
        if let Err(error) = self.roll(0) {
            tracing::debug!(log = self.id.name(), %error, "cannot begin a new segment yet");
        }
    }

    /// Begins a new segment and closes the newest.
    pub(crate) fn roll(&mut self, largest: usize) -> Result<(), StoreError> {
        let first = self.next_slot();
        let previous_end = match self.index.newest() {
            // It may reach further than could be read, and none of that was refused.
            Some(newest) if newest.is_unknown => header::UNKNOWN_END,
            Some(newest) => newest.end.saturating_sub(1),
            None => 0,
        };
        let dir = self.dir.join(name_of(first));
        let store = match self.spare.take() {
            Some(spare) if spare.first == first && largest <= spare.store.max_value() => spare.store,
            other => {
                drop(other);
                maintenance::make(&dir, largest)?
            }
        };
        let io = |error: std::io::Error| StoreError::io(&dir, &error);
        // From here on the header may lie there, and says how far the newest counts: nothing may be
        // added to it, whatever comes.
        self.sealed = true;
        header::write(&dir, self.id.number(), first, previous_end).map_err(io)?;
        sync_dir(&self.dir).map_err(io)?;
        self.hand_over_newest(true);
        let live = Live { store: Arc::new(store), ids: Vec::new(), appended_at: Vec::new() };
        self.index.push(Segment::new(dir, first, previous_end, Some(live)));
        self.next = first;
        self.sealed = false;
        self.prepare();
        Ok(())
    }

    /// Has the next segment's database made before it is needed. Only for lanes: nobody waits for the
    /// others.
    pub(crate) fn prepare(&self) {
        let first = self.next_slot();
        if matches!(self.id, LogId::Lane(_)) && self.spare.ask(first) {
            let dir = self.dir.join(name_of(first));
            self.maintenance.ask(Chore::Prepare { dir, first, slot: self.spare.clone() });
        }
    }

    /// Has the newest segment's handle given back and written down what it held.
    pub(crate) fn close_newest(&mut self) {
        self.hand_over_newest(false);
    }

    /// One that is settled and not the newest any more is about to be deleted: it needs no closing.
    fn hand_over_newest(&mut self, has_successor: bool) {
        let Some(newest) = self.index.newest_mut() else { return };
        let Some(live) = newest.live.take() else { return };
        let is_leaving = has_successor && newest.is_settled();
        let closing = newest.closing();
        newest.is_closing.store(true, Ordering::Release);
        self.maintenance.ask(Chore::Close(Box::new(Closed {
            dir: newest.dir.clone(),
            first: newest.first,
            closing,
            is_leaving,
            ids: live.ids,
            store: live.store,
            disk: newest.disk.clone(),
            is_closing: newest.is_closing.clone(),
        })));
    }

    /// Has the segments deleted that `is_gone` picks, the newest excepted. `ids_to` says where a
    /// segment's `ids` file goes.
    pub(crate) fn delete_where(
        &mut self,
        ids_to: impl Fn(&Segment) -> Option<PathBuf>,
        is_gone: impl FnMut(&Segment) -> bool,
    ) {
        for segment in self.index.take_out(is_gone) {
            let (ids_to, list) = (ids_to(&segment), self.index.leaving());
            let leaving = Leaving { dir: segment.dir, ids_to, first: segment.first, list, is_told: false };
            self.maintenance.ask(Chore::Delete(leaving));
        }
    }
}

/// Directory of the segment that begins at `first`.
pub(crate) fn name_of(first: Seq) -> String {
    format!("{first:020}")
}

/// First number of the slot after the one that holds `seq`.
pub(crate) fn slot_after(seq: Seq) -> Seq {
    (seq / SLOT + 1) * SLOT
}
