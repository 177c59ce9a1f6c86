//! What an earlier process left in a row: found, measured, and set aside where it cannot be read.
//!
//! The newest segment of each row has no closing after a kill and is read once; all others are known
//! from their headers, so that a start does not grow with the backlog. Nothing here opens the store.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::chunk::{self, Chunk, Cursor};
use super::header::{self, Header, UNKNOWN_END};
use super::idents::{self, Ident, Identity};
use super::keeper::Keeper;
use super::letter;
use super::quarantine::Quarantine;
use super::raw::{self, RawFile};
use super::record;
use super::row::{Row, slot_after};
use super::segment::{RowId, SLOT, Segment};
use super::types::{OpenError, Seq};

/// Opens the row `id` under the queue's directory, or makes it.
pub(super) fn open_row(
    queue: &Path,
    id: RowId,
    segment_bytes: u64,
    quarantine: &Quarantine,
    keeper: Keeper,
) -> Result<Row, OpenError> {
    let dir = id.dir(queue);
    let io = |error: std::io::Error| OpenError::from_io(&dir, &error);
    fs::create_dir_all(&dir).map_err(io)?;
    let mut next = quarantine.highest(id.name()).map_or(SLOT, slot_after);
    let mut segments = Vec::new();
    for path in sorted_entries(&dir).map_err(io)? {
        if let Some(seq) = number_of(&path) {
            next = next.max(slot_after(seq));
        }
        if let Some(segment) = found(id, path, quarantine)? {
            segments.push(segment);
        }
    }
    cut_what_was_refused(&mut segments);
    for at in 0..segments.len() {
        let limit = segments.get(at + 1).and_then(cut);
        if segments[at].end == segments[at].first && segments[at].bytes == 0 {
            measure(id, &mut segments[at], limit, quarantine);
        }
    }
    Ok(Row::new(id, dir, segments, next, segment_bytes, keeper))
}

fn sorted_entries(dir: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut paths = fs::read_dir(dir)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<std::io::Result<Vec<PathBuf>>>()?;
    paths.sort();
    Ok(paths)
}

/// The number in a directory's name, whatever its ending.
fn number_of(path: &Path) -> Option<Seq> {
    path.file_stem()?.to_str()?.parse().ok()
}

/// What lies at `path`: a segment, or nothing that counts. A segment whose closing is whole is known
/// with it, any other is as yet empty.
fn found(id: RowId, path: PathBuf, quarantine: &Quarantine) -> Result<Option<Segment>, OpenError> {
    let io = |error: std::io::Error| OpenError::from_io(&path, &error);
    if path.extension().is_some_and(|ending| ending == "gone") {
        fs::remove_dir_all(&path).map_err(io)?;
        return Ok(None);
    }
    let name = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse::<Seq>().ok());
    let (Some(name), true) = (name, path.is_dir()) else {
        // Not ours by its name: left alone.
        tracing::warn!(path = %path.display(), "an unknown entry in the queue's directory is left alone");
        return Ok(None);
    };
    let previous_end = match header::read(&path, id.id()) {
        (Header::Newer(version), _) => return Err(OpenError::Newer { path, version }),
        (Header::Valid { first, previous_end }, closing) if first == name => {
            let mut segment = Segment::new(path, first, previous_end, None);
            if let Some(closing) = closing {
                segment.closed_with(&closing);
            }
            return Ok(Some(segment));
        }
        (Header::Missing, _) if !holds_chunks(id, &path) => {
            fs::remove_dir_all(&path).map_err(io)?;
            return Ok(None);
        }
        (_, _) if !holds_chunks(id, &path) => {
            quarantine.set_aside(id.name(), &path, "its header is damaged and no chunk can be read")?;
            return Ok(None);
        }
        (Header::Valid { previous_end, .. }, _) => previous_end,
        (Header::Damaged | Header::Missing, _) => UNKNOWN_END,
    };
    quarantine.keep(id.name(), &path, "its header is damaged; the segment goes on with a new one");
    // A new file: the evidence is a link to the old one.
    fs::remove_file(path.join("header")).ok();
    header::write(&path, id.id(), name, previous_end).map_err(io)?;
    Ok(Some(Segment::new(path, name, previous_end, None)))
}

fn holds_chunks(id: RowId, dir: &Path) -> bool {
    raw::holds(dir, |chunk| id.holds(chunk.kind))
}

/// How far the segment before `after` counts, if its header says so.
fn cut(after: &Segment) -> Option<Seq> {
    (after.previous_end != UNKNOWN_END).then(|| after.previous_end + 1)
}

/// What lies beyond the next segment's `previous_end` was refused.
fn cut_what_was_refused(segments: &mut [Segment]) {
    for at in 1..segments.len() {
        if let Some(cut) = cut(&segments[at]) {
            let before = &mut segments[at - 1];
            before.end = before.end.min(cut.max(before.first));
        }
    }
}

/// Reads a segment whose closing is missing, and writes one.
fn measure(id: RowId, segment: &mut Segment, limit: Option<Seq>, quarantine: &Quarantine) {
    let raw = match scan(id, segment.first, &segment.dir) {
        Ok(Some(raw)) => raw,
        Ok(None) => return,
        Err(error) => {
            quarantine.keep(id.name(), &segment.dir, &format!("it cannot be read: {error}"));
            return;
        }
    };
    let limit = limit.map_or(Seq::MAX, |limit| limit.max(segment.first));
    segment.end = raw.end().unwrap_or(segment.first).min(limit);
    if segment.end == segment.first {
        return;
    }
    let idents = idents_of(&raw);
    segment.bytes = raw.places().iter().map(|place| place.length() as u64).sum();
    segment.note_times(idents.iter().map(|(_, ident)| ident.at_ms));
    let segment_is_whole = raw.gaps(segment.first, segment.end).is_empty();
    segment.raw = Some(Arc::new(raw));
    if segment_is_whole {
        let idents: Vec<Ident> = idents.into_iter().map(|(_, ident)| ident).collect();
        let written = idents::write(&segment.dir, segment.first, &idents);
        let disk = raw::allocated(&segment.dir);
        segment.disk.store(disk, std::sync::atomic::Ordering::Relaxed);
        let written = written.and_then(|()| header::close(&segment.dir, segment.first, &segment.closing()));
        if let Err(error) = written {
            tracing::warn!(segment = %segment.dir.display(), %error, "a segment's closing cannot be written");
        }
    }
}

/// Finds the chunks of a closed segment that begins at `first`.
pub(super) fn scan(id: RowId, first: Seq, dir: &Path) -> std::io::Result<Option<RawFile>> {
    RawFile::scan(dir, |chunk: &Chunk<'_>| {
        id.holds(chunk.kind) && (first..first + SLOT).contains(&chunk.first)
    })
}

/// Who the records of a file are, with their numbers.
pub(super) fn idents_of(raw: &RawFile) -> Vec<(Seq, Ident)> {
    let mut found = Vec::new();
    for place in raw.places() {
        let Ok(bytes) = raw.read(*place) else { continue };
        let Ok(chunk) = chunk::decode(&bytes) else { continue };
        match chunk.kind {
            chunk::Kind::Events(lane) => {
                for stored in record::decode(&chunk).unwrap_or_default() {
                    let identity = Identity::of(&stored.event);
                    let at_ms = stored.event.accepted_at_ms;
                    found.push((stored.seq, Ident { identity, at_ms, lane: lane as u8 }));
                }
            }
            chunk::Kind::Letters => {
                for letter in letter::decode(&chunk).unwrap_or_default() {
                    let event = &letter.stored.event;
                    let identity = Identity::of(event);
                    let lane = event.lane as u8;
                    found.push((letter.number, Ident { identity, at_ms: letter.died_at_ms, lane }));
                }
            }
            chunk::Kind::Entries => {
                // Times are the first field of an entry (`entry`).
                if let Ok(at) = Cursor(chunk.records).array() {
                    let identity = Identity { event_id: uuid::Uuid::nil(), array: 0 };
                    found.push((chunk.first, Ident { identity, at_ms: i64::from_le_bytes(at), lane: 0 }));
                }
            }
            chunk::Kind::Snapshot => {}
        }
    }
    found
}
