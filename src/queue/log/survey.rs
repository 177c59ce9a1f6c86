//! What lies in a log's directory. Reads only: for the start, and for a look from outside.

use std::fs;
use std::path::{Path, PathBuf};

use super::header::{self, Header, TimeRange, UNKNOWN_END};
use super::ids::{IdEntry, Identity, NumberedId};
use super::raw::{self, RawFile};
use super::segment::{LogId, SLOT, Segment};
use crate::event::Envelope;
use crate::queue::format::chunk::{self, Chunk, Cursor};
use crate::queue::format::event;
use crate::queue::format::letter;
use crate::queue::types::{OpenError, Seq};

/// One entry of a log's directory.
#[derive(Debug)]
pub(crate) enum Found {
    /// Whose header is whole. Without a closing it is as yet empty: [`measure`] it.
    Segment(Segment, bool),
    /// Its chunks can be read, or perhaps later, its header cannot.
    Headless(Segment, &'static str),
    /// Neither can.
    Unreadable(PathBuf, &'static str),
    /// Made ahead of time and never used, or deleted half.
    Unused(PathBuf),
    /// Not ours by its name.
    Foreign(PathBuf),
}

/// Looks at everything in `dir`, in order of the names.
///
/// # Errors
/// If the directory cannot be read or holds a segment of a newer format.
pub(crate) fn survey(dir: &Path, id: LogId) -> Result<Vec<Found>, OpenError> {
    let io = |error: std::io::Error| OpenError::from_io(dir, &error);
    let mut paths = fs::read_dir(dir)
        .map_err(io)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<std::io::Result<Vec<PathBuf>>>()
        .map_err(io)?;
    paths.sort();
    paths.into_iter().map(|path| look_at(id, path)).collect()
}

/// The number in a directory's name, whatever its ending.
pub(crate) fn number_of(path: &Path) -> Option<Seq> {
    path.file_stem()?.to_str()?.parse().ok()
}

fn look_at(id: LogId, path: PathBuf) -> Result<Found, OpenError> {
    if path.extension().is_some_and(|ending| ending == "gone") {
        return Ok(Found::Unused(path));
    }
    let name = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse::<Seq>().ok());
    let (Some(name), true) = (name, path.is_dir()) else { return Ok(Found::Foreign(path)) };
    let headless = |path: PathBuf, previous_end, why| {
        if raw::may_hold(&path, |chunk| id.holds(chunk.kind)) {
            return Found::Headless(Segment::new(path, name, previous_end, None), why);
        }
        Found::Unreadable(path, why)
    };
    Ok(match header::read(&path, id.number()) {
        (Header::Newer(version), _) => return Err(OpenError::Newer { path, version }),
        (Header::Valid { first, previous_end }, closing) if first == name => {
            let mut segment = Segment::new(path, first, previous_end, None);
            if let Some(closing) = &closing {
                segment.closed_with(closing);
            }
            Found::Segment(segment, closing.is_some())
        }
        (Header::Valid { previous_end, .. }, _) => {
            headless(path, previous_end, "its header names another number than its directory")
        }
        (Header::Damaged, _) => headless(path, UNKNOWN_END, "its header is damaged"),
        (Header::Missing, _) => match headless(path, UNKNOWN_END, "its header is missing") {
            Found::Unreadable(path, _) => Found::Unused(path),
            found => found,
        },
    })
}

/// How far `before` counts, if the header of `after` speaks of it: what lies beyond was refused.
pub(crate) fn cut(before: &Segment, after: &Segment) -> Option<Seq> {
    let speaks_of_it = (before.first - 1..before.first + SLOT).contains(&after.previous_end);
    speaks_of_it.then(|| after.previous_end + 1)
}

/// The chunks of a segment, and who is in them.
#[derive(Debug)]
pub(crate) struct Measured {
    pub(crate) raw: RawFile,
    pub(crate) ids: Vec<NumberedId>,
}

/// Learns what a segment without a closing holds, from its chunks. Gives them with who is in them.
pub(crate) fn measure(
    id: LogId,
    segment: &mut Segment,
    limit: Option<Seq>,
) -> std::io::Result<Option<Measured>> {
    let Some(raw) = scan(id, segment.first, &segment.dir)? else { return Ok(None) };
    // Where the next header says how far it was synced, what is missing before that is missing.
    segment.end = limit.or(raw.end()).unwrap_or(segment.first).max(segment.first);
    let mut ids = ids_of(&raw);
    ids.retain(|numbered| numbered.number < segment.end);
    segment.bytes = raw.places().iter().map(|place| place.length() as u64).sum();
    segment.times = TimeRange::of(ids.iter().map(|numbered| numbered.id.at_ms));
    Ok(Some(Measured { raw, ids }))
}

/// Finds the chunks of a closed segment that begins at `first`.
pub(crate) fn scan(id: LogId, first: Seq, dir: &Path) -> std::io::Result<Option<RawFile>> {
    RawFile::scan(dir, |chunk: &Chunk<'_>| {
        // Events that this build cannot understand are as good as missing: told and kept, not tried for ever.
        // Of a torn chunk only the head is known.
        let is_understood =
            || !matches!(id, LogId::Lane(_)) || chunk.records.is_empty() || event::decode(chunk).is_ok();
        id.holds(chunk.kind) && (first..first + SLOT).contains(&chunk.first) && is_understood()
    })
}

/// Who the records of a file are.
pub(crate) fn ids_of(raw: &RawFile) -> Vec<NumberedId> {
    let mut found = Vec::new();
    for place in raw.places() {
        let Ok(bytes) = raw.read(*place) else { continue };
        let Ok(chunk) = chunk::decode(&bytes) else { continue };
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
    found
}

fn id_of(event: &Envelope, at_ms: i64) -> IdEntry {
    IdEntry { identity: Identity::of(event), at_ms, lane: event.lane as u8 }
}
