//! A quota, which no look at the file system shows, and a file system that does not report its size.

use std::fs;
use std::os::fd::RawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::calls::path_of;

struct Quota {
    dir: PathBuf,
    bytes: u64,
    errno: i32,
}

static QUOTAS: Mutex<Vec<Quota>> = Mutex::new(Vec::new());
static WITHOUT_SIZE: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

fn quotas() -> MutexGuard<'static, Vec<Quota>> {
    QUOTAS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// From now on files below `dir` take no more than they do, and `more` bytes. A write beyond fails with `errno`.
pub(crate) fn set_quota(dir: &Path, more: u64, errno: i32) {
    quotas().push(Quota { dir: dir.to_path_buf(), bytes: used(dir) + more, errno });
}

/// From now on the file system of `dir` does not report its size.
pub(crate) fn hide_size(dir: &Path) {
    WITHOUT_SIZE.lock().unwrap_or_else(PoisonError::into_inner).push(dir.to_path_buf());
}

pub(super) fn hides_size(path: &Path) -> bool {
    WITHOUT_SIZE.lock().unwrap_or_else(PoisonError::into_inner).iter().any(|dir| path.starts_with(dir))
}

/// Called before bytes are written or allocated; gives what a write fails with.
pub(super) fn over_quota(fd: RawFd, at: i64, count: usize) -> Option<i32> {
    let quotas = quotas();
    if quotas.is_empty() {
        return None;
    }
    let path = fs::read_link(path_of(fd)).unwrap_or_default();
    let quota = quotas.iter().find(|quota| path.starts_with(&quota.dir))?;
    let length = fs::metadata(path_of(fd)).map_or(0, |meta| meta.len());
    let growth = at.unsigned_abs().saturating_add(count as u64).saturating_sub(length);
    (growth > 0 && used(&quota.dir) + growth > quota.bytes).then_some(quota.errno)
}

fn used(dir: &Path) -> u64 {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let size = |entry: fs::DirEntry| match entry.metadata() {
        Ok(meta) if meta.is_dir() => used(&entry.path()),
        Ok(meta) => meta.blocks() * 512,
        Err(_) => 0,
    };
    entries.map(size).sum()
}
