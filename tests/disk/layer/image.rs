//! What lies on the disk at one moment: contents by page, listings by directory.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use nix::unistd::{Whence, lseek};
use rand::RngExt;
use rand::rngs::StdRng;

/// What the kernel writes at once.
pub(crate) const PAGE: usize = 4096;
static ZEROS: LazyLock<Page> = LazyLock::new(|| Arc::from([0; PAGE]));

pub(crate) type Page = Arc<[u8; PAGE]>;
pub(crate) type Ino = u64;
/// Name, and what it stands for.
pub(crate) type Listing = BTreeMap<OsString, Node>;

/// A file or a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) ino: Ino,
    pub(crate) is_dir: bool,
}

/// The bytes of a file. Pages that do not change are shared by all states.
#[derive(Clone, Debug, Default)]
pub(crate) struct Content {
    length: u64,
    pages: Vec<Page>,
}

impl Content {
    /// What `file` holds now; equal pages are taken from `like`.
    pub(super) fn read(file: &File, like: &Content) -> Self {
        let length = file.metadata().unwrap().len().cast_signed();
        let mut pages = vec![ZEROS.clone(); usize::try_from(length).unwrap().div_ceil(PAGE)];
        // It may grow meanwhile.
        let seek = |from: i64, to: Whence| lseek(file, from, to).unwrap_or(length).min(length);
        let mut end = 0;
        while end < length {
            // A reserve is a large hole.
            let start = seek(end, Whence::SeekData);
            end = seek(start, Whence::SeekHole);
            let first = usize::try_from(start).unwrap() / PAGE;
            let mut raw = vec![0; usize::try_from(end).unwrap() - first * PAGE];
            // Less if it was cut meanwhile: the rest is zeros.
            let count = file.read_at(&mut raw, (first * PAGE) as u64).unwrap();
            for (at, part) in (first..).zip(raw[..count].chunks(PAGE)) {
                pages[at] = page(part, like.pages.get(at));
            }
        }
        Self { length: length.cast_unsigned(), pages }
    }

    /// Pages that differ from those of `durable`.
    pub(super) fn dirty<'a>(&'a self, durable: &'a Content) -> impl Iterator<Item = (usize, &'a Page)> {
        let differs = |(at, page): &(usize, &Page)| durable.pages.get(*at).is_none_or(|old| old != *page);
        self.pages.iter().enumerate().filter(differs)
    }

    /// This content, but with the pages of `durable` (or zeros) where `is_lost`.
    pub(super) fn without(mut self, durable: &Content, is_lost: impl Fn(usize, &Page) -> bool) -> Self {
        for (at, page) in self.pages.iter_mut().enumerate() {
            if is_lost(at, page) {
                *page = durable.pages.get(at).unwrap_or(&ZEROS).clone();
            }
        }
        self
    }

    fn write(&self, path: &Path) {
        let file = File::create(path).unwrap();
        let is_zero = |page: &Page| Arc::ptr_eq(page, &ZEROS);
        let mut at = 0;
        for run in self.pages.chunk_by(|a, b| is_zero(a) == is_zero(b)) {
            if !is_zero(&run[0]) {
                let raw: Vec<&[u8]> = run.iter().map(|page| page.as_slice()).collect();
                file.write_all_at(&raw.concat(), at).unwrap();
            }
            at += (run.len() * PAGE) as u64;
        }
        file.set_len(self.length).unwrap();
    }
}

/// The bytes of a page, shared with `like` if they are the same.
fn page(part: &[u8], like: Option<&Page>) -> Page {
    let mut page = [0; PAGE];
    page[..part.len()].copy_from_slice(part);
    match like {
        Some(like) if **like == page => like.clone(),
        _ if page == **ZEROS => ZEROS.clone(),
        _ => Arc::new(page),
    }
}

/// Contents and listings of all that is known. What has none is empty.
#[derive(Clone, Debug, Default)]
pub(crate) struct State {
    pub(super) files: BTreeMap<Ino, Arc<Content>>,
    pub(super) dirs: BTreeMap<Ino, Arc<Listing>>,
}

impl State {
    pub(super) fn content(&self, ino: Ino) -> Arc<Content> {
        self.files.get(&ino).cloned().unwrap_or_default()
    }

    /// This durable state with a random half of what `current` has beyond it: single pages, lengths of
    /// files, listings as a whole.
    pub(super) fn torn(&self, current: &State, random: &mut StdRng) -> State {
        let mut torn = self.clone();
        for (ino, listing) in &current.dirs {
            if random.random() {
                torn.dirs.insert(*ino, listing.clone());
            }
        }
        for (ino, content) in &current.files {
            let durable = self.content(*ino);
            let lost: BTreeSet<usize> =
                content.dirty(&durable).map(|(at, _)| at).filter(|_| random.random()).collect();
            let mut kept = Content::clone(content).without(&durable, |at, _| lost.contains(&at));
            if random.random() {
                kept.length = durable.length;
                kept.pages.truncate(durable.pages.len());
                kept.pages.extend_from_slice(&durable.pages[kept.pages.len()..]);
            }
            torn.files.insert(*ino, Arc::new(kept));
        }
        torn
    }

    /// Makes the directory `ino` at `path`, and all below it.
    pub(crate) fn build(&self, ino: Ino, path: &Path) {
        fs::create_dir_all(path).unwrap();
        for (name, node) in self.dirs.get(&ino).into_iter().flat_map(|listing| listing.iter()) {
            let path = path.join(name);
            match node.is_dir {
                true => self.build(node.ino, &path),
                false => self.content(node.ino).write(&path),
            }
        }
    }
}
