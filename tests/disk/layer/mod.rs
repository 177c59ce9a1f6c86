//! A disk that loses what was not synced: it stands between the store and the kernel in this process.
//!
//! ```text
//! std, sled ──fsync, fdatasync──> this layer ──> kernel
//!                                     └─ notes what is durable now: after sync k, image k
//! ```
//! Strict where file systems may be kind: a file's sync makes its bytes durable and not its name, a
//! directory's sync its names and not what they stand for. A name without synced bytes is an empty file.
//! After a failed sync of a file its dirty pages count as clean, as on Linux: they stay lost until they are
//! written again.

pub(crate) mod bad_reads;
mod calls;
pub(crate) mod full;
pub(crate) mod image;
pub(crate) mod run;
pub(crate) mod stalled_syncs;
pub(crate) mod told;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::{DirEntryExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use calls::path_of;
use image::{Content, Ino, Listing, Node, PAGE, Page, State};

/// One sync in so many is also looked at with a part of what was unsynced before it.
const TORN_ODDS: u32 = 4;

/// All disks that are watched: libc's functions have no other argument than a number.
static DISKS: Mutex<Vec<Disk>> = Mutex::new(Vec::new());

/// Some sync was made to fail in this process.
static HAS_FAILED: AtomicBool = AtomicBool::new(false);

fn disks() -> MutexGuard<'static, Vec<Disk>> {
    DISKS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Called in place of a sync.
fn synced(fd: RawFd, is_data: bool) -> i32 {
    let mut disks = disks();
    let path = fs::read_link(path_of(fd)).unwrap_or_default();
    // A disk that nobody watches is not cut: to wait for the device would only take most of the time.
    let Some(disk) = disks.iter_mut().find(|disk| path.starts_with(&disk.path)) else { return 0 };
    let Ok(file) = File::open(path_of(fd)) else { return calls::sync(fd, is_data) };
    // What is written from here on need not reach the disk.
    let node = disk.hold(file);
    if disk.random.random_ratio(1, TORN_ODDS) {
        let current = disk.current();
        let torn = disk.durable.torn(&current, &mut disk.random);
        disk.torn.push((disk.history.len() - 1, torn));
    }
    let now = disk.look(node);
    disk.until_fault = disk.until_fault.map(|left| left.saturating_sub(1));
    if disk.until_fault == Some(0) {
        disk.until_fault = None;
        disk.fault = Some(path);
        HAS_FAILED.store(true, Ordering::SeqCst);
        disk.lose(node.ino, now);
        return calls::input_output_error();
    }
    // A hundred disks fail in turn: the device would take most of the time here too.
    let is_to_fail = disk.until_fault.is_some() || disk.fault.is_some();
    let result = if is_to_fail { 0 } else { calls::sync(fd, is_data) };
    if result == 0 {
        disk.data_syncs += usize::from(is_data);
        disk.keep(node.ino, now);
        disk.history.push(disk.durable.clone());
    }
    result
}

/// Called after a write: the pages are dirty again.
fn written(fd: RawFd, at: i64, count: isize) {
    let (Ok(at), Ok(count)) = (usize::try_from(at), usize::try_from(count)) else { return };
    // Before a fault it does not matter. What a panic prints must not wait for the lock.
    if fd <= libc::STDERR_FILENO || count == 0 || !HAS_FAILED.load(Ordering::SeqCst) {
        return;
    }
    let Ok(ino) = fs::metadata(path_of(fd)).map(|meta| meta.ino()) else { return };
    for disk in disks().iter_mut() {
        (at / PAGE..=(at + count - 1) / PAGE).for_each(|page| drop(disk.lost.remove(&(ino, page))));
    }
}

/// What a sync is about.
enum Now {
    File(Content),
    Dir(Listing),
}

struct Disk {
    path: PathBuf,
    root: Ino,
    /// All that was seen, held open so that no inode's number comes again.
    held: BTreeMap<Ino, (File, Node)>,
    durable: State,
    /// Image k, from 0: what was there at the beginning.
    history: Vec<State>,
    torn: Vec<(usize, State)>,
    /// Pages that count as clean and are not on the disk.
    lost: BTreeMap<(Ino, usize), Page>,
    until_fault: Option<usize>,
    fault: Option<PathBuf>,
    data_syncs: usize,
    random: StdRng,
}

impl Disk {
    fn hold(&mut self, file: File) -> Node {
        let meta = file.metadata().unwrap();
        let node = Node { ino: meta.ino(), is_dir: meta.is_dir() };
        self.held.entry(node.ino).or_insert((file, node)).1
    }

    /// A held file or directory as the kernel shows it.
    fn look(&mut self, node: Node) -> Now {
        let (file, _) = &self.held[&node.ino];
        if !node.is_dir {
            return Now::File(Content::read(file, &self.durable.content(node.ino)));
        }
        let mut listing = Listing::new();
        for entry in fs::read_dir(path_of(file.as_raw_fd())).unwrap().map(|entry| entry.unwrap()) {
            let known = self.held.get(&entry.ino()).map(|(_, node)| *node);
            let node = known.map_or_else(|| File::open(entry.path()).map(|file| self.hold(file)), Ok);
            match node {
                Ok(node) => drop(listing.insert(entry.file_name(), node)),
                // Another thread has removed it.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => panic!("{}: {error}", entry.path().display()),
            }
        }
        Now::Dir(listing)
    }

    /// All that was ever seen or can be found now, as the kernel shows it.
    fn current(&mut self) -> State {
        let mut state = State::default();
        let mut todo: Vec<Node> = self.held.values().map(|(_, node)| *node).collect();
        while let Some(node) = todo.pop() {
            match self.look(node) {
                Now::File(content) => {
                    state.files.insert(node.ino, Arc::new(content));
                }
                Now::Dir(listing) => {
                    let unseen = |node: &&Node| match node.is_dir {
                        true => !state.dirs.contains_key(&node.ino),
                        false => !state.files.contains_key(&node.ino),
                    };
                    todo.extend(listing.values().filter(unseen));
                    state.dirs.insert(node.ino, Arc::new(listing));
                }
            }
        }
        state
    }

    fn keep(&mut self, ino: Ino, now: Now) {
        match now {
            Now::File(content) => {
                let is_lost = |at: usize, page: &Page| self.lost.get(&(ino, at)) == Some(page);
                let kept = content.without(&self.durable.content(ino), is_lost);
                self.durable.files.insert(ino, Arc::new(kept));
            }
            Now::Dir(listing) => {
                self.durable.dirs.insert(ino, Arc::new(listing));
            }
        }
    }

    fn lose(&mut self, ino: Ino, now: Now) {
        // A journal that fails takes the whole file system with it: names get another chance.
        let Now::File(content) = now else { return };
        let durable = self.durable.content(ino);
        self.lost.extend(content.dirty(&durable).map(|(at, page)| ((ino, at), page.clone())));
    }
}

/// Watches a directory until it is dropped.
#[derive(Debug)]
pub(crate) struct Layer {
    path: PathBuf,
}

impl Layer {
    /// All that is in `dir` now counts as durable.
    pub(crate) fn over(dir: &Path, seed: u64) -> Self {
        let path = dir.canonicalize().unwrap();
        let mut disk = Disk {
            path: path.clone(),
            root: 0,
            held: BTreeMap::new(),
            durable: State::default(),
            history: Vec::new(),
            torn: Vec::new(),
            lost: BTreeMap::new(),
            until_fault: None,
            fault: None,
            data_syncs: 0,
            random: StdRng::seed_from_u64(seed),
        };
        disk.root = disk.hold(File::open(&path).unwrap()).ino;
        disk.durable = disk.current();
        disk.history.push(disk.durable.clone());
        disks().push(disk);
        Self { path }
    }

    fn with<T>(&self, look: impl FnOnce(&mut Disk) -> T) -> T {
        look(disks().iter_mut().find(|disk| disk.path == self.path).expect("watched until dropped"))
    }

    /// Syncs that succeeded.
    pub(crate) fn syncs(&self) -> usize {
        self.with(|disk| disk.history.len() - 1)
    }

    /// Those of them that were `fdatasync`.
    pub(crate) fn data_syncs(&self) -> usize {
        self.with(|disk| disk.data_syncs)
    }

    /// The `nth` sync from now, the next one being 1, fails with EIO.
    pub(crate) fn fail_sync(&self, nth: usize) {
        self.with(|disk| disk.until_fault = Some(nth));
    }

    /// The file whose sync was made to fail, if it came to that.
    pub(crate) fn fault(&self) -> Option<PathBuf> {
        self.with(|disk| disk.fault.clone())
    }

    /// What a cut after each sync leaves, from before the first one.
    pub(crate) fn cuts(&self) -> Vec<Cut> {
        self.with(|disk| {
            disk.history
                .iter()
                .enumerate()
                .map(|(at, state)| Cut::new(disk, at, state, disk.fault.is_some()))
                .collect()
        })
    }

    /// What cuts leave that keep a random half of what was unsynced, at some of the syncs.
    pub(crate) fn torn_cuts(&self) -> Vec<Cut> {
        self.with(|disk| disk.torn.iter().map(|(at, state)| Cut::new(disk, *at, state, true)).collect())
    }
}

impl Drop for Layer {
    fn drop(&mut self) {
        disks().retain(|disk| disk.path != self.path);
    }
}

/// A disk after a power cut.
#[derive(Debug)]
pub(crate) struct Cut {
    /// Syncs before it.
    pub(crate) at: usize,
    /// Something half written may lie there.
    pub(crate) is_torn: bool,
    root: Ino,
    state: State,
}

impl Cut {
    fn new(disk: &Disk, at: usize, state: &State, is_torn: bool) -> Self {
        Self { at, is_torn, root: disk.root, state: state.clone() }
    }

    /// Makes the disk's files in `dir`.
    pub(crate) fn build(&self, dir: &Path) {
        self.state.build(self.root, dir);
    }
}
