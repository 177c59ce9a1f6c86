//! The segments of a log, oldest first, and what is settled in each.
//!
//! Invariants
//! - Segments rise by their first number and share none; only the newest may be live.
//! - A segment leaves only when its owner says so, the newest never; until its directory is gone,
//!   snapshots go on to say that all of it is settled.
//! - What is lost counts as settled here, and never in a snapshot: another start may be able to read it.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::Mutex;

use super::quarantine::Quarantine;
use super::raw::{self, RawFile};
use super::segment::{LogId, Segment};
use super::source::Source;
use crate::queue::format::snapshot::SegmentSnapshot;
use crate::queue::types::Seq;

/// Closed segments of a log whose chunks' places are kept in memory.
const KEPT_RAW: usize = 2;
/// Looks at a file that the disk does not give, one every few seconds, before what is missing is lost.
const LOOKS: u32 = 12;

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

    /// The segment whose records reach `seq`, or the first one after it.
    fn reaching(&self, seq: Seq) -> Option<usize> {
        let at = self.segments.partition_point(|segment| segment.end <= seq);
        (at < self.segments.len()).then_some(at)
    }

    /// The segment that holds `seq` or the first unsettled record after it.
    pub(crate) fn source_for(&self, seq: Seq) -> Option<Source> {
        let after = self.segments.get(self.reaching(seq)?..)?;
        after.iter().find(|segment| segment.unsettled() > 0).map(|segment| Source::of(self.id, segment))
    }

    /// Where each segment is read, newest first.
    pub(crate) fn sources(&self) -> Vec<Source> {
        self.segments.iter().rev().map(|segment| Source::of(self.id, segment)).collect()
    }

    /// Keeps what a closed segment's file holds. What is missing there is lost: told, kept as
    /// evidence, and no reason to wait for it. Gives how many records that are.
    pub(crate) fn found_raw(
        &mut self,
        first: Seq,
        raw: Option<Arc<RawFile>>,
        quarantine: &Quarantine,
    ) -> u64 {
        let id = self.id;
        let Some(segment) = self.by_first(first) else { return 0 };
        let gaps = match &raw {
            Some(raw) => raw.gaps(segment.first..segment.end),
            None => std::iter::once(segment.first..segment.end).collect(),
        };
        let lost = note_gaps(segment, &gaps);
        if lost > 0 {
            let parts: Vec<String> = gaps.iter().map(|gap| format!("{}..{}", gap.start, gap.end)).collect();
            let why = format!("{lost} unsettled records cannot be read: numbers {}", parts.join(", "));
            quarantine.keep(id.name(), &segment.dir, &why);
        }
        segment.raw = raw;
        let mut kept = self.segments.iter().filter(|segment| segment.raw.is_some()).count();
        for segment in self.segments.iter_mut().filter(|segment| segment.first != first) {
            if kept > KEPT_RAW && segment.raw.take().is_some() {
                kept -= 1;
            }
        }
        lost
    }

    /// Counts a failed look at the segment's file; `true` when it is time to go on without.
    pub(crate) fn gives_up(&mut self, first: Seq) -> bool {
        let Some(segment) = self.by_first(first) else { return true };
        segment.tries += 1;
        segment.tries >= LOOKS
    }

    /// Whether `seq` counts as settled because it could not be read.
    pub(crate) fn is_lost(&self, seq: Seq) -> bool {
        self.reaching(seq).is_some_and(|at| self.segments[at].lost.contains(seq))
    }

    /// Says of segments that were read at the start what they lack.
    pub(crate) fn note_missing(&mut self, quarantine: &Quarantine) {
        let read = self.segments.iter().filter_map(|segment| Some((segment.first, segment.raw.clone()?)));
        for (first, raw) in read.collect::<Vec<_>>() {
            self.found_raw(first, Some(raw), quarantine);
        }
    }

    /// Notes in memory that these are settled.
    pub(crate) fn mark_settled(&mut self, seqs: &[Seq]) {
        for &seq in seqs {
            if let Some(at) = self.reaching(seq) {
                self.segments[at].settled.insert(seq);
            }
        }
    }

    /// Whether `seq` is settled, or lies where nothing is any more.
    pub(crate) fn is_settled(&self, seq: Seq) -> bool {
        let Some(at) = self.reaching(seq) else { return true };
        let segment = &self.segments[at];
        seq < segment.first || segment.settled.contains(seq)
    }

    /// Takes over what a snapshot says of one of the segments; `false` if it is not here.
    pub(super) fn merge(&mut self, snapshot: &SegmentSnapshot) -> bool {
        let Some(segment) = self.by_first(snapshot.first) else { return false };
        segment.settled.merge(&snapshot.bitmap, segment.end);
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
        let living = self.segments.iter().map(|segment| SegmentSnapshot {
            log,
            first: segment.first,
            end: segment.end,
            bitmap: segment.settled.without(&segment.lost).to_bytes(),
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

/// Counts what cannot be read as settled: nobody can send it. Gives how many were not.
fn note_gaps(segment: &mut Segment, gaps: &[Range<Seq>]) -> u64 {
    let mut lost = 0;
    for seq in gaps.iter().cloned().flatten() {
        if segment.settled.insert(seq) {
            segment.lost.insert(seq);
            lost += 1;
        }
    }
    lost
}
