//! Background thread: creates segments ahead of need, closes full ones, deletes settled ones.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, sync_channel};

use parking_lot::{Condvar, Mutex, MutexGuard};

use super::header::{self, Closing};
use super::ids::{self, IdEntry};
use super::index::LeavingList;
use super::raw::allocated;
use super::store::Store;
use crate::files::sync_dir;
use crate::queue::error::StoreError;
use crate::queue::types::Seq;

/// `ids` files that may come to `dedupe/` before the oldest are looked at.
const PRUNE_AFTER: u32 = 64;

/// A database made ahead of time.
#[derive(Debug)]
pub(crate) struct Spare {
    pub(crate) first: Seq,
    pub(crate) store: Store,
}

#[derive(Debug, Default)]
enum SpareState {
    #[default]
    Empty,
    /// Asked for; who needs it first may still make it.
    Asked(Seq),
    Making,
    Ready(Spare),
}

/// Where a log's next database waits. Never two are made in one directory.
#[derive(Clone, Debug, Default)]
pub(crate) struct SpareSlot(Arc<(Mutex<SpareState>, Condvar)>);

impl SpareSlot {
    fn state(&self) -> MutexGuard<'_, SpareState> {
        self.0.0.lock()
    }

    /// Notes that a database for `first` is wanted; `false` if one is there or coming.
    pub(crate) fn ask(&self, first: Seq) -> bool {
        let mut state = self.state();
        let is_coming = match &*state {
            SpareState::Ready(spare) => spare.first == first,
            SpareState::Making => true,
            SpareState::Asked(_) | SpareState::Empty => false,
        };
        if !is_coming {
            *state = SpareState::Asked(first);
        }
        !is_coming
    }

    /// The thread begins; `false` if it is not wanted any more.
    fn begin(&self, first: Seq) -> bool {
        let mut state = self.state();
        let is_wanted = matches!(&*state, SpareState::Asked(asked) if *asked == first);
        if is_wanted {
            *state = SpareState::Making;
        }
        is_wanted
    }

    fn finish(&self, made: Option<Spare>) {
        *self.state() = made.map_or(SpareState::Empty, SpareState::Ready);
        self.0.1.notify_all();
    }

    /// Takes what is there; waits for one that is being made, some milliseconds.
    pub(crate) fn take(&self) -> Option<Spare> {
        let mut state = self.state();
        while matches!(&*state, SpareState::Making) {
            self.0.1.wait(&mut state);
        }
        match std::mem::take(&mut *state) {
            SpareState::Ready(spare) => Some(spare),
            _ => None,
        }
    }
}

/// What is to be done.
#[derive(Debug)]
pub(crate) enum Chore {
    /// Make the database of the segment that will begin at `first`.
    Prepare { dir: PathBuf, first: Seq, slot: SpareSlot },
    /// Write down what a segment held and give its handle back.
    Close(Box<Closed>),
    /// Delete a segment; its `ids` move to `ids_to`.
    Delete(Leaving),
    /// Say when all that was asked before is done.
    Tell(SyncSender<()>),
    /// Allocate the reserve file again.
    Reserve(PathBuf, u64),
    /// End.
    Stop,
}

/// A segment that is not written any more.
#[derive(Debug)]
pub(crate) struct Closed {
    pub(crate) dir: PathBuf,
    pub(crate) first: Seq,
    pub(crate) closing: Closing,
    /// It will be deleted next: its closing would be read by nobody.
    pub(crate) is_leaving: bool,
    pub(crate) ids: Vec<IdEntry>,
    pub(crate) store: Arc<Store>,
    pub(crate) disk: Arc<AtomicU64>,
    /// Cleared once the handle is given back.
    pub(crate) is_closing: Arc<AtomicBool>,
}

/// A settled segment until its directory is gone: snapshots go on to say that it is settled.
#[derive(Clone, Debug)]
pub(crate) struct Leaving {
    pub(crate) dir: PathBuf,
    pub(crate) ids_to: Option<PathBuf>,
    pub(crate) first: Seq,
    /// Where it stands until then.
    pub(crate) list: LeavingList,
    /// That it could not be deleted.
    pub(crate) is_told: bool,
}

/// Hands chores to the thread.
#[derive(Clone, Debug)]
pub(crate) struct Maintenance {
    chores: Sender<Chore>,
}

impl Maintenance {
    pub(crate) fn new(chores: Sender<Chore>) -> Self {
        Self { chores }
    }

    /// The thread ends last: a chore that finds it gone is one that the next start does.
    pub(crate) fn ask(&self, chore: Chore) {
        let _ = self.chores.send(chore);
    }

    /// Waits until all that was asked before is done.
    pub(crate) fn finish(&self) {
        let (done, is_done) = sync_channel(1);
        self.ask(Chore::Tell(done));
        // It has ended: nothing is waited for.
        let _ = is_done.recv();
    }
}

/// Works until [`Chore::Stop`].
pub(crate) fn run(chores: &Receiver<Chore>) {
    let mut moved = 0_u32;
    // What could not be deleted is tried again with the next.
    let mut undeleted: Vec<Leaving> = Vec::new();
    while let Ok(chore) = chores.recv() {
        match chore {
            Chore::Prepare { dir, first, slot } => {
                if slot.begin(first) {
                    let made = make(&dir, 0);
                    if let Err(error) = &made {
                        tracing::debug!(%error, "cannot create the next segment in advance");
                    }
                    slot.finish(made.ok().map(|store| Spare { first, store }));
                }
            }
            Chore::Close(closed) => close(*closed),
            Chore::Delete(leaving) => {
                moved += u32::from(leaving.ids_to.is_some());
                if moved.is_multiple_of(PRUNE_AFTER)
                    && let Some(ids_dir) = leaving.ids_to.as_deref().and_then(Path::parent)
                {
                    ids::prune(ids_dir, |_| false);
                }
                undeleted.push(leaving);
                undeleted.retain_mut(|leaving| !is_gone(leaving));
            }
            Chore::Reserve(path, bytes) => reserve(&path, bytes),
            Chore::Tell(done) => {
                undeleted.retain_mut(|leaving| !is_gone(leaving));
                // Whoever asked may have gone.
                let _ = done.send(());
            }
            Chore::Stop => return,
        }
    }
}

/// Makes the database of a segment for chunks of at most `largest` bytes. What an attempt left in its
/// directory is removed: there is no header yet, so nothing in it counts.
pub(crate) fn make(dir: &Path, largest: usize) -> Result<Store, StoreError> {
    let io = |error: std::io::Error| StoreError::io(dir, &error);
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(io(error)),
        _ => {}
    }
    fs::create_dir_all(dir).map_err(io)?;
    Store::create(dir, largest)
}

fn close(closed: Closed) {
    let Closed { dir, first, mut closing, is_leaving, ids, store, disk, is_closing } = closed;
    if !ids.is_empty()
        && let Err(error) = ids::write(&dir, first, &ids)
    {
        tracing::debug!(segment = %dir.display(), %error, "ids cannot be written now");
    }
    drop(store);
    is_closing.store(false, Ordering::Release);
    closing.disk = allocated(&dir);
    disk.store(closing.disk, Ordering::Relaxed);
    // The segment may be deleted already. Without this the next start reads its chunks instead.
    if !is_leaving
        && dir.exists()
        && let Err(error) = header::close(&dir, first, &closing)
    {
        tracing::debug!(segment = %dir.display(), %error, "cannot write a segment's closing record");
    }
}

/// Deletes it; `true` if that is done.
fn is_gone(leaving: &mut Leaving) -> bool {
    if let Err(error) = delete(&leaving.dir, leaving.ids_to.as_deref()) {
        if !std::mem::replace(&mut leaving.is_told, true) {
            tracing::warn!(segment = %leaving.dir.display(), %error, "a settled segment cannot be deleted now; it is tried again");
        }
        return false;
    }
    leaving.list.remove(leaving.first);
    true
}

/// Removes a segment's directory so that a crash in between leaves nothing half alive.
pub(crate) fn delete(dir: &Path, ids_to: Option<&Path>) -> std::io::Result<()> {
    if let Some(to) = ids_to {
        match fs::rename(dir.join(ids::FILE), to) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    let gone = dir.with_extension("gone");
    match fs::rename(dir, &gone) {
        // An earlier attempt came so far.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && gone.exists() => {}
        result => result?,
    }
    if let Some(parent) = dir.parent() {
        sync_dir(parent)?;
    }
    fs::remove_dir_all(gone)
}

fn reserve(path: &Path, bytes: u64) {
    let made = fs::File::create(path).and_then(|file| {
        nix::fcntl::posix_fallocate(&file, 0, bytes.cast_signed()).map_err(std::io::Error::from)?;
        file.sync_all()
    });
    if let Err(error) = made {
        tracing::debug!(%error, "the reserve cannot be allocated now");
        let _ = fs::remove_file(path);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn whoever_waits_for_deletions_has_those_tried_again_that_failed() {
        let home = tempfile::tempdir().unwrap();
        let (dir, in_the_way) = (home.path().join("1"), home.path().join("1.gone"));
        fs::create_dir(&dir).unwrap();
        fs::create_dir_all(in_the_way.join("more")).unwrap();
        let (chores, queue) = channel();
        let maintenance = Maintenance::new(chores);
        let working = std::thread::spawn(move || run(&queue));
        let list = LeavingList::default();
        let leaving = Leaving { dir: dir.clone(), ids_to: None, first: 1, list, is_told: false };

        maintenance.ask(Chore::Delete(leaving));
        maintenance.finish();
        let is_left = dir.exists();
        fs::remove_dir_all(&in_the_way).unwrap();
        maintenance.finish();

        assert!(is_left && !dir.exists());
        maintenance.ask(Chore::Stop);
        working.join().unwrap();
    }
}
