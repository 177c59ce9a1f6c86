//! A lane's log: its segments, what is settled in it, what it holds.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Ages;
use crate::event::{Envelope, Lane};

use crate::queue::error::StoreError;
use crate::queue::format::chunk::HEAD;
use crate::queue::format::event;
use crate::queue::log::append::{self, AppendBatch, Pending, SegmentedLog};
use crate::queue::log::header::TimeRange;
use crate::queue::log::ids::{IdEntry, Identity};
use crate::queue::log::segment::Segment;
use crate::queue::log::store::Store;
use crate::queue::types::{LaneDepth, Seq};

/// A segment is left after this long even if it is not full: settled bodies leave the disk.
const MAX_AGE: Duration = Duration::from_mins(5);
/// A segment that is settled and smaller than this leaves at most once in so long: to make the next one and
/// to delete this costs ten syncs, and events that come one by one would pay them each.
const SMALL_BYTES: u64 = 1024 * 1024;
const SMALL_EVERY_MS: i64 = 60_000;

#[derive(Debug)]
pub(crate) struct LaneLog {
    pub(crate) log: SegmentedLog,
    lane: Lane,
    /// Nothing before it is unsettled.
    oldest: Seq,
    /// When an event was last accepted.
    pub(crate) last_accepted_ms: Option<i64>,
    /// Where `ids` files of deleted segments go; `None`: nothing is deduplicated.
    ids_dir: Option<PathBuf>,
    /// When a small segment last left, in boot time.
    small_left_at_ms: Option<i64>,
}

impl LaneLog {
    pub(crate) fn new(log: SegmentedLog, lane: Lane, ids_dir: Option<PathBuf>) -> Self {
        Self { log, lane, oldest: 0, last_accepted_ms: None, ids_dir, small_left_at_ms: None }
    }

    /// Puts events into the newest segment; not durable before the store that comes back was flushed
    /// and [`SegmentedLog::committed`] was called.
    pub(crate) fn append(&mut self, events: &[Envelope]) -> Result<(Pending, Arc<Store>), StoreError> {
        let largest = events.iter().map(event::record_len).max().unwrap_or(0) + HEAD;
        self.log.make_room(largest)?;
        let chunks = event::encode(self.lane, self.log.next(), events);
        let id = |event: &Envelope| IdEntry {
            identity: Identity::of(event),
            at_ms: event.accepted_at_ms,
            lane: self.lane as u8,
        };
        let ids = if self.ids_dir.is_some() { events.iter().map(id).collect() } else { Vec::new() };
        let times = TimeRange::of(events.iter().map(|event| event.accepted_at_ms));
        let pending = self.log.put(AppendBatch { chunks, ids, times })?;
        let store = self.log.live().ok_or_else(|| StoreError::new("no segment to sync"))?;
        Ok((pending, store))
    }

    /// Deletes closed segments that are settled, once the ledger has what was lost of them.
    pub(crate) fn delete_settled(&mut self) {
        let ids_dir = self.ids_dir.clone();
        let lane = self.lane;
        let ids_to = |segment: &Segment| {
            let name = format!("{}-{}", lane.name(), append::name_of(segment.first));
            ids_dir.as_ref().map(|dir| dir.join(name))
        };
        self.log.delete_where(ids_to, Segment::may_go);
    }

    /// Lets bodies leave the disk when all is settled and nothing comes, or after some minutes. Leaves a segment
    /// that cannot be read while it is written.
    pub(crate) fn rest(&mut self, is_quiet: bool, ages: &Ages) -> Result<(), StoreError> {
        let Some(newest) = self.log.index.newest() else { return Ok(()) };
        let is_old = ages.of(newest.times.oldest_ms) > MAX_AGE && newest.settled.count() > 0;
        let now_ms = ages.now_boot_ms();
        let may_leave = newest.bytes >= SMALL_BYTES
            || self.small_left_at_ms.is_none_or(|at_ms| now_ms.saturating_sub(at_ms) >= SMALL_EVERY_MS);
        let is_done = is_quiet && newest.is_settled() && may_leave;
        let is_left = is_done || (is_old && newest.live.is_some()) || self.log.is_to_leave();
        if newest.count() > 0 && is_left {
            self.log.roll(0)?;
            self.small_left_at_ms = Some(now_ms);
            self.delete_settled();
        }
        Ok(())
    }

    pub(crate) fn depth(&mut self) -> LaneDepth {
        let (mut events, mut bytes) = (0, 0);
        let mut oldest = None;
        for segment in self.log.index.segments() {
            let unsettled = segment.unsettled();
            events += unsettled;
            bytes += segment.unsettled_bytes();
            if unsettled > 0 && oldest.is_none() {
                let from = self.oldest.max(segment.first);
                oldest = (from..segment.end).find(|seq| !segment.settled.contains(*seq));
                self.oldest = oldest.unwrap_or(segment.end);
                oldest = oldest.map(|seq| segment.time_at(seq).cast_unsigned());
            }
        }
        let oldest_ms = oldest.map(u64::cast_signed);
        LaneDepth { events, bytes, oldest_ms, last_accepted_ms: self.last_accepted_ms }
    }
}
