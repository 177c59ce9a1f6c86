//! What an earlier process left in a log: found, measured, and set aside where it cannot be read.
//!
//! The newest segment of each log has no closing after a kill and is read once; all others are known
//! from their headers, so that a start does not grow with the backlog. Nothing here opens the store.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::sleep;
use std::time::Duration;

use super::append::{SegmentedLog, slot_after};
use super::header;
use super::ids::{self, IdEntry};
use super::index::SegmentIndex;
use super::maintenance::Maintenance;
use super::quarantine::Quarantine;
use super::raw;
use super::segment::{LogId, SLOT, Segment};
use super::survey::{Found, Measured, cut, measure, number_of, survey};
use crate::files::{self, make_dir, sync_dir};
use crate::queue::types::{OpenError, Seq};

/// Looks at a file that the disk does not give, before the start goes on without: others wait for it.
const LOOKS: u32 = 5;
const BETWEEN_LOOKS: Duration = Duration::from_secs(1);

/// Opens the log `id` under the queue's directory, or makes it.
pub(crate) fn open_log(
    queue: &Path,
    id: LogId,
    segment_bytes: u64,
    quarantine: &Quarantine,
    maintenance: Maintenance,
) -> Result<SegmentedLog, OpenError> {
    let dir = id.dir(queue);
    let io = |error: io::Error| OpenError::from_io(&dir, &error);
    make_dir(&dir).map_err(io)?;
    let mut next = quarantine.highest(id.name()).map_or(SLOT, slot_after);
    let mut segments = Vec::new();
    for found in survey(&dir, id)? {
        let path = match &found {
            Found::Segment(segment, _) | Found::Headless(segment, _) => &segment.dir,
            Found::Unreadable(path, _) | Found::Unused(path) | Found::Foreign(path) => path,
        };
        next = number_of(path).map_or(next, |seq| next.max(slot_after(seq)));
        segments.extend(take_in(id, found, quarantine)?);
    }
    let mut kept: Vec<Segment> = Vec::with_capacity(segments.len());
    let mut segments = segments.into_iter().peekable();
    while let Some((mut segment, is_closed)) = segments.next() {
        let mut limit = segments.peek().and_then(|(after, _)| cut(&segment, after));
        if is_closed {
            segment.end = segment.end.min(limit.unwrap_or(Seq::MAX)).max(segment.first);
            limit = Some(segment.end);
        }
        // Earlier builds closed segments of the ledger without times: they would never be old.
        let is_known = is_closed && segment.times.newest_ms != i64::MAX;
        if is_known || learn(id, &mut segment, limit, quarantine)? {
            kept.push(segment);
        }
    }
    let index = SegmentIndex::new(id, kept);
    Ok(SegmentedLog::new(index, id, dir, next, segment_bytes, maintenance))
}

/// What becomes of an entry: a segment, with whether it has a closing, or nothing that counts.
fn take_in(id: LogId, found: Found, quarantine: &Quarantine) -> Result<Option<(Segment, bool)>, OpenError> {
    match found {
        Found::Segment(segment, is_closed) => Ok(Some((segment, is_closed))),
        Found::Headless(segment, why) => {
            let dir = &segment.dir;
            quarantine.keep(id.name(), dir, &format!("{why}; the segment goes on with a new one"));
            // A new file, since the evidence is a link to the old one.
            fs::remove_file(dir.join("header")).ok();
            if let Err(error) = header::write(dir, id.number(), segment.first, segment.previous_end) {
                tracing::warn!(segment = %dir.display(), %error, "its new header cannot be written; it is read without");
            }
            Ok(Some((segment, false)))
        }
        Found::Unreadable(path, why) => {
            quarantine.set_aside(id.name(), &path, &format!("{why} and no chunk can be read"))?;
            Ok(None)
        }
        Found::Unused(path) => {
            if let Err(error) = fs::remove_dir_all(&path) {
                tracing::warn!(path = %path.display(), %error, "what is not needed any more cannot be removed");
            }
            Ok(None)
        }
        Found::Foreign(path) => {
            tracing::warn!(path = %path.display(), "an unknown entry in the queue's directory is left alone");
            Ok(None)
        }
    }
}

/// Reads a segment whose closing is missing, and writes one. `false` if it had to be set aside.
fn learn(
    id: LogId,
    segment: &mut Segment,
    limit: Option<Seq>,
    quarantine: &Quarantine,
) -> Result<bool, OpenError> {
    if let Err(error) = make_durable(&segment.dir) {
        tracing::error!(segment = %segment.dir.display(), %error, "a segment cannot be synced; repeats of its events are queued again");
        segment.is_unsynced = true;
    }
    let Measured { raw, ids } = match measure_patiently(id, segment, limit) {
        Ok(Some(measured)) => measured,
        Ok(None) => {
            // The database is made before the header.
            quarantine.keep(id.name(), &segment.dir, "its database is missing");
            return Ok(true);
        }
        Err(error) => {
            quarantine.set_aside(id.name(), &segment.dir, &format!("it cannot be read: {error}"))?;
            return Ok(false);
        }
    };
    if !raw.is_readable() {
        quarantine.keep(id.name(), &segment.dir, "the disk does not give all of it; each start looks again");
        segment.is_short = true;
    }
    if let Some(torn) = raw.torn_end().filter(|_| limit.is_none()) {
        let why =
            format!("numbers {} to {} are not whole: never answered for, or damaged", segment.end, torn - 1);
        quarantine.keep(id.name(), &segment.dir, &why);
    }
    let is_whole = segment.end > segment.first && raw.gaps(segment.first..segment.end).is_empty();
    segment.raw = Some(Arc::new(raw));
    if is_whole && !segment.is_unsynced && !segment.is_short {
        let ids: Vec<IdEntry> = ids.into_iter().map(|numbered| numbered.id).collect();
        let written = ids::write(&segment.dir, segment.first, &ids);
        segment.disk.store(raw::allocated(&segment.dir), Ordering::Relaxed);
        let written = written.and_then(|()| header::close(&segment.dir, segment.first, &segment.closing()));
        if let Err(error) = written {
            tracing::warn!(segment = %segment.dir.display(), %error, "a segment's closing cannot be written");
        }
    }
    Ok(true)
}

/// Measures, again and again for some seconds where the disk does not give all of it.
fn measure_patiently(id: LogId, segment: &mut Segment, limit: Option<Seq>) -> io::Result<Option<Measured>> {
    for _ in 1..LOOKS {
        match measure(id, segment, limit) {
            Ok(None) => return Ok(None),
            Ok(Some(measured)) if measured.raw.is_readable() => return Ok(Some(measured)),
            Ok(Some(_)) | Err(_) => sleep(BETWEEN_LOOKS),
        }
    }
    measure(id, segment, limit)
}

/// A kill may have come between a write and its sync. What is found from here on counts as accepted, and
/// a producer that repeats it is told so: it must be on the disk first.
fn make_durable(dir: &Path) -> io::Result<()> {
    let db = dir.join("db");
    match File::open(&db).and_then(|file| file.sync_all()) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => {
            tracing::warn!(segment = %dir.display(), %error, "a segment cannot be synced; it is written anew");
            // The kernel counts the pages of a failed sync as written: another sync would be no proof.
            files::replace_from(dir, "db", &mut File::open(&db)?)?;
        }
        Ok(()) => {}
    }
    sync_dir(dir)?;
    sync_dir(dir.parent().unwrap_or(dir))
}
