//! A segment: one small database in a directory named by its first sequence number, with our header.
//!
//! ```text
//! header: magic 8 · version u32 · lane u8 · 0 0 0 · first u64 · previous_end u64 · crc32c u32
//! ```
//! The header is written and synced last: a directory without one was never used.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::event::Lane;

use super::chunk;
use super::page::carve;
use super::settled::Settled;
use super::store::{Store, StoreError, sync_dir};
use super::types::Seq;

const MAGIC: [u8; 8] = *b"TRKSEGM\x01";
/// Format of header and chunks. A newer one is refused.
pub(super) const VERSION: u32 = 1;
const HEADER: usize = 36;

/// One segment of a lane. The store is open only while it is written, read or settled.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) first: Seq,
    /// Last sequence number synced in the segment before, when this one was made.
    pub(super) previous_end: Seq,
    /// One past the last synced event.
    pub(super) end: Seq,
    /// Bytes of chunks in it.
    pub(super) bytes: u64,
    pub(super) dir: PathBuf,
    pub(super) settled: Settled,
    pub(super) store: Option<Arc<Store>>,
}

/// What a header file says.
pub(super) enum Header {
    Valid { first: Seq, previous_end: Seq },
    Newer(u32),
    Damaged,
}

impl Segment {
    /// Makes an empty segment and everything in it durable, header last.
    pub(super) fn create(
        lane_dir: &Path,
        lane: Lane,
        first: Seq,
        previous_end: Seq,
    ) -> Result<Self, StoreError> {
        let dir = lane_dir.join(format!("{first:020}"));
        let io = |error: std::io::Error| StoreError(format!("{}: {error}", dir.display()));
        fs::create_dir_all(&dir).map_err(io)?;
        let store = Store::open(&dir)?;
        let mut file = File::create(dir.join("header")).map_err(io)?;
        file.write_all(&encode_header(lane, first, previous_end))
            .and_then(|()| file.sync_all())
            .map_err(io)?;
        sync_dir(&dir).map_err(io)?;
        sync_dir(lane_dir).map_err(io)?;
        let store = Some(Arc::new(store));
        Ok(Self { first, previous_end, end: first, bytes: 0, dir, settled: Settled::default(), store })
    }

    /// Opens the store and learns what it holds, if it is not open yet.
    pub(super) fn open(&mut self) -> Result<Arc<Store>, StoreError> {
        if let Some(store) = &self.store {
            return Ok(store.clone());
        }
        let store = Arc::new(Store::open(&self.dir)?);
        for (start, end) in store.settled_ranges() {
            self.settled.insert(start.max(self.first), end.min(self.end).max(start.max(self.first)));
        }
        self.store = Some(store.clone());
        Ok(store)
    }

    /// Finds where the segment ends: from its summary, else from its last chunk, else by carving.
    pub(super) fn find_end(&mut self) -> Result<(), StoreError> {
        if let Some(end) = self.read_summary() {
            self.end = end;
            return Ok(());
        }
        let store = Store::open(&self.dir)?;
        let Some((_, value)) = store.at_or_before(&u64::MAX.to_be_bytes())? else { return Ok(()) };
        let last = match chunk::decode(&value) {
            Ok(events) => events.last().map(|stored| stored.seq),
            Err(_) => carve(&self.dir, self.first, Seq::MAX).last_key_value().map(|(seq, _)| *seq),
        };
        self.end = last.map_or(self.first, |last| last + 1);
        Ok(())
    }

    /// Notes the end of a closed segment. Only a help against damage: without it the store is asked.
    pub(super) fn write_summary(&self) {
        let mut raw = self.first.to_le_bytes().to_vec();
        raw.extend_from_slice(&self.end.to_le_bytes());
        let crc = crc32c::crc32c(&raw);
        raw.extend_from_slice(&crc.to_le_bytes());
        if let Err(error) = fs::write(self.dir.join("summary"), raw) {
            tracing::warn!(segment = %self.dir.display(), %error, "cannot write a summary");
        }
    }

    fn read_summary(&self) -> Option<Seq> {
        let raw = fs::read(self.dir.join("summary")).ok()?;
        let (numbers, crc) = raw.split_at_checked(16)?;
        let is_ours =
            crc == crc32c::crc32c(numbers).to_le_bytes() && numbers[..8] == self.first.to_le_bytes();
        let end = u64::from_le_bytes(numbers[8..].try_into().ok()?);
        (is_ours && end >= self.first).then_some(end)
    }

    pub(super) fn is_settled(&self) -> bool {
        self.settled.count() >= self.end - self.first
    }

    pub(super) fn unsettled(&self) -> u64 {
        (self.end - self.first).saturating_sub(self.settled.count())
    }
}

/// Removes a segment's directory so that a crash in between leaves nothing half alive.
pub(super) fn delete(dir: &Path) -> std::io::Result<()> {
    let gone = dir.with_extension("gone");
    fs::rename(dir, &gone)?;
    if let Some(parent) = dir.parent() {
        sync_dir(parent)?;
    }
    fs::remove_dir_all(gone)
}

fn encode_header(lane: Lane, first: Seq, previous_end: Seq) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER);
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&[lane as u8, 0, 0, 0]);
    out.extend_from_slice(&first.to_le_bytes());
    out.extend_from_slice(&previous_end.to_le_bytes());
    let crc = crc32c::crc32c(&out);
    out.extend_from_slice(&crc.to_le_bytes());
    out
}

/// Reads a header of `lane`.
pub(super) fn read_header(dir: &Path, lane: Lane) -> Header {
    let Ok(raw) = fs::read(dir.join("header")) else { return Header::Damaged };
    let number = |at: usize| raw[at..at + 8].try_into().map(u64::from_le_bytes).unwrap_or_default();
    if raw.len() < HEADER || raw[..8] != MAGIC {
        return Header::Damaged;
    }
    let version = u32::from_le_bytes(raw[8..12].try_into().expect("four bytes"));
    let crc = u32::from_le_bytes(raw[32..36].try_into().expect("four bytes"));
    // Damage is looked for first: a flipped bit is no newer version. Later formats keep these fields.
    if crc32c::crc32c(&raw[..32]) != crc || raw[12] != lane as u8 {
        return Header::Damaged;
    }
    if version > VERSION {
        return Header::Newer(version);
    }
    Header::Valid { first: number(16), previous_end: number(24) }
}
