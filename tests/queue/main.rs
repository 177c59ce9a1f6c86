//! The queue on real files, through its public API: what it promises over restarts, kills, damage and full disks.
//!
//! Not here: disks that fail or lose unsynced writes, for which libc is replaced (`tests/disk`).

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod clocks;
mod damage;
mod dedupe;
mod directory;
mod disk_full;
mod format;
mod kill_many;
mod kit;
mod ledger;
mod limits;
mod lost;
mod model;
mod offline;
mod operator;
mod races;
mod reopening;
