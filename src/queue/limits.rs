//! When to refuse: the directory's size and the disk's free space.

use std::path::PathBuf;

use crate::clock::{Clock, Mono};
use crate::config;
use crate::event::{Envelope, Lane};

use super::shared::Shared;
use super::types::AppendError;

/// How long a look at the disk stays good, and how many bytes may be taken in between.
const LOOK_EVERY: std::time::Duration = std::time::Duration::from_millis(500);
const LOOK_AFTER_BYTES: u64 = 2 * 1024 * 1024;
/// Disk that a byte of an event takes: sled's log with its rewriting. Measured: 1.7 to 2.3.
const DISK_FACTOR: f64 = 2.3;

/// Kept free below `max_size` for what the estimate misses and for settling: two segments on disk.
const HEADROOM: u64 = 32 * 1024 * 1024;

#[derive(Debug)]
pub(super) struct Limits {
    dir: PathBuf,
    max_bytes: u64,
    usable_bytes: u64,
    reserve_bytes: u64,
    min_free: u64,
    clock: Clock,
    looked: Option<Mono>,
    used: u64,
    free: u64,
    since: u64,
}

impl Limits {
    pub(super) fn new(config: &config::Queue, clock: Clock) -> Self {
        let reserve_bytes = (config.max_size as f64 * config.lane_reserve) as u64;
        Self {
            dir: config.dir.clone(),
            max_bytes: config.max_size,
            usable_bytes: config.max_size.saturating_sub(HEADROOM),
            reserve_bytes,
            min_free: config.min_free_disk,
            clock,
            looked: None,
            used: 0,
            free: u64::MAX,
            since: 0,
        }
    }

    /// Whether `event` may be stored now.
    pub(super) fn check(&mut self, shared: &Shared, event: &Envelope) -> Result<(), AppendError> {
        self.since += event.body.len() as u64;
        if self.free < self.min_free {
            return Err(AppendError::DiskLow { free_bytes: self.free, min_bytes: self.min_free });
        }
        let on_disk = |bytes: u64| (bytes as f64 * DISK_FACTOR) as u64;
        let all_reserves = self.reserve_bytes * Lane::ALL.len() as u64;
        if self.used + on_disk(self.since) + all_reserves < self.usable_bytes {
            return Ok(());
        }
        if self.used + on_disk(self.since) >= self.usable_bytes {
            return Err(AppendError::Full { max_bytes: self.max_bytes });
        }
        let lane = on_disk(shared.depth(event.lane).bytes);
        let unused_reserves: u64 = Lane::ALL
            .into_iter()
            .filter(|other| *other != event.lane)
            .map(|other| self.reserve_bytes.saturating_sub(on_disk(shared.depth(other).bytes)))
            .sum();
        let shared_rest_used = self.used + on_disk(self.since) + unused_reserves >= self.usable_bytes;
        if lane >= self.reserve_bytes && shared_rest_used {
            return Err(AppendError::LaneFull { lane: event.lane });
        }
        Ok(())
    }

    /// Looks at the disk if the last look is stale. Before a group, not within: what was admitted and is
    /// not written yet would be forgotten.
    pub(super) fn look(&mut self) {
        let now = self.clock.mono();
        let fresh = self.looked.is_some_and(|looked| now.since(looked) < LOOK_EVERY);
        if fresh && self.since < LOOK_AFTER_BYTES {
            return;
        }
        self.looked = Some(now);
        self.since = 0;
        self.used = allocated(&self.dir);
        if let Ok(stat) = nix::sys::statvfs::statvfs(&self.dir) {
            self.free = stat.blocks_available() * stat.fragment_size();
        }
    }
}

/// Allocated bytes under `dir`.
pub(super) fn allocated(dir: &std::path::Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let Ok(entries) = std::fs::read_dir(dir) else { return 0 };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(meta) if meta.is_dir() => allocated(&entry.path()),
            Ok(meta) => meta.blocks() * 512,
            Err(_) => 0,
        })
        .sum()
}
