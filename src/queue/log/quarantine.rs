//! What could not be read: set aside with its reason, told once, counted.
//!
//! `quarantine/<log>-<first>/` holds the directory as it was found, or a second link to its files, and
//! `why.txt`. Its name counts when numbers are given, so that none is used twice.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::files::sync_dir;
use crate::queue::types::{OpenError, Seq};

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

    /// How many parts lie there.
    pub(crate) fn parts(&self) -> u64 {
        self.parts.load(Ordering::Relaxed)
    }

    /// The highest first number that was set aside from `log`.
    pub(crate) fn highest(&self, log: &str) -> Option<Seq> {
        let entries = fs::read_dir(&self.dir).into_iter().flatten().flatten();
        let first = |name: &str| {
            let digits = name.strip_prefix(log)?.strip_prefix('-')?;
            digits.split('.').next()?.parse::<Seq>().ok()
        };
        entries.filter_map(|entry| first(entry.file_name().to_str()?)).max()
    }

    /// Moves `path` away.
    pub(crate) fn set_aside(&self, log: &str, path: &Path, why: &str) -> Result<(), OpenError> {
        let to = self.free_name(log, path)?;
        let moved = fs::rename(path, &to).and_then(|()| {
            if let Err(error) = fs::write(to.join("why.txt"), format!("{why}\n")) {
                tracing::warn!(%error, "the reason stands only here");
            }
            sync_dir(&self.dir)?;
            sync_dir(path.parent().unwrap_or(path))
        });
        moved.map_err(|error| OpenError::from_io(&self.dir, &error))?;
        self.parts.fetch_add(1, Ordering::Relaxed);
        tracing::error!(part = %path.display(), quarantine = %to.display(), why, "a part of the queue was set aside");
        Ok(())
    }

    /// Keeps the files of `segment` as evidence while the segment lives on. Each reason is told once.
    pub(crate) fn keep(&self, log: &str, segment: &Path, why: &str) {
        let Some(name) = segment.file_name().and_then(|name| name.to_str()) else { return };
        let to = self.dir.join(format!("{log}-{name}"));
        let told = fs::read_to_string(to.join("why.txt")).unwrap_or_default();
        if told.lines().any(|line| line == why) {
            return;
        }
        tracing::error!(segment = %segment.display(), quarantine = %to.display(), why, "a part of the queue cannot be read");
        if !to.exists() {
            self.parts.fetch_add(1, Ordering::Relaxed);
        }
        let kept = fs::create_dir_all(&to).and_then(|()| {
            for file in ["header", "db"] {
                match fs::hard_link(segment.join(file), to.join(file)) {
                    Err(error) if !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::AlreadyExists) => {
                        return Err(error);
                    }
                    _ => {}
                }
            }
            fs::write(to.join("why.txt"), format!("{told}{why}\n"))
        });
        if let Err(error) = kept {
            tracing::error!(%error, quarantine = %to.display(), "what cannot be read could not be kept");
        }
    }

    fn free_name(&self, log: &str, path: &Path) -> Result<PathBuf, OpenError> {
        fs::create_dir_all(&self.dir).map_err(|error| OpenError::from_io(&self.dir, &error))?;
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or("part");
        let plain = format!("{log}-{name}");
        let others = (1_u32..).map(|nth| self.dir.join(format!("{plain}.{nth}")));
        let mut names = std::iter::once(self.dir.join(&plain)).chain(others);
        Ok(names.find(|to| !to.exists()).expect("some number is free"))
    }
}
