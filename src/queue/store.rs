//! One small sled database. The only file that names sled.
//!
//! sled's own promises end at the page cache, and its faults include panics, so:
//! - each log write is followed by `fdatasync`, by standing in for `sync_file_range` (below); a store
//!   whose first commit did not do so refuses to be used;
//! - every call runs under `catch_unwind`; a panic is a fault like any other.
//!
//! After a fault the handle is for reading and settling only: what follows is the caller's rule.

use std::fs::{self, File};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// sled's log segments; values above a quarter of it would become files of their own.
const LOG_SEGMENT: usize = 4 * 1024 * 1024;
/// Page cache of a store, bytes.
const CACHE: u64 = 2 * 1024 * 1024;
/// A handle that was just dropped may hold its lock for so long.
const LOCK_PATIENCE: Duration = Duration::from_secs(5);
const LOCK_RETRY: Duration = Duration::from_millis(10);

/// Key and value.
pub(super) type Entry = (Vec<u8>, Vec<u8>);

static SYNCS: AtomicU64 = AtomicU64::new(0);

/// Takes the place of libc's function, which sled calls after each write of its log. The kernel's
/// promises nothing about the disk's own cache or the file's size; `fdatasync` does.
#[expect(unsafe_code, reason = "the one place where sled's writes can be made durable")]
#[unsafe(no_mangle)]
extern "C" fn sync_file_range(fd: i32, _offset: i64, _bytes: i64, _flags: u32) -> i32 {
    let result = unsafe { libc::fdatasync(fd) };
    if result == 0 {
        SYNCS.fetch_add(1, Ordering::SeqCst);
    }
    result
}

/// The store's own words for what went wrong.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct StoreError(pub(super) String);

/// An open database with trees `events` and `settled`.
pub(super) struct Store {
    db: Option<sled::Db>,
    events: Option<sled::Tree>,
    settled: Option<sled::Tree>,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Store")
    }
}

fn fenced<T>(what: &str, call: impl FnOnce() -> sled::Result<T>) -> Result<T, StoreError> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(StoreError(format!("{what}: {error}"))),
        Err(_) => Err(StoreError(format!("{what}: the store panicked"))),
    }
}

/// Syncs a directory, so that the names in it survive a power cut.
pub(super) fn sync_dir(dir: &Path) -> std::io::Result<()> {
    File::open(dir)?.sync_all()
}

impl Store {
    /// Opens or makes the database at `dir`. Blocks, at most some seconds.
    pub(super) fn open(dir: &Path) -> Result<Self, StoreError> {
        let io = |error: std::io::Error| StoreError(format!("{}: {error}", dir.display()));
        let new = !dir.join("db").exists();
        if !new {
            remove_torn_snapshots(dir).map_err(io)?;
        }
        let db = open_patiently(dir)?;
        let events = fenced("open tree", || db.open_tree("events"))?;
        let settled = fenced("open tree", || db.open_tree("settled"))?;
        let store = Self { db: Some(db), events: Some(events), settled: Some(settled) };
        if new {
            store.prove_sync()?;
            for name in ["conf", "db"] {
                File::open(dir.join(name)).and_then(|file| file.sync_all()).map_err(io)?;
            }
            sync_dir(dir).map_err(io)?;
            sync_dir(dir.parent().unwrap_or(dir)).map_err(io)?;
        }
        Ok(store)
    }

    /// A commit that did not reach `fdatasync` would make every answer a lie.
    fn prove_sync(&self) -> Result<(), StoreError> {
        let before = SYNCS.load(Ordering::SeqCst);
        self.put_settled(0, 0)?;
        self.flush()?;
        if SYNCS.load(Ordering::SeqCst) == before {
            return Err(StoreError("a commit did not sync: the store is not built as it must be".to_owned()));
        }
        Ok(())
    }

    fn db(&self) -> &sled::Db {
        self.db.as_ref().expect("taken only in drop")
    }

    fn events(&self) -> &sled::Tree {
        self.events.as_ref().expect("taken only in drop")
    }

    fn settled(&self) -> &sled::Tree {
        self.settled.as_ref().expect("taken only in drop")
    }

    /// Puts a value under `key`; durable after [`Store::flush`].
    pub(super) fn put(&self, key: &[u8], value: Vec<u8>) -> Result<(), StoreError> {
        fenced("insert", || self.events().insert(key, value)).map(drop)
    }

    /// Removes what is under `key`; durable after [`Store::flush`].
    pub(super) fn remove(&self, key: &[u8]) -> Result<bool, StoreError> {
        Ok(fenced("remove", || self.events().remove(key))?.is_some())
    }

    /// The last entry whose key is at most `key`.
    pub(super) fn at_or_before(&self, key: &[u8]) -> Result<Option<Entry>, StoreError> {
        let entry = fenced("read", || self.events().range(..=key).next_back().transpose())?;
        Ok(entry.map(|(key, value)| (key.to_vec(), value.to_vec())))
    }

    /// The first entry whose key is greater than `key`.
    pub(super) fn after(&self, key: &[u8]) -> Result<Option<Entry>, StoreError> {
        let entry = fenced("read", || self.events().get_gt(key))?;
        Ok(entry.map(|(key, value)| (key.to_vec(), value.to_vec())))
    }

    /// Notes `start..end` as settled; durable after [`Store::flush`].
    pub(super) fn put_settled(&self, start: u64, end: u64) -> Result<(), StoreError> {
        fenced("insert", || self.settled().insert(start.to_be_bytes(), &end.to_be_bytes())).map(drop)
    }

    /// All settled ranges. Stops at the first fault with what it has: the rest is sent again.
    pub(super) fn settled_ranges(&self) -> Vec<(u64, u64)> {
        let mut ranges = Vec::new();
        let mut entries = self.settled().iter();
        while let Ok(Some((start, end))) = fenced("read", || entries.next().transpose()) {
            if let (Ok(start), Ok(end)) = (start.as_ref().try_into(), end.as_ref().try_into()) {
                ranges.push((u64::from_be_bytes(start), u64::from_be_bytes(end)));
            }
        }
        ranges
    }

    /// Returns when everything put before is on stable storage.
    pub(super) fn flush(&self) -> Result<(), StoreError> {
        fenced("flush", || self.db().flush()).map(drop)
    }
}

impl Drop for Store {
    /// sled unwraps a sync while it closes.
    fn drop(&mut self) {
        let parts = (self.events.take(), self.settled.take(), self.db.take());
        if catch_unwind(AssertUnwindSafe(move || drop(parts))).is_err() {
            tracing::warn!("the store panicked while closing a segment");
        }
    }
}

fn open_patiently(dir: &Path) -> Result<sled::Db, StoreError> {
    let mut waited = Duration::ZERO;
    loop {
        let opened = fenced("open", || {
            sled::Config::new()
                .path(dir)
                .cache_capacity(CACHE)
                .segment_size(LOG_SEGMENT)
                .flush_every_ms(None)
                .open()
        });
        match opened {
            Err(error) if error.0.contains("WouldBlock") || error.0.contains("could not acquire lock") => {
                if waited >= LOCK_PATIENCE {
                    return Err(error);
                }
                std::thread::sleep(LOCK_RETRY);
                waited += LOCK_RETRY;
            }
            other => return other,
        }
    }
}

/// sled leaves them after a kill and then cannot open.
fn remove_torn_snapshots(dir: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name.starts_with("snap.") && name.ends_with(".generating") {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}
