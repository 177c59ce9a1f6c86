//! Scans a log's directory. Read-only: at the start, while running, and for offline commands.
//!
//! A read error is never treated as absence or damage: it allows nothing but another try.

use std::fs;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::header::{self, Header, TimeRange, UNKNOWN_END};
use super::ids::{IdEntry, Identity, NumberedId};
use super::raw::{OnFault, RawFile};
use super::segment::{LogId, SLOT, Segment};
use super::settled_file;
use crate::event::Envelope;
use crate::queue::error::OpenError;
use crate::queue::format::chunk::{self, Chunk, Cursor};
use crate::queue::format::{event, letter};
use crate::queue::types::Seq;

/// One entry of a log's directory.
#[derive(Debug)]
pub(crate) enum LogDirEntry {
    /// A segment, by its name.
    Segment(SegmentDir),
    /// Deleted half.
    Deleted(PathBuf),
    /// Not ours by its name.
    Foreign(PathBuf),
}

/// A segment's directory.
#[derive(Clone, Debug)]
pub(crate) struct SegmentDir {
    pub(crate) path: PathBuf,
    /// First number, by its name.
    pub(crate) first: Seq,
}

/// Everything in `dir`, in order of the names.
///
/// # Errors
/// If the directory cannot be read.
pub(crate) fn list(dir: &Path) -> io::Result<Vec<LogDirEntry>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        paths.push((entry.path(), entry.file_type()?.is_dir()));
    }
    paths.sort();
    let entry = |(path, is_dir): (PathBuf, bool)| {
        if path.extension().is_some_and(|ending| ending == "gone") {
            return LogDirEntry::Deleted(path);
        }
        let first = path.file_name().and_then(|name| name.to_str()?.parse().ok());
        match first {
            Some(first) if is_dir => LogDirEntry::Segment(SegmentDir { path, first }),
            _ => LogDirEntry::Foreign(path),
        }
    };
    Ok(paths.into_iter().map(entry).collect())
}

/// The number in a directory's name, whatever its ending.
pub(crate) fn number_of(path: &Path) -> Option<Seq> {
    path.file_stem()?.to_str()?.parse().ok()
}

/// What a segment's directory holds.
#[derive(Debug)]
pub(crate) enum Found {
    /// Known from its header.
    Closed(Box<Segment>),
    /// Without a closing: its chunks were read.
    Measured(Box<Measured>),
    /// Made ahead of time and never used.
    Unused,
    /// What is wrong with its header; no chunk in it is whole.
    Empty(&'static str),
}

impl Found {
    /// The segment, if there is one.
    pub(crate) fn segment(&self) -> Option<&Segment> {
        match self {
            Found::Closed(segment) => Some(segment),
            Found::Measured(measured) => Some(&measured.segment),
            Found::Unused | Found::Empty(_) => None,
        }
    }
}

/// A segment that was learned from its chunks.
#[derive(Debug)]
pub(crate) struct Measured {
    pub(crate) segment: Segment,
    /// `None`: its database is missing.
    pub(crate) raw: Option<RawFile>,
    /// Who is in it.
    pub(crate) ids: Vec<NumberedId>,
    /// What is wrong with its header.
    pub(crate) header_fault: Option<&'static str>,
    /// What the last append left in part: it was never answered for, or damaged since. The end of the
    /// last of these may lie beyond the segment's.
    pub(crate) torn: Vec<Range<Seq>>,
}

/// Looks at a segment; `next` is the directory of the one after it. `before` is called before its chunks
/// are read, and says whether they are on stable storage.
///
/// # Errors
/// If something cannot be read, or is of a newer format.
pub(crate) fn look_at(
    id: LogId,
    dir: &SegmentDir,
    next: Option<&Path>,
    on_fault: OnFault,
    before: impl FnOnce(&Path) -> bool,
) -> Result<Found, OpenError> {
    let (path, first) = (&dir.path, dir.first);
    let mut limit = None;
    let (mut segment, header_fault) = match header_of(id, path)? {
        Header::Valid { first: named, previous_end, closing } if named == first => {
            let mut segment = Segment::new(path.clone(), first, previous_end, None);
            limit = closing.map(|closing| closing.end);
            // Earlier builds closed segments of the ledger without times: they would never be old.
            if let Some(closing) = closing.filter(|closing| closing.times.newest_ms != i64::MAX) {
                segment.closed_with(&closing);
                settle_as_noted(id, &mut segment)?;
                return Ok(Found::Closed(Box::new(segment)));
            }
            (segment, None)
        }
        Header::Valid { previous_end, .. } => {
            let segment = Segment::new(path.clone(), first, previous_end, None);
            (segment, Some("its header names another number than its directory"))
        }
        Header::Damaged => {
            (Segment::new(path.clone(), first, UNKNOWN_END, None), Some("its header is damaged"))
        }
        Header::Missing => {
            (Segment::new(path.clone(), first, UNKNOWN_END, None), Some("its header is missing"))
        }
        Header::Newer(version) => return Err(OpenError::Newer { path: path.clone(), version }),
    };
    if let (None, Some(next)) = (limit, next) {
        limit = end_by(first, &header_of(id, next)?);
    }
    segment.is_unsynced = !before(path);
    let raw =
        scan(id, first, path, on_fault).map_err(|error| OpenError::reading(&path.join("db"), &error))?;
    let has_none = raw.as_ref().is_none_or(|raw| raw.places().is_empty() && raw.fault().is_none());
    let is_torn = raw.as_ref().is_some_and(|raw| raw.torn_end().is_some());
    match header_fault {
        Some("its header is missing") if has_none && !is_torn => return Ok(Found::Unused),
        Some(fault) if has_none => return Ok(Found::Empty(fault)),
        _ => {}
    }
    let mut measured = Measured { segment, raw, ids: Vec::new(), header_fault, torn: Vec::new() };
    measured.measure(limit).map_err(|error| OpenError::reading(&path.join("db"), &error))?;
    settle_as_noted(id, &mut measured.segment)?;
    Ok(Found::Measured(Box::new(measured)))
}

fn header_of(id: LogId, dir: &Path) -> Result<Header, OpenError> {
    header::read(dir, id.number()).map_err(|error| OpenError::reading(&dir.join(header::FILE), &error))
}

fn settle_as_noted(id: LogId, segment: &mut Segment) -> Result<(), OpenError> {
    let noted = settled_file::read(&segment.dir, id, segment.first);
    let path = segment.dir.join(settled_file::FILE);
    let noted = noted.map_err(|error| OpenError::reading(&path, &error))?;
    segment.settle_all(&noted.settled);
    segment.has_damaged_note = noted.is_damaged;
    Ok(())
}

/// How far the segment that begins at `first` counts, if the header of the next one speaks of it: what
/// lies beyond was refused.
fn end_by(first: Seq, next: &Header) -> Option<Seq> {
    let Header::Valid { previous_end, .. } = next else { return None };
    (first - 1..first + SLOT).contains(previous_end).then(|| previous_end + 1)
}

impl Measured {
    /// Learns what the segment holds from its chunks.
    fn measure(&mut self, limit: Option<Seq>) -> io::Result<()> {
        let (Some(raw), segment) = (&self.raw, &mut self.segment) else { return Ok(()) };
        // Where the next header says how far it was synced, what is missing before that is missing.
        segment.end = limit.or(raw.end()).unwrap_or(segment.first).max(segment.first);
        self.ids = ids_of(raw)?;
        self.ids.retain(|numbered| numbered.number < segment.end);
        segment.bytes = raw.places().iter().map(|place| place.length() as u64).sum();
        segment.times = TimeRange::of(self.ids.iter().map(|numbered| numbered.id.at_ms));
        if limit.is_some() {
            return Ok(());
        }
        // No append came after the last one: only of it is it not known that it was synced.
        if let Some(last_append) = raw.last_append() {
            self.torn = raw.gaps(last_append..segment.end);
        }
        self.torn.extend(raw.torn_end().map(|torn_end| segment.end..torn_end));
        Ok(())
    }
}

/// Finds the chunks of a segment that begins at `first`.
pub(crate) fn scan(id: LogId, first: Seq, dir: &Path, on_fault: OnFault) -> io::Result<Option<RawFile>> {
    RawFile::scan(dir, on_fault, |chunk: &Chunk<'_>| {
        // Records that this build cannot understand are as good as missing: reported and kept, not tried for
        // ever. Of a torn chunk only the head is known.
        let is_understood = || match id {
            _ if chunk.records.is_empty() => true,
            LogId::Lane(_) => event::decode(chunk).is_ok(),
            LogId::Dead => letter::decode(chunk).is_ok(),
            LogId::Ledger => true,
        };
        id.holds(chunk.kind) && (first..first + SLOT).contains(&chunk.first) && is_understood()
    })
}

/// Who the records of a file are.
///
/// # Errors
/// If a chunk cannot be read any more.
pub(crate) fn ids_of(raw: &RawFile) -> io::Result<Vec<NumberedId>> {
    let mut found = Vec::new();
    for chunk in raw.chunks() {
        let chunk = chunk?;
        let chunk = chunk.chunk();
        match chunk.kind {
            chunk::Kind::Events(_) => {
                for stored in event::decode(&chunk).unwrap_or_default() {
                    let id = id_of(&stored.event, stored.event.accepted_at_ms);
                    found.push(NumberedId { number: stored.seq, id });
                }
            }
            chunk::Kind::Letters => {
                for letter in letter::decode(&chunk).unwrap_or_default() {
                    let id = id_of(&letter.stored.event, letter.died_at_ms);
                    found.push(NumberedId { number: letter.number, id });
                }
            }
            chunk::Kind::Entries => {
                // Times are the first field of an entry (`entry`).
                if let Ok(at) = Cursor(chunk.records).array() {
                    let identity = Identity { event_id: uuid::Uuid::nil(), array: 0 };
                    let id = IdEntry { identity, at_ms: i64::from_le_bytes(at), lane: 0 };
                    found.push(NumberedId { number: chunk.first, id });
                }
            }
            chunk::Kind::Snapshot => {}
        }
    }
    Ok(found)
}

fn id_of(event: &Envelope, at_ms: i64) -> IdEntry {
    IdEntry { identity: Identity::of(event), at_ms, lane: event.lane as u8 }
}
