//! The map while the daemon runs: read again when its file changes, by a thread of its own.
//!
//! A look-up never waits for the disk. At most once a second it asks the thread to look at the file's time, size and
//! inode; a mount that hangs holds that thread and nothing else.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};

use crate::clock::{Clock, Mono};

use super::file::{self, MapError};
use super::map::IdMap;

/// Shortest time between two looks at the file.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The map in use. Cheap to clone.
#[derive(Clone, Debug)]
pub struct LiveMap(Arc<LiveMapHandle>);

#[derive(Debug)]
struct LiveMapHandle {
    clock: Clock,
    asked: Mutex<Mono>,
    looks: SyncSender<()>,
    shared: Arc<FollowedFile>,
}

/// What thread and look-ups share.
#[derive(Debug)]
struct FollowedFile {
    path: PathBuf,
    state: RwLock<MapState>,
}

#[derive(Debug, Default)]
struct MapState {
    map: Option<Arc<IdMap>>,
    /// Why the file as it is now is not in use.
    fault: Option<String>,
    stamp: Option<FileStamp>,
}

/// Tells one content of a file from another without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FileStamp {
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

impl LiveMap {
    /// Reads the map and keeps it current. Blocks. A file that cannot be read is reported, and looked at again.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn open(path: &Path, clock: Clock) -> std::io::Result<Self> {
        let shared = Arc::new(FollowedFile { path: path.to_path_buf(), state: RwLock::default() });
        shared.look();
        let (looks, asked) = sync_channel(1);
        let of_thread = shared.clone();
        std::thread::Builder::new().name("ids".to_owned()).spawn(move || of_thread.follow(&asked))?;
        Ok(Self(Arc::new(LiveMapHandle { asked: Mutex::new(clock.mono()), clock, looks, shared })))
    }

    /// The map in use; `None` while no version of the file could be read.
    pub fn current(&self) -> Option<Arc<IdMap>> {
        let now = self.0.clock.mono();
        let mut asked = self.0.asked.lock();
        if now.since(*asked) >= LOOK_EVERY {
            *asked = now;
            // A look that is waiting already will see the same file.
            let _ = self.0.looks.try_send(());
        }
        drop(asked);
        self.0.shared.state.read().map.clone()
    }

    /// Why the file as it is now is not in use, without any name.
    pub fn fault(&self) -> Option<String> {
        self.0.shared.state.read().fault.clone()
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.0.shared.path
    }
}

impl FollowedFile {
    /// Looks whenever it is asked to, until nobody can ask.
    fn follow(&self, asked: &Receiver<()>) {
        while asked.recv().is_ok() {
            self.look();
        }
    }

    fn look(&self) {
        let stamp = std::fs::metadata(&self.path).ok().map(|meta| FileStamp {
            inode: meta.ino(),
            size: meta.len(),
            modified: (meta.mtime(), meta.mtime_nsec()),
        });
        if stamp.is_some() && stamp == self.state.read().stamp {
            return;
        }
        self.keep(stamp, file::read(&self.path));
    }

    /// All or nothing: after a fault the map before stays in use.
    fn keep(&self, stamp: Option<FileStamp>, read: Result<IdMap, MapError>) {
        let mut state = self.state.write();
        state.stamp = stamp;
        match read {
            Ok(map) => {
                tracing::info!(path = %self.path.display(), names = map.len(), "the map of names is in use");
                state.map = Some(Arc::new(map));
                state.fault = None;
            }
            Err(error) => {
                let fault = error.to_string();
                if state.fault.as_ref() != Some(&fault) {
                    let kept =
                        if state.map.is_some() { "the one before stays in use" } else { "no name is known" };
                    tracing::error!(error = fault, "the map of names cannot be used; {kept}");
                }
                state.fault = Some(fault);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::super::map::NameKind;
    use super::*;

    const ID: &str = "6f1c0b7e-0000-4000-8000-000000000001";

    fn found(map: &LiveMap, name: &str) -> Option<Uuid> {
        map.0.shared.state.read().map.as_ref()?.find(NameKind::User, name)
    }

    #[test]
    fn a_new_file_is_taken_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("map.csv");
        std::fs::write(&path, format!("kind,name,id\nuser,Jo,{ID}\n")).unwrap();
        let map = LiveMap::open(&path, Clock::system()).unwrap();
        assert!(found(&map, "Jo").is_some());

        std::fs::write(&path, format!("kind,name,id\nuser,Al,{ID}\nuser,Ed,none\n")).unwrap();
        map.0.shared.look();
        assert!(found(&map, "Jo").is_some() && found(&map, "Al").is_none());
        assert!(map.fault().unwrap().contains("line 3"));

        std::fs::write(&path, format!("kind,name,id\nuser,Al,{ID}\n")).unwrap();
        map.0.shared.look();
        assert!(found(&map, "Jo").is_none() && found(&map, "Al").is_some());
        assert_eq!(map.fault(), None);
    }

    #[test]
    fn a_file_that_is_not_there_yet_is_found_later() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("map.csv");
        let map = LiveMap::open(&path, Clock::system()).unwrap();
        assert!(map.current().is_none() && map.fault().is_some());

        std::fs::write(&path, format!("kind,name,id\nuser,Jo,{ID}\n")).unwrap();
        map.0.shared.look();

        assert!(found(&map, "Jo").is_some());
    }
}
