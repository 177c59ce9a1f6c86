//! A segment's `ids` file: which events were accepted in it, for deduplication after a restart.
//!
//! ```text
//! magic 8 · first u64 · count u32 · crc32c u32 of the entries · entries
//! entry: event_id 16 · array u32 (crc32c of its name) · at i64 · lane u8 · 0 0 0
//! ```
//! It outlives its segment until the dedupe window has passed. An optimisation: without it the
//! segment's chunks are read.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use uuid::Uuid;

use crate::event::Envelope;

use crate::files;
use crate::queue::format::chunk::{Cursor, u32_of};
use crate::queue::types::Seq;

/// Ids remembered at most, over all segments.
pub(crate) const MAX_IDS: usize = 500_000;

const MAGIC: [u8; 8] = *b"TRKIDS\x00\x01";
const ENTRY: usize = 32;
/// As many ids as are remembered, and one segment's more.
const MAX_BYTES: u64 = (MAX_IDS * ENTRY) as u64 + (4 << 20);

/// Name of the file.
pub(crate) const FILE: &str = "ids";

/// What makes an event the same event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Identity {
    pub(crate) event_id: Uuid,
    /// CRC32C of the array's name.
    pub(crate) array: u32,
}

impl Identity {
    pub(crate) fn of(event: &Envelope) -> Self {
        Self { event_id: event.event_id, array: crc32c::crc32c(event.array.name().as_bytes()) }
    }
}

/// One event of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct IdEntry {
    pub(crate) identity: Identity,
    /// When it was accepted, or died.
    pub(crate) at_ms: i64,
    /// The lane's number.
    pub(crate) lane: u8,
}

/// Writes the file, whole or not at all.
pub(crate) fn write(dir: &Path, first: Seq, ids: &[IdEntry]) -> io::Result<()> {
    let mut entries = Vec::with_capacity(ids.len() * ENTRY);
    for id in ids {
        entries.extend_from_slice(id.identity.event_id.as_bytes());
        entries.extend_from_slice(&id.identity.array.to_le_bytes());
        entries.extend_from_slice(&id.at_ms.to_le_bytes());
        entries.extend_from_slice(&[id.lane, 0, 0, 0]);
    }
    let mut out = MAGIC.to_vec();
    out.extend_from_slice(&first.to_le_bytes());
    out.extend_from_slice(&u32_of(ids.len()).to_le_bytes());
    out.extend_from_slice(&crc32c::crc32c(&entries).to_le_bytes());
    out.append(&mut entries);
    files::replace(dir, FILE, &out)
}

/// An event of a segment with its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NumberedId {
    pub(crate) number: Seq,
    pub(crate) id: IdEntry,
}

/// What the file says: the segment's first number and its events in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct IdFile {
    pub(crate) first: Seq,
    pub(crate) ids: Vec<IdEntry>,
}

impl IdFile {
    /// With their numbers.
    pub(crate) fn numbered(self) -> Vec<NumberedId> {
        (self.first..).zip(self.ids).map(|(number, id)| NumberedId { number, id }).collect()
    }
}

/// Reads the file; `None` if it is not there or not whole.
pub(crate) fn read(path: &Path) -> Option<IdFile> {
    let raw = fs::read(path).ok()?;
    let mut cursor = Cursor(&raw);
    if cursor.take(8).ok()? != MAGIC {
        return None;
    }
    let first = u64::from_le_bytes(cursor.array().ok()?);
    let count = u32::from_le_bytes(cursor.array().ok()?);
    let crc = u32::from_le_bytes(cursor.array().ok()?);
    if cursor.0.len() != count as usize * ENTRY || crc32c::crc32c(cursor.0) != crc {
        return None;
    }
    let mut entry = || {
        let event_id = Uuid::from_bytes(cursor.array().ok()?);
        let array = u32::from_le_bytes(cursor.array().ok()?);
        let at_ms = i64::from_le_bytes(cursor.array().ok()?);
        let [lane, ..]: [u8; 4] = cursor.array().ok()?;
        Some(IdEntry { identity: Identity { event_id, array }, at_ms, lane })
    };
    Some(IdFile { first, ids: (0..count).map_while(|_| entry()).collect() })
}

/// Removes the files of deleted segments that `is_old` picks by when they were last written, and the
/// oldest of those that hold more than deduplication remembers. Gives how many.
pub(crate) fn prune(dir: &Path, is_old: impl Fn(i64) -> bool) -> usize {
    let mut found: Vec<(i64, u64, PathBuf)> = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if let Ok(meta) = entry.metadata() {
            found.push((meta.mtime() * 1000 + meta.mtime_nsec() / 1_000_000, meta.len(), entry.path()));
        }
    }
    found.sort();
    let (mut bytes, mut removed) = (0, 0);
    for (modified_ms, length, path) in found.into_iter().rev() {
        bytes += length;
        let is_needed = !is_old(modified_ms) && bytes <= MAX_BYTES;
        if is_needed {
            continue;
        }
        match fs::remove_file(&path) {
            Ok(()) => removed += 1,
            Err(error) => tracing::debug!(%error, "old ids cannot be removed"),
        }
    }
    removed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_as_written_and_not_at_all_when_damaged() {
        let dir = tempfile::tempdir().unwrap();
        let entry = |nth| IdEntry {
            identity: Identity { event_id: Uuid::from_u128(nth), array: 7 },
            at_ms: 1_700_000_000_000,
            lane: 3,
        };
        let ids: Vec<IdEntry> = (0..50).map(entry).collect();
        write(dir.path(), 1 << 20, &ids).unwrap();
        let path = dir.path().join(FILE);
        let whole = fs::read(&path).unwrap();

        let read_back = read(&path);
        fs::write(&path, &whole[..whole.len() - 1]).unwrap();

        assert_eq!(read_back, Some(IdFile { first: 1 << 20, ids }));
        assert_eq!(read(&path), None);
    }
}
