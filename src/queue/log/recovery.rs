//! Opens a log at the start: what an earlier process left in it.
//!
//! The newest segment of each log has no closing after a kill and is read once; all others are known
//! from their headers, so that a start does not grow with the backlog. Nothing here opens the store. A
//! segment that cannot be read stays in its place, unknown: its lane holds there until a later look.

use std::fs;
use std::path::Path;

use super::append::{SegmentedLog, slot_after};
use super::examine::examine;
use super::index::SegmentIndex;
use super::maintenance::Maintenance;
use super::quarantine::Quarantine;
use super::segment::{FailedLook, LogId, SLOT, Segment};
use super::survey::{LogDirEntry, list, number_of};
use crate::clock::Mono;
use crate::files::make_dir;
use crate::queue::error::OpenError;

/// Opens the log `id` under the queue's directory, or makes it.
pub(crate) fn open_log(
    queue: &Path,
    id: LogId,
    segment_bytes: u64,
    quarantine: &Quarantine,
    maintenance: Maintenance,
    now: Mono,
) -> Result<SegmentedLog, OpenError> {
    let dir = id.dir(queue);
    make_dir(&dir).map_err(|error| OpenError::from_io(&dir, &error))?;
    let highest = quarantine.highest(id.name());
    let highest = highest.map_err(|error| OpenError::reading(quarantine.dir(), &error))?;
    let mut next = highest.map_or(SLOT, slot_after);
    let mut dirs = Vec::new();
    for entry in list(&dir).map_err(|error| OpenError::reading(&dir, &error))? {
        let path = match entry {
            LogDirEntry::Segment(segment) => {
                dirs.push(segment.clone());
                segment.path
            }
            LogDirEntry::Deleted(path) => {
                if let Err(error) = fs::remove_dir_all(&path) {
                    tracing::warn!(path = %path.display(), %error, "cannot remove an unused directory");
                }
                path
            }
            LogDirEntry::Foreign(path) => {
                tracing::warn!(path = %path.display(), "an unknown entry in the queue's directory is left alone");
                path
            }
        };
        next = number_of(&path).map_or(next, |seq| next.max(slot_after(seq)));
    }
    let mut segments = Vec::with_capacity(dirs.len());
    for (at, segment) in dirs.iter().enumerate() {
        let after = dirs.get(at + 1).map(|after| after.path.as_path());
        match examine(id, segment, after, quarantine) {
            Ok(found) => segments.extend(found),
            // Of the ledger, the reader decides whether it can do without.
            Err(OpenError::Storage(fault)) => {
                if id != LogId::Ledger {
                    tracing::error!(segment = %segment.path.display(), fault, "a segment cannot be read; it is tried again, and later records wait behind it");
                }
                let unread = FailedLook::after(None, fault, now);
                segments.push(Segment::unknown(segment.path.clone(), segment.first, unread));
            }
            Err(error) => return Err(error),
        }
    }
    let index = SegmentIndex::new(id, segments);
    Ok(SegmentedLog::new(index, id, dir, next, segment_bytes, maintenance))
}
