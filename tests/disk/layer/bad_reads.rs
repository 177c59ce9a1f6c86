//! Reads that fail with EIO: parts of database files that the disk does not give for a while.

use std::ops::Range;
use std::os::fd::RawFd;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::calls::path_of;

struct Bad {
    dir: PathBuf,
    bytes: Range<i64>,
    failed: usize,
}

static BAD: Mutex<Vec<Bad>> = Mutex::new(Vec::new());

fn all() -> MutexGuard<'static, Vec<Bad>> {
    BAD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// From now on databases below `dir` fail where `bytes` says.
pub(crate) fn fail(dir: &Path, bytes: Range<i64>) {
    all().push(Bad { dir: dir.to_path_buf(), bytes, failed: 0 });
}

/// How many reads below `dir` have failed.
pub(crate) fn failed(dir: &Path) -> usize {
    all().iter().filter(|bad| bad.dir.starts_with(dir)).map(|bad| bad.failed).sum()
}

/// The disk gives everything below `dir` again.
pub(crate) fn heal(dir: &Path) {
    all().retain(|bad| !bad.dir.starts_with(dir));
}

/// Called before a read.
pub(super) fn fails(fd: RawFd, at: i64, count: usize) -> bool {
    let mut all = all();
    if all.is_empty() {
        return false;
    }
    let path = std::fs::read_link(path_of(fd)).unwrap_or_default();
    let end = at.saturating_add_unsigned(count as u64);
    let is_bad = |bad: &&mut Bad| {
        at < bad.bytes.end && end > bad.bytes.start && path.ends_with("db") && path.starts_with(&bad.dir)
    };
    let found = all.iter_mut().find(is_bad);
    found.map(|bad| bad.failed += 1).is_some()
}
