//! Directories of a lane and of the quarantine: what is there, and how a segment is set aside.

use std::fs;
use std::path::{Path, PathBuf};

use crate::event::Lane;

use super::store::sync_dir;
use super::types::{OpenError, Seq};

/// Sequence numbers skipped after what could not be read: more than a segment can hold.
pub(super) const QUARANTINE_GAP: u64 = 1 << 32;

pub(super) fn sorted_dirs(dir: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(dir)?.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?;
    paths.retain(|path| path.is_dir());
    paths.sort();
    Ok(paths)
}

pub(super) fn name_of(path: &Path) -> Option<Seq> {
    path.file_name()?.to_str()?.parse().ok()
}

/// Above every number of the lane's segments under `quarantine`.
pub(super) fn end_of_quarantined(quarantine: &Path, lane: Lane) -> Seq {
    let prefix = format!("{}-", lane.name());
    let first = |name: &str| name.strip_prefix(&prefix)?.parse::<Seq>().ok();
    let entries = fs::read_dir(quarantine).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| first(entry.file_name().to_str()?))
        .max()
        .map_or(1, |first| first + QUARANTINE_GAP)
}

pub(super) fn set_aside(path: &Path, quarantine: &Path, why: &str) -> Result<PathBuf, OpenError> {
    let io = |error: std::io::Error| OpenError::from_io(quarantine, &error);
    fs::create_dir_all(quarantine).map_err(io)?;
    let lane = path.parent().and_then(Path::file_name).and_then(|name| name.to_str()).unwrap_or("lane");
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or("segment");
    // The plain name counts when numbers are given; a second one of the same name gets an ending.
    let plain = quarantine.join(format!("{lane}-{name}"));
    let others = (1..).map(|nth| plain.with_extension(nth.to_string()));
    let to = std::iter::once(plain.clone()).chain(others).find(|to| !to.exists()).expect("some name is free");
    fs::rename(path, &to).map_err(io)?;
    sync_dir(quarantine).map_err(io)?;
    tracing::error!(segment = %path.display(), quarantine = %to.display(), why, "a segment was set aside");
    Ok(to)
}
