//! Examines a segment of an earlier process and prepares it for this one.
//!
//! Invariants
//! - What cannot be read stays unchanged and is tried again.
//! - Damage is in quarantine before the segment is changed.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::header;
use super::ids::{self, IdEntry};
use super::quarantine::Quarantine;
use super::raw::{self, OnFault};
use super::segment::{LogId, Segment};
use super::settled_file;
use super::survey::{Found, Measured, SegmentDir, look_at};
use crate::files::{self, sync_dir};
use crate::queue::error::OpenError;
use crate::queue::format::bitmap::Bitmap;

/// Looks at the segment in `dir`; `next` is the directory of the one after it. `None`: there is nothing in
/// it, or not any more.
///
/// # Errors
/// If something cannot be read: it may be readable later. Or if it is of a newer format.
pub(crate) fn examine(
    id: LogId,
    dir: &SegmentDir,
    next: Option<&Path>,
    quarantine: &Quarantine,
) -> Result<Option<Segment>, OpenError> {
    let found = look_at(id, dir, next, OnFault::Stop, is_durable)?;
    if found.segment().is_some_and(|segment| segment.has_damaged_note) {
        let kept = quarantine.keep_file(id.name(), &dir.path, settled_file::FILE, settled_file::DAMAGED);
        kept.map_err(|error| OpenError::reading(&dir.path, &error))?;
    }
    match found {
        Found::Closed(segment) => Ok(Some(*segment)),
        Found::Measured(measured) => take_over(id, *measured, quarantine).map(Some),
        Found::Unused => {
            if let Err(error) = fs::remove_dir_all(&dir.path) {
                tracing::warn!(path = %dir.path.display(), %error, "cannot remove an unused directory");
            }
            Ok(None)
        }
        Found::Empty(fault) => {
            quarantine.set_aside(id.name(), &dir.path, &format!("{fault} and no whole chunk is in it"))?;
            Ok(None)
        }
    }
}

/// Makes a segment without a closing one with a closing, as far as it is whole.
fn take_over(id: LogId, measured: Measured, quarantine: &Quarantine) -> Result<Segment, OpenError> {
    let Measured { mut segment, raw, ids, header_fault, torn } = measured;
    let dir = segment.dir.clone();
    let db = dir.join("db");
    let Some(raw) = raw else {
        // The database is made before the header.
        return Err(OpenError::Storage(format!("{} is missing: put it back", db.display())));
    };
    if let Some(fault) = raw.fault() {
        return Err(OpenError::Storage(format!("{}: {fault}", segment.dir.display())));
    }
    let not_kept = |error: io::Error| OpenError::reading(&dir, &error);
    if let Some(fault) = header_fault {
        let why = format!("{fault}; the segment goes on with a new one");
        quarantine.keep(id.name(), &dir, &why).map_err(not_kept)?;
        // A new file, since the evidence is a link to the old one.
        let written = header::write(&segment.dir, id.number(), segment.first, segment.previous_end);
        if let Err(error) = written {
            tracing::warn!(segment = %segment.dir.display(), %error, "cannot write a new header; reading the segment without one");
        }
    }
    for range in &torn {
        let last = range.end - 1;
        let why = format!("numbers {} to {last} are incomplete: never acknowledged, or damaged", range.start);
        quarantine.keep_torn(id.name(), &dir, &why).map_err(not_kept)?;
    }
    if let Err(error) = pass_over(id, &mut segment, &torn) {
        tracing::warn!(segment = %segment.dir.display(), %error, "cannot record the incomplete append");
    }
    let gaps = raw.gaps(segment.first..segment.end);
    let is_whole = segment.end > segment.first && segment.unsettled_of(&gaps).is_empty();
    segment.raw = Some(Arc::new(raw));
    segment.disk.store(raw::allocated(&segment.dir), Ordering::Relaxed);
    if is_whole && !segment.is_unsynced {
        // The file numbers them without gaps.
        let has_ids = gaps.is_empty() && id != LogId::Ledger;
        let ids: Vec<IdEntry> = ids.into_iter().map(|numbered| numbered.id).collect();
        let written = if has_ids { ids::write(&segment.dir, segment.first, &ids) } else { Ok(()) };
        let written = written.and_then(|()| header::close(&segment.dir, segment.first, &segment.closing()));
        if let Err(error) = written {
            tracing::warn!(segment = %segment.dir.display(), %error, "cannot write a segment's closing record");
        }
    }
    Ok(segment)
}

/// Notes that torn numbers within the segment do not wait: nobody was answered for them.
fn pass_over(id: LogId, segment: &mut Segment, torn: &[std::ops::Range<u64>]) -> io::Result<()> {
    let end = segment.end;
    let mut noted = settled_file::read(&segment.dir, id, segment.first)?.settled;
    let before: Bitmap = noted.clone();
    torn.iter().cloned().flatten().filter(|seq| *seq < end).for_each(|seq| {
        noted.insert(seq);
    });
    segment.settle_all(&noted);
    if noted == before { Ok(()) } else { settled_file::write(&segment.dir, id, &noted) }
}

/// A kill may have come between a write and its sync. What is found from here on counts as accepted, and
/// a producer that repeats it hears that: it must be on the disk first.
fn is_durable(dir: &Path) -> bool {
    let result = make_durable(dir);
    if let Err(error) = &result {
        tracing::error!(segment = %dir.display(), %error, "cannot sync a segment; its events are not used for deduplication");
    }
    result.is_ok()
}

fn make_durable(dir: &Path) -> io::Result<()> {
    let db = dir.join("db");
    match File::open(&db).and_then(|file| file.sync_all()) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => {
            tracing::warn!(segment = %dir.display(), %error, "cannot sync a segment; rewriting its file");
            // The kernel counts the pages of a failed sync as written: another sync would be no proof.
            files::replace_from(dir, "db", &mut File::open(&db)?)?;
        }
        Ok(()) => {}
    }
    sync_dir(dir)?;
    sync_dir(dir.parent().unwrap_or(dir))
}
