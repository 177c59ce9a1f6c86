//! Reads, opens and links that fail: parts of database files that the disk does not give for a while, files that
//! cannot be opened, hard links that cannot be made.

use std::ops::Range;
use std::os::fd::RawFd;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::calls::path_of;

struct Bad {
    dir: PathBuf,
    bytes: Range<i64>,
    failed: usize,
    /// Reads that still fail.
    left: usize,
}

struct Refused {
    dir: PathBuf,
    name: &'static str,
    errno: i32,
}

struct RefusedLinks {
    dir: PathBuf,
    errno: i32,
    left: usize,
}

static REFUSED_LINKS: Mutex<Vec<RefusedLinks>> = Mutex::new(Vec::new());

fn refused_links() -> MutexGuard<'static, Vec<RefusedLinks>> {
    REFUSED_LINKS.lock().unwrap_or_else(PoisonError::into_inner)
}

static REFUSED: Mutex<Vec<Refused>> = Mutex::new(Vec::new());

fn refused() -> MutexGuard<'static, Vec<Refused>> {
    REFUSED.lock().unwrap_or_else(PoisonError::into_inner)
}

static BAD: Mutex<Vec<Bad>> = Mutex::new(Vec::new());

fn all() -> MutexGuard<'static, Vec<Bad>> {
    BAD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// From now on databases below `dir` fail where `bytes` says.
pub(crate) fn fail(dir: &Path, bytes: Range<i64>) {
    all().push(Bad { dir: dir.to_path_buf(), bytes, failed: 0, left: usize::MAX });
}

/// The next read of a database below `dir` fails.
pub(crate) fn fail_once(dir: &Path) {
    all().push(Bad { dir: dir.to_path_buf(), bytes: 0..i64::MAX, failed: 0, left: 1 });
}

/// How many reads below `dir` have failed.
pub(crate) fn failed(dir: &Path) -> usize {
    all().iter().filter(|bad| bad.dir.starts_with(dir)).map(|bad| bad.failed).sum()
}

/// From now on files of this name below `dir` cannot be opened: `errno` says why.
pub(crate) fn refuse_opens(dir: &Path, name: &'static str, errno: i32) {
    refused().push(Refused { dir: dir.to_path_buf(), name, errno });
}

/// The next `count` hard links below `dir` cannot be made: `errno` says why.
pub(crate) fn refuse_links(dir: &Path, errno: i32, count: usize) {
    refused_links().push(RefusedLinks { dir: dir.to_path_buf(), errno, left: count });
}

/// Called before a hard link is made; gives what the call fails with.
pub(super) fn link_refusal(path: &Path) -> Option<i32> {
    let mut all = refused_links();
    let refused = all.iter_mut().find(|refused| refused.left > 0 && path.starts_with(&refused.dir))?;
    refused.left -= 1;
    Some(refused.errno)
}

/// The disk gives everything below `dir` again.
pub(crate) fn heal(dir: &Path) {
    all().retain(|bad| !bad.dir.starts_with(dir));
    refused().retain(|refused| !refused.dir.starts_with(dir));
}

/// Called before a file is opened; gives what the call fails with.
pub(super) fn refusal(path: &Path) -> Option<i32> {
    let refused = refused();
    let is_it = |refused: &&Refused| path.ends_with(refused.name) && path.starts_with(&refused.dir);
    refused.iter().find(is_it).map(|refused| refused.errno)
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
        bad.left > 0
            && at < bad.bytes.end
            && end > bad.bytes.start
            && path.ends_with("db")
            && path.starts_with(&bad.dir)
    };
    let found = all.iter_mut().find(is_bad);
    let Some(found) = found else { return false };
    found.failed += 1;
    found.left -= 1;
    true
}
