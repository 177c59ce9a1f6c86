//! Syncs that do not return until they are let go.

use std::os::fd::RawFd;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex};

use super::calls::path_of;

/// Below which directory syncs hang, and how many do.
static STALLED: Mutex<(Option<PathBuf>, usize)> = Mutex::new((None, 0));
static CHANGED: Condvar = Condvar::new();

/// From now on an `fdatasync` of a file below `dir` hangs.
pub(crate) fn stall(dir: &Path) {
    STALLED.lock().unwrap().0 = Some(dir.to_path_buf());
}

/// Lets all go that hang.
pub(crate) fn let_go() {
    STALLED.lock().unwrap().0 = None;
    CHANGED.notify_all();
}

/// How many syncs hang now.
pub(crate) fn hanging() -> usize {
    STALLED.lock().unwrap().1
}

/// Called before an `fdatasync`.
pub(super) fn wait(fd: RawFd) {
    let mut stalled = STALLED.lock().unwrap();
    if stalled.0.is_none() {
        return;
    }
    let path = std::fs::read_link(path_of(fd)).unwrap_or_default();
    stalled.1 += 1;
    while stalled.0.as_ref().is_some_and(|dir| path.starts_with(dir)) {
        stalled = CHANGED.wait(stalled).unwrap();
    }
    stalled.1 -= 1;
}
