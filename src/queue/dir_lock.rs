//! Locks `queue.dir`, and detects if it was replaced.
//!
//! Both the directory and the file `lock` in it are locked: a script that tidies up `lock` does not let a
//! second daemon in, and builds that lock only the file still meet each other there.

use std::fs::{File, Metadata};
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use super::error::OpenError;

/// Released when it is dropped, or the process ends.
#[derive(Debug)]
pub(super) struct DirLock {
    path: PathBuf,
    dir: DirHandle,
    /// `None` in a copy without one that is only read.
    _file: Option<Flock<File>>,
    lanes: OnceLock<FileId>,
}

#[derive(Debug)]
enum DirHandle {
    Locked(Flock<File>),
    /// The file system cannot lock a directory.
    Open(File),
}

impl DirLock {
    /// Takes the directory, which must be there.
    ///
    /// # Errors
    /// If another process holds it, or the lock cannot be made.
    pub(super) fn take(path: &Path) -> Result<Self, OpenError> {
        let file = path.join("lock");
        let opened = File::options().create(true).truncate(false).write(true).open(&file);
        let opened = opened.map_err(|error| OpenError::from_io(&file, &error))?;
        Self::of(path, Some(opened), FlockArg::LockExclusiveNonblock)
    }

    /// Keeps daemons out while others may read too, without making a file: it may be a read-only copy.
    ///
    /// # Errors
    /// If a daemon holds it, or it cannot be read.
    pub(super) fn take_to_read(path: &Path) -> Result<Self, OpenError> {
        let file = path.join("lock");
        match File::open(&file) {
            Ok(opened) => Self::of(path, Some(opened), FlockArg::LockSharedNonblock),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                Self::of(path, None, FlockArg::LockSharedNonblock)
            }
            Err(error) => Err(OpenError::from_io(&file, &error)),
        }
    }

    fn of(path: &Path, file: Option<File>, how: FlockArg) -> Result<Self, OpenError> {
        let in_use = || OpenError::InUse { path: path.to_path_buf() };
        let dir = File::open(path).map_err(|error| OpenError::from_io(path, &error))?;
        let dir = match Flock::lock(dir, how) {
            Ok(dir) => DirHandle::Locked(dir),
            Err((_, Errno::EWOULDBLOCK)) => return Err(in_use()),
            // NFS, for one; the file is locked there.
            Err((dir, error)) => {
                tracing::debug!(%error, dir = %path.display(), "the directory itself cannot be locked");
                DirHandle::Open(dir)
            }
        };
        let file = file.map(|file| Flock::lock(file, how)).transpose();
        let file = file.map_err(|_| in_use())?;
        Ok(Self { path: path.to_path_buf(), dir, _file: file, lanes: OnceLock::new() })
    }

    /// `queue.dir`.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether `queue.dir` is still the directory that was locked, with the lanes that were in it when
    /// this was first asked. Where that cannot be told it is taken for so: an error that may pass is no
    /// proof.
    pub(super) fn is_in_place(&self) -> bool {
        let dir: &File = match &self.dir {
            DirHandle::Locked(dir) => dir,
            DirHandle::Open(dir) => dir,
        };
        let lanes = FileId::of(&std::fs::metadata(self.path.join("lanes")));
        is_same(FileId::of(&dir.metadata()), FileId::of(&std::fs::metadata(&self.path)))
            && is_same(*self.lanes.get_or_init(|| lanes), lanes)
    }
}

/// What is there, as far as it can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FileId {
    Inode { dev: u64, ino: u64 },
    Nothing,
    Unknown,
}

impl FileId {
    fn of(found: &std::io::Result<Metadata>) -> Self {
        match found {
            Ok(meta) => FileId::Inode { dev: meta.dev(), ino: meta.ino() },
            Err(error) if error.kind() == ErrorKind::NotFound => FileId::Nothing,
            Err(_) => FileId::Unknown,
        }
    }
}

fn is_same(before: FileId, now: FileId) -> bool {
    before == now || before == FileId::Unknown || now == FileId::Unknown
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn is_in_use(dir: &Path) -> bool {
        matches!(DirLock::take(dir), Err(OpenError::InUse { .. }))
    }

    #[test]
    fn a_directory_is_held_once_though_the_lock_file_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let lock = DirLock::take(dir.path()).unwrap();

        let before = is_in_use(dir.path());
        fs::remove_file(dir.path().join("lock")).unwrap();

        assert!(before && is_in_use(dir.path()));
        drop(lock);
        assert!(!is_in_use(dir.path()));
    }

    #[test]
    fn a_directory_that_was_emptied_removed_or_replaced_is_not_in_place_until_it_is_put_back() {
        let home = tempfile::tempdir().unwrap();
        let (dir, away) = (home.path().join("queue"), home.path().join("away"));
        fs::create_dir_all(dir.join("lanes")).unwrap();
        let lock = DirLock::take(&dir).unwrap();
        assert!(lock.is_in_place());

        fs::rename(&dir, &away).unwrap();
        let moved = lock.is_in_place();
        fs::create_dir_all(dir.join("lanes")).unwrap();
        let replaced = lock.is_in_place();
        fs::remove_dir_all(&dir).unwrap();
        fs::rename(&away, &dir).unwrap();
        let put_back = lock.is_in_place();
        fs::remove_dir_all(dir.join("lanes")).unwrap();
        let emptied = lock.is_in_place();

        assert_eq!([moved, replaced, put_back, emptied], [false, false, true, false]);
    }
}
