//! When to refuse: the directory's size and the disk's free space.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::{Clock, Mono};
use crate::config;
use crate::event::{Envelope, Lane};

use super::shared::{RESERVE_BYTES, Shared};
use super::store::MAX_VALUE;
use super::types::AppendError;

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
pub(super) struct Limits {
    shared: Arc<Shared>,
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
    free: u64,
    /// Bytes admitted since the look.
    since: u64,
}

impl Limits {
    pub(super) fn new(config: &config::Queue, shared: Arc<Shared>, clock: Clock) -> Self {
        let reserve_bytes = (config.max_size as f64 * config.lane_reserve) as u64;
        Self {
            shared,
            max_bytes: config.max_size,
            usable_bytes: config.max_size.saturating_sub(HEADROOM),
            reserve_bytes,
            dead_bytes: config.max_size / 4,
            min_free: config.min_free_disk,
            clock,
            looked: None,
            used: 0,
            lanes: [0; Lane::ALL.len()],
            free: u64::MAX,
            since: 0,
        }
    }

    /// Whether `event` may be stored now.
    pub(super) fn check(&mut self, event: &Envelope) -> Result<(), AppendError> {
        let (actual_bytes, max_bytes) = (event.body.len(), MAX_BODY);
        if actual_bytes > max_bytes {
            return Err(AppendError::TooLarge { actual_bytes, max_bytes });
        }
        self.since += event.body.len() as u64;
        if self.free < self.min_free {
            return Err(AppendError::DiskLow { free_bytes: self.free, min_bytes: self.min_free });
        }
        let on_disk = |bytes: u64| (bytes as f64 * DISK_FACTOR) as u64;
        let used = self.used + on_disk(self.since);
        let all_reserves = self.reserve_bytes * Lane::ALL.len() as u64;
        if used + all_reserves < self.usable_bytes {
            return Ok(());
        }
        if used >= self.usable_bytes {
            return Err(AppendError::Full { max_bytes: self.max_bytes });
        }
        let lane = self.lanes[event.lane.index()] + on_disk(self.since);
        let unused_reserves: u64 = Lane::ALL
            .into_iter()
            .filter(|other| *other != event.lane)
            .map(|other| self.reserve_bytes.saturating_sub(self.lanes[other.index()]))
            .sum();
        if lane >= self.reserve_bytes && used + unused_reserves >= self.usable_bytes {
            return Err(AppendError::LaneFull { lane: event.lane });
        }
        Ok(())
    }

    /// Whether the dead letters have used their part of the directory.
    pub(super) fn dead_are_full(&self) -> bool {
        self.shared.dead().row.disk() >= self.dead_bytes
    }

    /// Bytes under the directory and free on its file system, at the last look.
    pub(super) fn known(&self) -> (u64, u64) {
        (self.used, self.free)
    }

    /// Looks at the disk if the last look is stale. Before a group, not within: what was admitted and is
    /// not written yet would be forgotten. Where space is short, the ledger gives way first.
    pub(super) fn look(&mut self) {
        let now = self.clock.mono();
        let fresh = self.looked.is_some_and(|looked| now.since(looked) < LOOK_EVERY);
        if fresh && self.since < LOOK_AFTER_BYTES {
            return;
        }
        self.looked = Some(now);
        self.since = 0;
        self.measure();
        let all_reserves = self.reserve_bytes * Lane::ALL.len() as u64;
        let soon = self.used + all_reserves + 2 * LOOK_AFTER_BYTES;
        if soon >= self.usable_bytes || self.free < self.min_free {
            self.shared.ledger().give_way();
            self.measure();
        }
        if self.free > self.min_free.saturating_add(2 * RESERVE_BYTES) {
            self.shared.restore_reserve();
        }
    }

    fn measure(&mut self) {
        self.lanes = Lane::ALL.map(|lane| self.shared.log(lane).row.disk());
        self.used = self.lanes.iter().sum::<u64>() + self.shared.disk_beside_lanes();
        if let Ok(stat) = nix::sys::statvfs::statvfs(&self.shared.dir) {
            self.free = stat.blocks_available() * stat.fragment_size();
        }
    }
}
