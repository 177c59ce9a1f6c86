//! What was settled in a row, and how its segments are read: for rows whose records end one by one.

use std::sync::Arc;

use super::append::SegmentedLog;
use super::quarantine::Quarantine;
use super::raw::RawFile;
use super::segment::Segment;
use super::source::{Chunks, Source};
use crate::queue::format::snapshot::Snapshot;
use crate::queue::types::Seq;

/// Closed segments of a row whose places are kept in memory.
const KEPT_RAW: usize = 2;
/// Looks at a file that the disk does not give, one every few seconds, before what is missing is lost.
const LOOKS: u32 = 12;

impl SegmentedLog {
    /// The segment that holds `seq` or the first unsettled record after it.
    pub(crate) fn source_for(&self, seq: Seq) -> Option<Source> {
        let at = self.segments.partition_point(|segment| segment.end <= seq);
        let segment = self.segments[at..].iter().find(|segment| segment.unsettled() > 0)?;
        Some(self.source_of(segment))
    }

    /// Where the row's `segment` is read.
    pub(crate) fn source_of(&self, segment: &Segment) -> Source {
        let chunks = match (&segment.live, &segment.raw) {
            (Some(live), _) => Chunks::Live(live.store.clone()),
            (None, Some(raw)) => Chunks::Raw(raw.clone()),
            (None, None) => Chunks::Unread,
        };
        Source {
            chunks,
            id: self.id,
            dir: segment.dir.clone(),
            first: segment.first,
            end: segment.end,
            settled: segment.settled.clone(),
        }
    }

    /// Keeps what a closed segment's file holds. What is missing there is lost: told, kept as
    /// evidence, and no reason to wait for it. Gives how many records that are.
    pub(crate) fn found_raw(
        &mut self,
        first: Seq,
        raw: Option<Arc<RawFile>>,
        quarantine: &Quarantine,
    ) -> u64 {
        let Some(at) = self.segments.iter().position(|segment| segment.first == first) else { return 0 };
        let segment = &mut self.segments[at];
        let gaps = match &raw {
            Some(raw) => raw.gaps(segment.first, segment.end),
            None => vec![(segment.first, segment.end)],
        };
        let lost = note_gaps(segment, &gaps);
        if lost > 0 {
            let parts: Vec<String> = gaps.iter().map(|(from, to)| format!("{from}..{to}")).collect();
            let why = format!("{lost} unsettled records cannot be read: numbers {}", parts.join(", "));
            quarantine.keep(self.id.name(), &segment.dir, &why);
        }
        segment.raw = raw;
        let mut kept = self.segments.iter().filter(|segment| segment.raw.is_some()).count();
        for (other, segment) in self.segments.iter_mut().enumerate() {
            if kept > KEPT_RAW && other != at && segment.raw.take().is_some() {
                kept -= 1;
            }
        }
        lost
    }

    /// Counts a failed look at the segment's file; `true` when it is time to go on without.
    pub(crate) fn gives_up(&mut self, first: Seq) -> bool {
        let Some(segment) = self.segments.iter_mut().find(|segment| segment.first == first) else {
            return true;
        };
        segment.tries += 1;
        segment.tries >= LOOKS
    }

    /// Whether `seq` counts as settled because it could not be read.
    pub(crate) fn is_lost(&self, seq: Seq) -> bool {
        let at = self.segments.partition_point(|segment| segment.end <= seq);
        self.segments.get(at).is_some_and(|segment| segment.lost.contains(seq))
    }

    /// Says of segments that were read at the start what they lack.
    pub(crate) fn miss_what_is_missing(&mut self, quarantine: &Quarantine) {
        let read = self.segments.iter().filter_map(|segment| Some((segment.first, segment.raw.clone()?)));
        for (first, raw) in read.collect::<Vec<_>>() {
            self.found_raw(first, Some(raw), quarantine);
        }
    }

    /// Notes in memory that these are settled.
    pub(crate) fn mark_settled(&mut self, seqs: &[Seq]) {
        for &seq in seqs {
            let at = self.segments.partition_point(|segment| segment.end <= seq);
            if let Some(segment) = self.segments.get_mut(at) {
                segment.settled.insert(seq);
            }
        }
    }

    /// Whether `seq` is settled, or lies where nothing is any more.
    pub(crate) fn is_settled(&self, seq: Seq) -> bool {
        let at = self.segments.partition_point(|segment| segment.end <= seq);
        self.segments.get(at).is_none_or(|segment| seq < segment.first || segment.settled.contains(seq))
    }

    /// Takes over what a snapshot says of one of the row's segments; `false` if it is not here.
    pub(crate) fn merge(&mut self, mark: &Snapshot) -> bool {
        self.raise_next(mark.first);
        let Some(segment) = self.segments.iter_mut().find(|segment| segment.first == mark.first) else {
            return false;
        };
        segment.settled.merge(&mark.bitmap, segment.end);
        true
    }

    /// What a snapshot must say: every segment, with what is settled in it; those that are about to be
    /// deleted too, since a kill may let them stay. What could not be read may be read by another start.
    pub(crate) fn marks(&self) -> impl Iterator<Item = Snapshot> {
        let row = self.id.id();
        let leaving = self.leaving().into_iter().map(move |(first, end)| {
            let bytes = usize::try_from((end - first).div_ceil(8)).unwrap_or(usize::MAX);
            Snapshot { row, first, end, bitmap: vec![0xFF; bytes] }
        });
        let living = self.segments.iter().map(move |segment| Snapshot {
            row,
            first: segment.first,
            end: segment.end,
            bitmap: segment.settled.without(&segment.lost).bitmap(),
        });
        leaving.chain(living)
    }
}

/// Counts what cannot be read as settled: nobody can send it. Gives how many were not.
fn note_gaps(segment: &mut Segment, gaps: &[(Seq, Seq)]) -> u64 {
    let mut lost = 0;
    for &(from, to) in gaps {
        for seq in from..to {
            if segment.settled.insert(seq) {
                segment.lost.insert(seq);
                lost += 1;
            }
        }
    }
    lost
}
