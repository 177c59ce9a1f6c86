//! The segments of a log, oldest first, and what is settled in each.
//!
//! Invariants
//! - Segments rise by their first number and share none; only the newest may be live.
//! - A segment leaves only when its owner says so, the newest never; until its directory is gone,
//!   snapshots go on to say that all of it is settled.
//! - What is damaged counts as settled here once its evidence is kept, and never in a snapshot.
//! - What could not be read is neither settled nor passed over: it is looked at again.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::Mutex;

use super::quarantine::Quarantine;
use super::raw::{self, RawFile};
use super::segment::{FailedLook, LogId, SLOT, Segment};
use super::source::{Looked, Source, words};
use crate::clock::Mono;
use crate::queue::error::StoreError;
use crate::queue::format::bitmap::Bitmap;
use crate::queue::format::snapshot::SegmentSnapshot;
use crate::queue::types::Seq;

/// Closed segments of a log whose chunks' places are kept in memory.
const KEPT_RAW: usize = 2;

/// Segments that are settled and whose directories are not deleted yet, by first number.
#[derive(Clone, Debug, Default)]
pub(crate) struct LeavingList(Arc<Mutex<BTreeMap<Seq, LeavingSegment>>>);

#[derive(Clone, Copy, Debug)]
struct LeavingSegment {
    end: Seq,
    disk: u64,
}

impl LeavingList {
    /// Its directory is gone.
    pub(super) fn remove(&self, first: Seq) {
        self.0.lock().remove(&first);
    }
}

#[derive(Debug)]
pub(crate) struct SegmentIndex {
    id: LogId,
    segments: Vec<Segment>,
    leaving: LeavingList,
}

impl SegmentIndex {
    /// `segments` as they were found, in rising order.
    pub(crate) fn new(id: LogId, segments: Vec<Segment>) -> Self {
        Self { id, segments, leaving: LeavingList::default() }
    }

    /// All segments, oldest first.
    pub(crate) fn segments(&self) -> &[Segment] {
        &self.segments
    }

    pub(crate) fn newest(&self) -> Option<&Segment> {
        self.segments.last()
    }

    pub(super) fn newest_mut(&mut self) -> Option<&mut Segment> {
        self.segments.last_mut()
    }

    /// Adds a new segment, which becomes the newest.
    pub(super) fn push(&mut self, segment: Segment) {
        debug_assert!(self.newest().is_none_or(|newest| newest.end <= segment.first));
        self.segments.push(segment);
    }

    /// One past the last record that was synced; the next one comes at or after it.
    pub(crate) fn visible_end(&self) -> Seq {
        self.newest().map_or(1, |segment| segment.end)
    }

    fn by_first(&mut self, first: Seq) -> Option<&mut Segment> {
        self.segments.iter_mut().find(|segment| segment.first == first)
    }

    /// The segment that may hold `seq`, or the first one after it.
    fn reaching(&self, seq: Seq) -> Option<usize> {
        let at = self.segments.partition_point(|segment| segment.reach() <= seq);
        (at < self.segments.len()).then_some(at)
    }

    /// The segment that holds `seq` or the first unsettled record after it.
    pub(crate) fn source_for(&self, seq: Seq) -> Option<Source> {
        let from = self.reaching(seq)?;
        let at = from + self.segments[from..].iter().position(Segment::is_needed)?;
        Some(Source::of(self.id, &self.segments[at], self.segments.get(at + 1)))
    }

    /// Where each segment is read, newest first.
    pub(crate) fn sources(&self) -> Vec<Source> {
        let source = |at: usize| Source::of(self.id, &self.segments[at], self.segments.get(at + 1));
        (0..self.segments.len()).rev().map(source).collect()
    }

    /// Whether something in it could not be read yet: nobody knows how much that is.
    pub(crate) fn has_unknown(&self) -> bool {
        self.segments.iter().any(|segment| segment.is_unknown)
    }

    /// Whether the chunks of the segment that begins at `first` are known.
    pub(crate) fn is_read(&self, first: Seq) -> bool {
        self.segments.iter().any(|segment| segment.first == first && segment.raw.is_some())
    }

    /// Takes in what a look at a segment brought. Gives the numbers that are lost by it.
    ///
    /// # Errors
    /// What the look failed with; another one is due later.
    pub(crate) fn looked(
        &mut self,
        first: Seq,
        looked: Result<Looked, StoreError>,
        now: Mono,
    ) -> Result<Vec<Range<Seq>>, StoreError> {
        let Some(at) = self.segments.iter().position(|segment| segment.first == first) else {
            return Ok(Vec::new());
        };
        let segment = &mut self.segments[at];
        match looked {
            Ok(Looked::Chunks(raw)) => {
                let lost = segment.unsettled_of(&raw.gaps(segment.first..segment.end));
                segment.lose(&lost);
                segment.unread = None;
                self.keep_raw(first, raw);
                Ok(lost)
            }
            Ok(Looked::Segment(Some(found))) => {
                let before = std::mem::replace(segment, *found);
                segment.settle_all(&before.known_settled());
                // What it lacks is looked for by the next read.
                segment.raw = None;
                Ok(Vec::new())
            }
            Ok(Looked::Segment(None)) => {
                self.segments.remove(at);
                Ok(Vec::new())
            }
            Err(error) => {
                segment.unread = Some(FailedLook::after(segment.unread.as_ref(), error.words.clone(), now));
                segment.raw = None;
                Err(error)
            }
        }
    }

    fn keep_raw(&mut self, first: Seq, raw: Arc<RawFile>) {
        let mut kept = 1;
        for segment in self.segments.iter_mut().rev() {
            if segment.first == first {
                segment.raw = Some(raw.clone());
            } else if segment.raw.is_some() {
                kept += 1;
                if kept > KEPT_RAW {
                    segment.raw = None;
                }
            }
        }
    }

    /// The ledger has `count` of what is lost of the segment that begins at `first`.
    pub(crate) fn loss_recorded(&mut self, first: Seq, count: u64) {
        if let Some(segment) = self.by_first(first) {
            segment.loss_recorded(count);
        }
    }

    /// Whether `seq` counts as settled because it is damaged.
    pub(crate) fn is_lost(&self, seq: Seq) -> bool {
        self.reaching(seq).is_some_and(|at| self.segments[at].lost.contains(seq))
    }

    /// Says of segments that were read at the start what they lack, once it is known what is settled.
    pub(crate) fn note_missing(&mut self, quarantine: &Quarantine) {
        for segment in &mut self.segments {
            let Some(raw) = &segment.raw else { continue };
            let lost = segment.unsettled_of(&raw.gaps(segment.first..segment.end));
            if lost.is_empty() {
                continue;
            }
            match quarantine.keep(self.id.name(), &segment.dir, &words(&lost)) {
                Ok(()) => segment.lose(&lost),
                Err(error) => {
                    tracing::warn!(segment = %segment.dir.display(), %error, "cannot link a damaged segment into quarantine yet");
                    segment.raw = None;
                }
            }
        }
    }

    /// Notes in memory that these are settled.
    pub(crate) fn mark_settled(&mut self, seqs: &[Seq]) {
        for &seq in seqs {
            // One beyond the end of its segment may be found again.
            let at = self.segments.partition_point(|segment| segment.first <= seq);
            let segment = at.checked_sub(1).map(|at| &mut self.segments[at]);
            if let Some(segment) = segment.filter(|segment| seq < segment.first + SLOT) {
                segment.settle(seq);
            }
        }
    }

    /// Whether `seq` is settled, or lies where nothing is any more.
    pub(crate) fn is_settled(&self, seq: Seq) -> bool {
        let Some(at) = self.reaching(seq) else { return true };
        let segment = &self.segments[at];
        if segment.is_unknown {
            return seq < segment.first || segment.known_settled().contains(seq);
        }
        seq < segment.first || segment.settled.contains(seq)
    }

    /// Takes over what a snapshot says of one of the segments; `false` if it is not here.
    pub(super) fn merge(&mut self, snapshot: &SegmentSnapshot) -> bool {
        let Some(segment) = self.by_first(snapshot.first) else { return false };
        let mut settled = Bitmap::new(snapshot.first);
        settled.merge(&snapshot.bitmap, snapshot.end);
        segment.settle_all(&settled);
        true
    }

    /// What a snapshot must say: every segment, with what is settled in it; those that are about to be
    /// deleted too, since a kill may let them stay.
    pub(crate) fn snapshots(&self) -> Vec<SegmentSnapshot> {
        let log = self.id.number();
        let leaving = self.leaving.0.lock();
        let leaving = leaving.iter().map(|(&first, segment)| {
            let bytes = usize::try_from((segment.end - first).div_ceil(8)).unwrap_or(usize::MAX);
            SegmentSnapshot { log, first, end: segment.end, bitmap: vec![0xFF; bytes] }
        });
        let living = self.segments.iter().map(|segment| {
            let settled = segment.known_settled();
            let end = segment.end.max(settled.end());
            SegmentSnapshot { log, first: segment.first, end, bitmap: settled.to_bytes() }
        });
        leaving.chain(living).collect()
    }

    /// Takes out the segments that `is_gone` picks, the newest excepted; they stand in the list of what
    /// leaves from here on.
    pub(super) fn take_out(&mut self, mut is_gone: impl FnMut(&Segment) -> bool) -> Vec<Segment> {
        let newest = self.segments.pop();
        let gone: Vec<Segment> = self.segments.extract_if(.., |segment| is_gone(segment)).collect();
        self.segments.extend(newest);
        for segment in &gone {
            let disk = segment.disk.load(Ordering::Relaxed);
            self.leaving.0.lock().insert(segment.first, LeavingSegment { end: segment.end, disk });
        }
        gone
    }

    /// Whether a settled segment is not deleted yet.
    pub(crate) fn awaits_deletion(&self) -> bool {
        !self.leaving.0.lock().is_empty()
    }

    pub(super) fn leaving(&self) -> LeavingList {
        self.leaving.clone()
    }

    /// Bytes on disk: closed segments as they were measured, the newest as it is now.
    pub(crate) fn disk(&self) -> u64 {
        let of = |segment: &Segment| match segment.disk.load(Ordering::Relaxed) {
            0 => raw::allocated(&segment.dir),
            known => known,
        };
        let leaving: u64 = self.leaving.0.lock().values().map(|segment| segment.disk).sum();
        self.segments.iter().map(of).sum::<u64>() + leaving
    }
}
