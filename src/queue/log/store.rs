//! One small sled database that is written once: the only file that names sled.
//!
//! sled's own promises end at the page cache, and opening a database that was killed or damaged may
//! clear, refuse or panic. So:
//! - each log write is followed by `fdatasync`, by standing in for `sync_file_range` (below); a store
//!   whose first commit did not do so refuses to be used;
//! - **a database is never opened twice**: this process writes and reads the one it made; what an
//!   earlier process or an earlier handle left is read from its file by magic and checksum (`raw`);
//! - every call is fenced; a panic is a fault like any other.
//!
//! Chunks go into a sequence of trees. sled rewrites a whole leaf at its tenth change and splits it at its
//! seventeenth entry, 4.4 bytes written for each byte of ours; a new tree before that writes 1.05.

use std::fmt::Display;
use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::{Mutex, MutexGuard};

use crate::panic;
use crate::queue::error::{StoreError, is_full};
use crate::queue::types::Seq;

/// sled's log segments: each is a buffer in memory while it is written. A value above a quarter of it
/// would become a file of its own that is never synced.
const LOG_SEGMENT: usize = 1024 * 1024;
/// Largest that sled takes.
const MAX_LOG_SEGMENT: usize = 16 * 1024 * 1024;
/// What sled puts around a value, generously.
const ENVELOPE: usize = 1024;
/// Largest chunk that can be stored at all.
pub(crate) const MAX_VALUE: usize = MAX_LOG_SEGMENT / 4 - ENVELOPE;
/// Page cache of a store, bytes.
const CACHE: u64 = 1024 * 1024;
/// A tree is left after so many changes if it would have so many bytes: for smaller ones a rewrite costs
/// less than a tree. A leaf that is rewritten is thus far below the size at which sled makes a file of it.
/// Measured with commits of one event of 600 bytes: 1.6 bytes on disk a byte, 2.4 with leaves of 64 KiB.
const TREE_CHANGES: usize = 9;
const TREE_BYTES: usize = 4 * 1024;

/// What a leaf takes beside its chunks, generously.
const LEAF_REST: usize = 16 * 1024;

static IS_PROVEN: AtomicBool = AtomicBool::new(false);
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

/// An open database. After a fault of a write or sync it must not be written again.
pub(crate) struct Store {
    db: Option<sled::Db>,
    trees: Mutex<Vec<Tree>>,
    max_value: usize,
}

/// One tree, and the number of its first chunk.
#[derive(Clone)]
struct Tree {
    first: Seq,
    changes: usize,
    bytes: usize,
    tree: sled::Tree,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Store")
    }
}

fn fenced<T>(what: &str, call: impl FnOnce() -> sled::Result<T>) -> Result<T, StoreError> {
    let fault = |error: &dyn Display, is_full| StoreError { words: format!("{what}: {error}"), is_full };
    match panic::fenced(call) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(sled::Error::Io(error))) => Err(fault(&error, is_full(error.kind()))),
        Ok(Err(error)) => Err(fault(&error, false)),
        Err(_) => Err(fault(&"the store panicked", false)),
    }
}

/// The tree whose numbers reach a number, and the one behind it.
struct TreesAround {
    before: Option<sled::Tree>,
    after: Option<sled::Tree>,
}

impl Store {
    /// Makes a database in `dir`, which must hold none, for chunks of at most `largest` bytes, and
    /// makes its files durable; their names are with the header, before which nothing in it counts.
    pub(crate) fn create(dir: &Path, largest: usize) -> Result<Self, StoreError> {
        let io = |error: std::io::Error| StoreError::io(dir, &error);
        if dir.join("db").exists() {
            return Err(StoreError::new(format!("{}: holds a database already", dir.display())));
        }
        if largest > MAX_VALUE {
            return Err(StoreError::new(format!("a chunk of {largest} bytes is above {MAX_VALUE}")));
        }
        let log_segment = ((largest + ENVELOPE) * 4).next_power_of_two().max(LOG_SEGMENT);
        let db = fenced("open", || {
            sled::Config::new()
                .path(dir)
                .cache_capacity(CACHE)
                .segment_size(log_segment)
                .flush_every_ms(None)
                .open()
        })?;
        let max_value = log_segment / 4 - ENVELOPE;
        let store = Self { db: Some(db), trees: Mutex::default(), max_value };
        store.prove_sync()?;
        for name in ["conf", "db"] {
            File::open(dir.join(name)).and_then(|file| file.sync_all()).map_err(io)?;
        }
        Ok(store)
    }

    /// A commit that did not reach `fdatasync` would make every answer a lie.
    /// One commit proves it for all: sled calls the same function each time.
    fn prove_sync(&self) -> Result<(), StoreError> {
        if IS_PROVEN.load(Ordering::Relaxed) {
            return Ok(());
        }
        let before = SYNCS.load(Ordering::SeqCst);
        fenced("insert", || self.db().insert(b"made", b"by trunkline"))?;
        self.flush()?;
        if SYNCS.load(Ordering::SeqCst) == before {
            return Err(StoreError::new("a commit did not sync: the store is not built as it must be"));
        }
        IS_PROVEN.store(true, Ordering::Relaxed);
        Ok(())
    }

    fn db(&self) -> &sled::Db {
        self.db.as_ref().expect("taken only in drop")
    }

    fn trees(&self) -> MutexGuard<'_, Vec<Tree>> {
        self.trees.lock()
    }

    /// Largest chunk that this database takes.
    pub(crate) fn max_value(&self) -> usize {
        self.max_value
    }

    /// Puts a chunk under its first number, greater than every one before; durable after
    /// [`Store::flush`].
    pub(crate) fn put(&self, first: Seq, chunk: &[u8]) -> Result<(), StoreError> {
        let mut trees = self.trees();
        // sled moves leaves when it makes room in its file, and makes a file of one that is too large.
        let leaf_max = self.max_value - LEAF_REST;
        let is_used_up = |tree: &Tree| {
            let bytes = tree.bytes + chunk.len();
            (tree.changes >= TREE_CHANGES && bytes >= TREE_BYTES) || (tree.changes > 0 && bytes > leaf_max)
        };
        if trees.last().is_none_or(is_used_up) {
            // Short, since sled writes all names again with each new one.
            let name = u32::try_from(trees.len()).expect("a segment has some hundred trees").to_be_bytes();
            let tree = fenced("open tree", || self.db().open_tree(name))?;
            trees.push(Tree { first, changes: 0, bytes: 0, tree });
        }
        let newest = trees.last_mut().expect("one was made");
        newest.changes += 1;
        newest.bytes += chunk.len();
        fenced("insert", || newest.tree.insert(first.to_be_bytes(), chunk)).map(drop)
    }

    /// The chunk that begins at or before `seq`, else the first one after it.
    pub(crate) fn around(&self, seq: Seq) -> Result<Option<Vec<u8>>, StoreError> {
        let TreesAround { before, after } = self.trees_around(seq);
        if let Some(tree) = before {
            let found = fenced("read", || tree.range(..=seq.to_be_bytes()).next_back().transpose())?;
            if let Some((_, chunk)) = found {
                return Ok(Some(chunk.to_vec()));
            }
        }
        let Some(tree) = after else { return Ok(None) };
        Ok(fenced("read", || tree.first())?.map(|(_, chunk)| chunk.to_vec()))
    }

    /// The first chunk that begins after `seq`.
    pub(crate) fn after(&self, seq: Seq) -> Result<Option<Vec<u8>>, StoreError> {
        let TreesAround { before, after } = self.trees_around(seq);
        for tree in [before, after].into_iter().flatten() {
            if let Some((_, chunk)) = fenced("read", || tree.get_gt(seq.to_be_bytes()))? {
                return Ok(Some(chunk.to_vec()));
            }
        }
        Ok(None)
    }

    fn trees_around(&self, seq: Seq) -> TreesAround {
        let trees = self.trees();
        let at = trees.partition_point(|tree| tree.first <= seq);
        let before = at.checked_sub(1).map(|before| trees[before].tree.clone());
        TreesAround { before, after: trees.get(at).map(|tree| tree.tree.clone()) }
    }

    /// Returns when everything put before is on stable storage.
    pub(crate) fn flush(&self) -> Result<(), StoreError> {
        fenced("flush", || self.db().flush()).map(drop)
    }
}

impl Drop for Store {
    /// sled unwraps a sync while it closes.
    fn drop(&mut self) {
        let trees = std::mem::take(&mut *self.trees());
        let parts = (trees, self.db.take());
        if panic::fenced(move || drop(parts)).is_err() {
            tracing::warn!("the store panicked while closing a segment");
        }
    }
}
