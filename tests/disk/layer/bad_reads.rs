//! Reads that fail with EIO: parts of database files that the disk does not give for a while.

use std::ops::Range;
use std::os::fd::RawFd;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::calls::path_of;

static BAD: Mutex<Vec<(PathBuf, Range<i64>)>> = Mutex::new(Vec::new());

fn bad() -> MutexGuard<'static, Vec<(PathBuf, Range<i64>)>> {
    BAD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// From now on databases below `dir` fail where `bytes` says.
pub(crate) fn fail(dir: &Path, bytes: Range<i64>) {
    bad().push((dir.to_path_buf(), bytes));
}

/// The disk gives everything below `dir` again.
pub(crate) fn heal(dir: &Path) {
    bad().retain(|(bad, _)| !bad.starts_with(dir));
}

/// Called before a read.
pub(super) fn fails(fd: RawFd, at: i64, count: usize) -> bool {
    let bad = bad();
    if bad.is_empty() {
        return false;
    }
    let path = std::fs::read_link(path_of(fd)).unwrap_or_default();
    let end = at.saturating_add_unsigned(count as u64);
    let is_bad = |(dir, bytes): &(PathBuf, Range<i64>)| {
        at < bytes.end && end > bytes.start && path.ends_with("db") && path.starts_with(dir)
    };
    bad.iter().any(is_bad)
}
