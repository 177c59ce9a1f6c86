//! Events that a producer may send again within the dedupe window, because they died or were lost. Pure.
//!
//! Kept for the dedupe window and written with each snapshot of the ledger, so that it outlives the
//! ledger's older segments.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::clock::Ages;
use crate::event::Lane;
use crate::queue::format::bitmap::Bitmap;
use crate::queue::format::snapshot::SegmentSnapshot;
use crate::queue::log::segment::SLOT;
use crate::queue::types::Seq;

/// Numbers of events whose ids are not repeats.
#[derive(Debug, Default)]
pub(crate) struct Repeatable {
    /// By lane and first number of the segment.
    parts: BTreeMap<(Lane, Seq), Part>,
}

#[derive(Debug)]
struct Part {
    numbers: Bitmap,
    /// Boot time of the newest.
    ended_at_ms: i64,
}

impl Repeatable {
    fn part(&mut self, lane: Lane, seq: Seq) -> &mut Part {
        let first = seq / SLOT * SLOT;
        let empty = || Part { numbers: Bitmap::new(first), ended_at_ms: i64::MIN };
        self.parts.entry((lane, first)).or_insert_with(empty)
    }

    /// The event of that number ended at `ended_at_ms` of boot time.
    pub(crate) fn insert(&mut self, lane: Lane, seq: Seq, ended_at_ms: i64) {
        let part = self.part(lane, seq);
        part.numbers.insert(seq);
        part.ended_at_ms = part.ended_at_ms.max(ended_at_ms);
    }

    pub(crate) fn contains(&self, lane: Lane, seq: Seq) -> bool {
        self.parts.get(&(lane, seq / SLOT * SLOT)).is_some_and(|part| part.numbers.contains(seq))
    }

    /// Takes over what a snapshot of an earlier process says. When they ended is not known, so the window
    /// begins again.
    pub(crate) fn merge(&mut self, snapshot: &SegmentSnapshot, now_boot_ms: i64) {
        let Some(lane) = snapshot.repeatable_lane() else { return };
        let part = self.part(lane, snapshot.first);
        part.numbers.merge(&snapshot.bitmap, snapshot.end);
        part.ended_at_ms = part.ended_at_ms.max(now_boot_ms);
    }

    /// Drops what ended longer than `window` ago, and gives the rest for a snapshot.
    pub(crate) fn snapshots(&mut self, window: Duration, ages: &Ages) -> Vec<SegmentSnapshot> {
        let window_ms = i64::try_from(window.as_millis()).unwrap_or(i64::MAX);
        let since_ms = ages.now_boot_ms().saturating_sub(window_ms);
        self.parts.retain(|_, part| part.ended_at_ms >= since_ms);
        let snapshot = |(&(lane, first), part): (&(Lane, Seq), &Part)| {
            SegmentSnapshot::of_repeatable(lane, first, first + SLOT, part.numbers.to_bytes())
        };
        self.parts.iter().map(snapshot).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    #[test]
    fn what_ended_within_the_window_is_known_to_the_next_process_by_the_snapshot_alone() {
        let clock = Clock::manual(1_767_225_600_000);
        let mut before = Repeatable::default();
        before.insert(Lane::Presence, SLOT + 7, clock.ages().now_boot_ms());
        clock.advance(Duration::from_secs(800));
        before.insert(Lane::Conversations, 3 * SLOT, clock.ages().now_boot_ms());

        let within = before.snapshots(Duration::from_secs(900), &clock.ages());
        clock.advance(Duration::from_secs(200));
        let later = before.snapshots(Duration::from_secs(900), &clock.ages());

        let mut after = Repeatable::default();
        within.iter().for_each(|snapshot| after.merge(snapshot, 0));
        assert!(after.contains(Lane::Presence, SLOT + 7) && after.contains(Lane::Conversations, 3 * SLOT));
        assert!(!after.contains(Lane::Presence, SLOT + 8) && !after.contains(Lane::CustomKpi, SLOT + 7));
        assert_eq!(later.len(), 1);
    }
}
