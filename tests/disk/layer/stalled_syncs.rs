//! Syncs that do not return until they are let go.

use std::os::fd::RawFd;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex};

use super::calls::path_of;

struct Stalled {
    dir: PathBuf,
    hanging: usize,
}

static STALLED: Mutex<Vec<Stalled>> = Mutex::new(Vec::new());
static CHANGED: Condvar = Condvar::new();

/// From now on an `fdatasync` of a file below `dir` hangs.
pub(crate) fn stall(dir: &Path) {
    STALLED.lock().unwrap().push(Stalled { dir: dir.to_path_buf(), hanging: 0 });
}

/// Lets all go that hang below `dir`.
pub(crate) fn let_go(dir: &Path) {
    STALLED.lock().unwrap().retain(|stalled| stalled.dir != dir);
    CHANGED.notify_all();
}

/// How many syncs hang below `dir` now.
pub(crate) fn hanging(dir: &Path) -> usize {
    STALLED.lock().unwrap().iter().filter(|stalled| stalled.dir == dir).map(|stalled| stalled.hanging).sum()
}

/// Called before an `fdatasync`.
pub(super) fn wait(fd: RawFd) {
    let mut all = STALLED.lock().unwrap();
    if all.is_empty() {
        return;
    }
    let path = std::fs::read_link(path_of(fd)).unwrap_or_default();
    let Some(stalled) = all.iter_mut().find(|stalled| path.starts_with(&stalled.dir)) else { return };
    stalled.hanging += 1;
    while all.iter().any(|stalled| path.starts_with(&stalled.dir)) {
        all = CHANGED.wait(all).unwrap();
    }
}
