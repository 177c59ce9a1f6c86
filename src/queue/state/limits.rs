//! When to refuse: the directory's size and the disk's free space.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::{Clock, Mono};
use crate::config;
use crate::event::{Envelope, Lane};
use crate::metrics::Metrics;

use super::shared::{RESERVE_BYTES, Shared};
use crate::queue::dir_lock::DirLock;
use crate::queue::error::AppendError;
use crate::queue::file_system;
use crate::queue::log::store::MAX_VALUE;

/// How long a look at the disk stays good, and how many bytes may be taken in between.
const LOOK_EVERY: Duration = Duration::from_millis(500);
const LOOK_AFTER_BYTES: u64 = 2 * 1024 * 1024;
/// Disk that a byte of an event takes until the next look: sled's log with its rewriting. Measured by
/// `benches/queue.rs`.
const DISK_FACTOR: f64 = 1.3;

/// Kept free below `max_size` for what the estimate misses and for settling: two segments on disk.
const HEADROOM: u64 = 16 * 1024 * 1024;

/// Longest body: a chunk must fit the store in one piece, and a dead letter has the API's words too.
const MAX_BODY: usize = MAX_VALUE - 8 * 1024;

#[derive(Debug)]
pub(crate) struct QueueLimits {
    shared: Arc<Shared>,
    dir: Arc<DirLock>,
    max_bytes: u64,
    usable_bytes: u64,
    reserve_bytes: u64,
    dead_bytes: u64,
    min_free: u64,
    clock: Clock,
    looked: Option<Mono>,
    used: u64,
    /// Of `used`, by lane.
    lanes: [u64; Lane::ALL.len()],
    /// `None`: the file system does not report it.
    free: Option<u64>,
    /// Bytes admitted since the look.
    since: u64,
    is_dir_gone: bool,
}

impl QueueLimits {
    pub(crate) fn new(
        config: &config::QueueConfig,
        shared: Arc<Shared>,
        dir: Arc<DirLock>,
        clock: Clock,
    ) -> Self {
        let mut limits = Self {
            is_dir_gone: !dir.is_in_place(),
            shared,
            dir,
            max_bytes: 0,
            usable_bytes: 0,
            reserve_bytes: 0,
            dead_bytes: 0,
            min_free: 0,
            clock,
            looked: None,
            used: 0,
            lanes: [0; Lane::ALL.len()],
            free: None,
            since: 0,
        };
        limits.configure(config);
        limits
    }

    pub(crate) fn configure(&mut self, config: &config::QueueConfig) {
        self.max_bytes = config.max_size;
        self.usable_bytes = config.max_size.saturating_sub(HEADROOM);
        self.reserve_bytes = (config.max_size as f64 * config.lane_reserve) as u64;
        self.dead_bytes = config.max_size / 4;
        self.min_free = config.min_free_disk;
    }

    /// Whether `event` may be stored now.
    pub(crate) fn check(&mut self, event: &Envelope) -> Result<(), AppendError> {
        let (actual_bytes, max_bytes) = (event.body.len(), MAX_BODY);
        if actual_bytes > max_bytes {
            return Err(AppendError::TooLarge { actual_bytes, max_bytes });
        }
        self.since += event.body.len() as u64;
        if let Some(refusal) = self.refusal() {
            return Err(refusal);
        }
        if self.is_lane_full(event.lane) {
            return Err(AppendError::LaneFull { lane: event.lane });
        }
        Ok(())
    }

    /// Bytes that are, or are about to be, under the directory.
    fn used(&self) -> u64 {
        self.used + self.since_on_disk()
    }

    fn since_on_disk(&self) -> u64 {
        (self.since as f64 * DISK_FACTOR) as u64
    }

    /// Why no lane may store anything now.
    pub(crate) fn refusal(&self) -> Option<AppendError> {
        if self.is_dir_gone {
            return Some(self.dir_is_gone());
        }
        if let Some(free_bytes) = self.free.filter(|free| *free < self.min_free) {
            return Some(AppendError::DiskLow { free_bytes, min_bytes: self.min_free });
        }
        (self.used() >= self.usable_bytes).then_some(AppendError::Full { max_bytes: self.max_bytes })
    }

    /// Looks whether `queue.dir` is still ours; the refusal if it is not.
    pub(crate) fn directory_gone(&mut self) -> Option<AppendError> {
        self.is_dir_gone = !self.dir.is_in_place();
        self.is_dir_gone.then(|| self.dir_is_gone())
    }

    fn dir_is_gone(&self) -> AppendError {
        AppendError::DirectoryGone { path: self.dir.path().to_path_buf() }
    }

    /// Whether the lane has used its reserve and the shared rest.
    pub(crate) fn is_lane_full(&self, lane: Lane) -> bool {
        let used = self.used();
        if used + self.reserve_bytes * (Lane::ALL.len() as u64) < self.usable_bytes {
            return false;
        }
        let of_lane = self.lanes[lane.index()] + self.since_on_disk();
        let others = Lane::ALL.into_iter().filter(|other| *other != lane);
        let unused_reserves: u64 =
            others.map(|other| self.reserve_bytes.saturating_sub(self.lanes[other.index()])).sum();
        of_lane >= self.reserve_bytes && used + unused_reserves >= self.usable_bytes
    }

    /// Whether the dead letters have used their part of the directory.
    pub(crate) fn dead_are_full(&self) -> bool {
        self.shared.dead().log.index.disk() >= self.dead_bytes
    }

    /// Shows what the last look found.
    pub(crate) fn publish(&self, metrics: &Metrics) {
        metrics.queue_disk_bytes.set(self.used.cast_signed());
        metrics.disk_free_bytes.set(self.free.map_or(f64::NAN, |free| free as f64));
    }

    /// Looks at the disk if the last look is stale. Before a group, not within: what was admitted and is
    /// not written yet would be forgotten. Where space is short, the ledger gives way first.
    pub(crate) fn look(&mut self) {
        let now = self.clock.mono();
        let fresh = self.looked.is_some_and(|looked| now.since(looked) < LOOK_EVERY);
        if fresh && self.since < LOOK_AFTER_BYTES {
            return;
        }
        self.looked = Some(now);
        self.is_dir_gone = !self.dir.is_in_place();
        self.since = 0;
        self.measure();
        let all_reserves = self.reserve_bytes * Lane::ALL.len() as u64;
        let soon = self.used + all_reserves + 2 * LOOK_AFTER_BYTES;
        if soon >= self.usable_bytes || self.free.is_some_and(|free| free < self.min_free) {
            self.shared.ledger_gives_way();
            self.measure();
        }
        if self.free.is_none_or(|free| free > self.min_free.saturating_add(2 * RESERVE_BYTES)) {
            self.shared.restore_reserve();
        }
    }

    fn measure(&mut self) {
        self.lanes = Lane::ALL.map(|lane| self.shared.log(lane).log.index.disk());
        self.used = self.lanes.iter().sum::<u64>() + self.shared.disk_beside_lanes();
        if let Ok(free) = file_system::free_bytes(&self.shared.dir) {
            self.free = free;
        }
    }
}
