//! Quarantines damaged segments: kept with a reason, logged once, counted.
//!
//! `quarantine/<log>-<first>/` holds the directory as it was found, or a second link to its files, and
//! `why.txt`. Its name counts when numbers are given, so that none is used twice.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::header;
use crate::files::{self, make_dir, sync_dir};
use crate::queue::error::{OpenError, is_full};
use crate::queue::types::Seq;

/// Name of the file in the queue's directory that reserves space for settling.
pub(crate) const RESERVE: &str = "reserve";
/// Name of the file that says why, a reason a line.
pub(crate) const WHY: &str = "why.txt";

/// What is kept of a segment whose chunks are damaged.
const DATABASE: [&str; 2] = ["db", header::FILE];

/// The directory `quarantine/`.
#[derive(Debug)]
pub(crate) struct Quarantine {
    dir: PathBuf,
    parts: AtomicU64,
}

impl Quarantine {
    /// Counts what lies there already.
    pub(crate) fn new(dir: PathBuf) -> Self {
        let parts = fs::read_dir(&dir).map_or(0, |entries| entries.flatten().count() as u64);
        Self { dir, parts: AtomicU64::new(parts) }
    }

    /// Where it is.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// How many parts lie there.
    pub(crate) fn parts(&self) -> u64 {
        self.parts.load(Ordering::Relaxed)
    }

    /// The highest first number that was set aside from `log`.
    ///
    /// # Errors
    /// If the directory is there and cannot be read: numbers might be used twice.
    pub(crate) fn highest(&self, log: &str) -> io::Result<Option<Seq>> {
        let entries = match fs::read_dir(&self.dir) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            entries => entries?,
        };
        let mut highest = None;
        for entry in entries {
            highest = highest.max(entry?.file_name().to_str().and_then(|name| number_in(name, log)));
        }
        Ok(highest)
    }

    /// Moves `path` away.
    pub(crate) fn set_aside(&self, log: &str, path: &Path, why: &str) -> Result<(), OpenError> {
        let to = self.free_name(log, path).map_err(|error| OpenError::reading(&self.dir, &error))?;
        let moved = match fs::rename(path, &to) {
            // It is on another file system.
            Err(error) if has_no_links(&error) => {
                let copied = self.keep(log, path, why).and_then(|()| fs::remove_dir_all(path));
                return copied.map_err(|error| OpenError::reading(&self.dir, &error));
            }
            moved => moved,
        };
        let moved = moved.and_then(|()| {
            if let Err(error) = fs::write(to.join(WHY), format!("{why}\n")) {
                tracing::warn!(%error, "cannot write why.txt; the reason is only in the log");
            }
            sync_dir(&self.dir)?;
            sync_dir(path.parent().unwrap_or(path))
        });
        moved.map_err(|error| OpenError::reading(&self.dir, &error))?;
        self.parts.fetch_add(1, Ordering::Relaxed);
        tracing::error!(part = %path.display(), quarantine = %to.display(), why, "part of the queue was quarantined");
        Ok(())
    }

    /// Keeps the files of `segment` as evidence of damage while the segment lives on; durable when it
    /// returns. Each reason is told once.
    ///
    /// # Errors
    /// If it cannot be kept. Then nothing may be deleted or given up for this reason.
    pub(crate) fn keep(&self, log: &str, segment: &Path, why: &str) -> io::Result<()> {
        if let Some(kept) = self.link(log, segment, &DATABASE, why)? {
            tracing::error!(segment = %segment.display(), quarantine = %kept.display(), why, "part of the queue is damaged");
        }
        Ok(())
    }

    /// As [`Quarantine::keep`], of one file that stands beside the database.
    pub(crate) fn keep_file(&self, log: &str, segment: &Path, file: &str, why: &str) -> io::Result<()> {
        if let Some(kept) = self.link(log, segment, &[file], why)? {
            tracing::error!(segment = %segment.display(), quarantine = %kept.display(), why, "part of the queue is damaged");
        }
        Ok(())
    }

    /// As [`Quarantine::keep`], of what the last append before a crash left in part: most likely it was
    /// never answered for.
    pub(crate) fn keep_torn(&self, log: &str, segment: &Path, why: &str) -> io::Result<()> {
        if let Some(kept) = self.link(log, segment, &DATABASE, why)? {
            tracing::warn!(segment = %segment.display(), quarantine = %kept.display(), why, "the last append before a crash is incomplete");
        }
        Ok(())
    }

    /// Links `files`, of which the first must be there. Gives where they are, if the reason is new. On a full disk
    /// the reserve makes room.
    fn link(&self, log: &str, segment: &Path, files: &[&str], why: &str) -> io::Result<Option<PathBuf>> {
        match self.try_link(log, segment, files, why) {
            Err(error)
                if is_full(error.kind()) && fs::remove_file(self.dir.with_file_name(RESERVE)).is_ok() =>
            {
                tracing::warn!(%error, "using the disk reserve to keep evidence of damage");
                self.try_link(log, segment, files, why)
            }
            result => result,
        }
    }

    fn try_link(&self, log: &str, segment: &Path, files: &[&str], why: &str) -> io::Result<Option<PathBuf>> {
        let name = segment.file_name().and_then(|name| name.to_str()).unwrap_or("part");
        let to = self.dir.join(format!("{log}-{name}"));
        let is_new = !to.exists();
        make_dir(&to)?;
        let told = files::read_if_there(&to, WHY)?.unwrap_or_default();
        let mut told = String::from_utf8_lossy(&told).into_owned();
        if told.lines().any(|line| line == why) {
            return Ok(None);
        }
        for (at, file) in files.iter().enumerate() {
            match link_file(segment, &to, file) {
                Err(error) if at == 0 || error.kind() != ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        told.push_str(why);
        told.push('\n');
        // Syncs the links' names, too.
        files::replace(&to, WHY, told.as_bytes())?;
        self.parts.fetch_add(u64::from(is_new), Ordering::Relaxed);
        Ok(Some(to))
    }

    fn free_name(&self, log: &str, path: &Path) -> io::Result<PathBuf> {
        make_dir(&self.dir)?;
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or("part");
        let plain = format!("{log}-{name}");
        let others = (1_u32..).map(|nth| self.dir.join(format!("{plain}.{nth}")));
        let mut names = std::iter::once(self.dir.join(&plain)).chain(others);
        Ok(names.find(|to| !to.exists()).expect("some number is free"))
    }
}

/// The first number in the name of a part that comes from `log`.
pub(crate) fn number_in(name: &str, log: &str) -> Option<Seq> {
    let digits = name.strip_prefix(log)?.strip_prefix('-')?;
    digits.split('.').next()?.parse().ok()
}

/// Links a file of `segment` into `to`, beside an older file of that name if there is one. Copies it where the file
/// system has no links, or not from there.
fn link_file(segment: &Path, to: &Path, file: &str) -> io::Result<()> {
    let from = segment.join(file);
    let inode = |path: &Path| fs::metadata(path).map(|meta| (meta.dev(), meta.ino()));
    let others = (1_u32..).map(|nth| to.join(format!("{file}.{nth}")));
    for target in std::iter::once(to.join(file)).chain(others) {
        match fs::hard_link(&from, &target) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                if inode(&from)? == inode(&target)? {
                    return Ok(());
                }
            }
            Err(error) if has_no_links(&error) => {
                let name = target.file_name().and_then(|name| name.to_str()).unwrap_or(file);
                return files::replace_from(to, name, &mut fs::File::open(&from)?);
            }
            result => return result,
        }
    }
    Ok(())
}

/// Whether a hard link failed because there can be none.
fn has_no_links(error: &io::Error) -> bool {
    let errnos = [libc::EXDEV, libc::EPERM, libc::EOPNOTSUPP, libc::ENOSYS, libc::EMLINK];
    error.raw_os_error().is_some_and(|errno| errnos.contains(&errno))
}
