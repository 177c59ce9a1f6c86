//! A row of segments: where chunks are appended, and which numbers they get. Lanes, dead letters and
//! ledger are one each.
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

use super::header;
use super::ids::IdEntry;
use super::maintenance::{self, Chore, Closed, Leaving, LeavingList, Maintenance, SpareSlot};
use super::segment::{Live, LogId, SLOT, Segment};
use super::store::{Store, StoreError, sync_dir};
use crate::queue::format::chunk::u32_of;
use crate::queue::types::Seq;

/// Numbers that stay free at the end of a segment's slot: more than one append can take.
const SLOT_REST: Seq = 1 << 16;

#[derive(Debug)]
pub(crate) struct SegmentedLog {
    pub(crate) id: LogId,
    pub(crate) dir: PathBuf,
    pub(crate) segments: Vec<Segment>,
    pub(crate) next: Seq,
    pub(crate) keeper: Maintenance,
    sealed: bool,
    segment_bytes: u64,
    spare: SpareSlot,
    leaving: LeavingList,
}

/// Appended records that are not synced yet.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) first: Seq,
    pub(crate) end: Seq,
    bytes: u64,
    pub(crate) idents: Vec<IdEntry>,
    times: (i64, i64),
}

impl SegmentedLog {
    /// A row of segments that were found (`recovery`); numbers begin at `next` or later.
    pub(crate) fn new(
        id: LogId,
        dir: PathBuf,
        segments: Vec<Segment>,
        next: Seq,
        segment_bytes: u64,
        keeper: Maintenance,
    ) -> Self {
        Self {
            id,
            dir,
            segments,
            next,
            keeper,
            sealed: false,
            segment_bytes,
            spare: SpareSlot::default(),
            leaving: LeavingList::default(),
        }
    }

    /// One past the last record that was synced; the next one comes at or after it.
    pub(crate) fn visible_end(&self) -> Seq {
        self.segments.last().map_or(1, |segment| segment.end)
    }

    /// Numbers up to `seq` were used by what is not here any more.
    pub(crate) fn raise_next(&mut self, seq: Seq) {
        self.next = self.next.max(slot_after(seq));
    }

    /// First number of the next segment.
    fn next_slot(&self) -> Seq {
        match self.segments.last() {
            Some(newest) => self.next.max(slot_after(newest.first)),
            None => self.next.max(SLOT),
        }
    }

    /// The newest segment's store, if it may be written.
    pub(crate) fn live(&self) -> Option<Arc<Store>> {
        let live = self.segments.last()?.live.as_ref()?;
        (!self.sealed).then(|| live.store.clone())
    }

    /// Makes sure that the newest segment takes chunks of at most `largest` bytes. `true` if it is new.
    pub(crate) fn make_room(&mut self, largest: usize) -> Result<bool, StoreError> {
        let has_room = self.segments.last().is_some_and(|newest| {
            newest.bytes < self.segment_bytes && self.next < newest.first + SLOT - SLOT_REST
        });
        if has_room && self.live().is_some_and(|store| largest <= store.max_value()) {
            return Ok(false);
        }
        self.roll(largest)?;
        Ok(true)
    }

    /// Puts chunks into the newest segment, each with its first number and its count of records; not
    /// durable and not visible before [`SegmentedLog::committed`]. [`SegmentedLog::make_room`] comes first.
    pub(crate) fn put(
        &mut self,
        chunks: &[(Seq, usize, Vec<u8>)],
        idents: Vec<IdEntry>,
        times: (i64, i64),
    ) -> Result<Pending, StoreError> {
        let first = self.next;
        let count: usize = chunks.iter().map(|(_, count, _)| count).sum();
        // The numbers count as tried whatever comes of it.
        self.next += Seq::from(u32_of(count));
        let store = self.live().ok_or_else(|| StoreError("no segment to write to".to_owned()))?;
        let mut bytes = 0;
        for (seq, _, chunk) in chunks {
            bytes += chunk.len() as u64;
            store.put(*seq, chunk)?;
        }
        Ok(Pending { first, end: self.next, bytes, idents, times })
    }

    /// Shows what was put after its sync returned.
    pub(crate) fn committed(&mut self, pending: Pending) {
        let newest = self.segments.last_mut().expect("what is pending stands in a segment");
        newest.end = pending.end;
        newest.bytes += pending.bytes;
        newest.note_times([pending.times.0, pending.times.1].into_iter());
        if let Some(live) = &mut newest.live {
            live.idents.extend(pending.idents);
            live.times.push((pending.first, pending.times.0));
        }
    }

    /// Puts, syncs and shows: for rows that nobody reads meanwhile.
    pub(crate) fn append(
        &mut self,
        chunks: &[(Seq, usize, Vec<u8>)],
        idents: Vec<IdEntry>,
        times: (i64, i64),
    ) -> Result<(), StoreError> {
        let result = self.put(chunks, idents, times).and_then(|pending| {
            self.live().ok_or_else(|| StoreError("no segment to sync".to_owned()))?.flush()?;
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

    /// After a failed write or sync: what was tried after the last sync must not count, now or after a
    /// restart. The segment's closing says so at once, and the next segment's header too.
    pub(crate) fn seal(&mut self) {
        self.sealed = true;
        let Some(newest) = self.segments.last() else { return };
        if let Err(error) = header::close(&newest.dir, newest.first, &newest.closing()) {
            tracing::warn!(row = self.id.name(), %error, "the sealed segment's end cannot be written yet");
        }
        if let Err(error) = self.roll(0) {
            tracing::warn!(row = self.id.name(), %error, "cannot begin a new segment yet");
        }
    }

    /// Begins a new segment and closes the newest.
    pub(crate) fn roll(&mut self, largest: usize) -> Result<(), StoreError> {
        let first = self.next_slot();
        let previous_end = match self.segments.last() {
            // It may reach further than could be read, and none of that was refused.
            Some(newest) if newest.is_short => header::UNKNOWN_END,
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
        header::write(&dir, self.id.id(), first, previous_end).map_err(io)?;
        sync_dir(&dir).map_err(io)?;
        sync_dir(&self.dir).map_err(io)?;
        self.close_newest();
        let live = Live { store: Arc::new(store), idents: Vec::new(), times: Vec::new() };
        self.segments.push(Segment::new(dir, first, previous_end, Some(live)));
        self.next = first;
        self.sealed = false;
        self.prepare();
        Ok(())
    }

    /// Lets the keeper make the next segment's database. Only for lanes: nobody waits for the others.
    pub(crate) fn prepare(&self) {
        let first = self.next_slot();
        if matches!(self.id, LogId::Lane(_)) && self.spare.ask(first) {
            let dir = self.dir.join(name_of(first));
            self.keeper.ask(Chore::Prepare { dir, first, slot: self.spare.clone() });
        }
    }

    /// Gives the newest segment's handle to the keeper, who writes down what it held.
    pub(crate) fn close_newest(&mut self) {
        let Some(newest) = self.segments.last_mut() else { return };
        let Some(live) = newest.live.take() else { return };
        let closing = newest.closing();
        self.keeper.ask(Chore::Close(Box::new(Closed {
            dir: newest.dir.clone(),
            first: newest.first,
            closing,
            idents: live.idents,
            store: live.store,
            disk: newest.disk.clone(),
        })));
    }

    /// Drops the segments that `gone` picks, the newest excepted, and lets the keeper delete them.
    pub(crate) fn delete_where(
        &mut self,
        ids_to: impl Fn(&Segment) -> Option<PathBuf>,
        mut gone: impl FnMut(&Segment) -> bool,
    ) {
        let keep = self.segments.len().saturating_sub(1);
        let mut at = 0;
        let (keeper, leaving) = (&self.keeper, &self.leaving);
        self.segments.retain(|segment| {
            at += 1;
            if at > keep || !gone(segment) {
                return true;
            }
            let disk = segment.disk.load(Ordering::Relaxed);
            let (dir, first, end) = (segment.dir.clone(), segment.first, segment.end);
            leaving.lock().insert(first, (end, disk));
            let list = leaving.clone();
            keeper.ask(Chore::Delete(Leaving { dir, ids_to: ids_to(segment), first, list }));
            false
        });
    }

    /// First and end of segments that are settled and not deleted yet.
    pub(crate) fn leaving(&self) -> Vec<(Seq, Seq)> {
        let leaving = self.leaving.lock();
        leaving.iter().map(|(first, (end, _))| (*first, *end)).collect()
    }

    /// Bytes on disk: closed segments as they were measured, the newest as it is now.
    pub(crate) fn disk(&self) -> u64 {
        self.segments
            .iter()
            .map(|segment| match segment.disk.load(Ordering::Relaxed) {
                0 => super::raw::allocated(&segment.dir),
                known => known,
            })
            .sum::<u64>()
            + self.leaving.lock().values().map(|(_, disk)| disk).sum::<u64>()
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
