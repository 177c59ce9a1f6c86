//! A segment's `ids` file: which events were accepted in it, for deduplication after a restart.
//!
//! ```text
//! magic 8 · first u64 · count u32 · crc32c u32 of the entries · entries
//! entry: event_id 16 · array u32 (crc32c of its name) · at i64 · lane u8 · 0 0 0
//! ```
//! It outlives its segment until the dedupe window has passed. A help, not a truth: without it the
//! segment's chunks are read.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use uuid::Uuid;

use crate::event::Envelope;

use crate::queue::format::chunk::{Cursor, u32_of};
use crate::queue::state::dedupe::MAX_IDS;
use crate::queue::types::Seq;

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

/// Writes the file whole, under another name first.
pub(crate) fn write(dir: &Path, first: Seq, idents: &[IdEntry]) -> io::Result<()> {
    let mut entries = Vec::with_capacity(idents.len() * ENTRY);
    for ident in idents {
        entries.extend_from_slice(ident.identity.event_id.as_bytes());
        entries.extend_from_slice(&ident.identity.array.to_le_bytes());
        entries.extend_from_slice(&ident.at_ms.to_le_bytes());
        entries.extend_from_slice(&[ident.lane, 0, 0, 0]);
    }
    let new = dir.join("ids.new");
    let mut file = File::create(&new)?;
    file.write_all(&MAGIC)?;
    file.write_all(&first.to_le_bytes())?;
    file.write_all(&u32_of(idents.len()).to_le_bytes())?;
    file.write_all(&crc32c::crc32c(&entries).to_le_bytes())?;
    file.write_all(&entries)?;
    file.sync_data()?;
    fs::rename(new, dir.join(FILE))
}

/// Reads the file: the segment's first number and its events in order.
pub(crate) fn read(path: &Path) -> Option<(Seq, Vec<IdEntry>)> {
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
    Some((first, (0..count).map_while(|_| entry()).collect()))
}

/// Removes the files of deleted segments that were last written before `since_ms`, and the oldest of
/// those that hold more than deduplication remembers.
pub(crate) fn prune(dir: &Path, since_ms: i64) {
    let mut found: Vec<(i64, u64, PathBuf)> = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if let Ok(meta) = entry.metadata() {
            found.push((meta.mtime() * 1000 + meta.mtime_nsec() / 1_000_000, meta.len(), entry.path()));
        }
    }
    found.sort();
    let mut bytes = 0;
    for (modified_ms, length, path) in found.into_iter().rev() {
        bytes += length;
        let is_needed = modified_ms >= since_ms && bytes <= MAX_BYTES;
        if !is_needed && let Err(error) = fs::remove_file(&path) {
            tracing::debug!(%error, "old ids cannot be removed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_as_written_and_not_at_all_when_damaged() {
        let dir = tempfile::tempdir().unwrap();
        let ident = |nth| IdEntry {
            identity: Identity { event_id: Uuid::from_u128(nth), array: 7 },
            at_ms: 1_700_000_000_000,
            lane: 3,
        };
        let idents: Vec<IdEntry> = (0..50).map(ident).collect();
        write(dir.path(), 1 << 20, &idents).unwrap();
        let path = dir.path().join(FILE);
        let whole = fs::read(&path).unwrap();

        let read_back = read(&path);
        fs::write(&path, &whole[..whole.len() - 1]).unwrap();

        assert_eq!(read_back, Some((1 << 20, idents)));
        assert_eq!(read(&path), None);
    }
}
