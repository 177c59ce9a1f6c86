//! Chunks: runs of events as they lie on disk. Pure.
//!
//! ```text
//! magic 8 · lane 1 · version 1 · reserved 2 · count u32 · first u64 · length u32 · crc32c u32 · records
//! record: accepted_at i64 · event_time i64 · event_id 16 · key u64 · array u16 · door u8 · 0 u8 · uid u32
//!         · name_length u16 (array 0xFFFF only) · name · body_length u32 · body
//! ```
//! Numbers are little-endian. The checksum covers everything before it and the records. Magic and
//! checksum let a chunk be found in a damaged file.

use std::sync::Arc;

use bytes::Bytes;
use uuid::Uuid;

use crate::event::{Array, Door, Envelope, Key, KnownArray, Lane, catalogue};

use super::types::{Seq, Stored};

/// Begins every chunk; chosen not to occur in JSON text.
pub(super) const MAGIC: [u8; 8] = [0xF5, b'T', b'R', b'K', b'C', b'H', b'K', 0xF6];
/// Most bytes of a chunk unless one event alone is larger: sled keeps values up to this in its leaves.
pub(super) const MAX_CHUNK: usize = 48 * 1024;
const VERSION: u8 = 1;
const HEAD: usize = 32;
const INLINE_NAME: u16 = u16::MAX;

/// Why bytes are no chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ChunkError {
    #[error("chunk is cut short")]
    Short,
    #[error("chunk does not begin with its magic")]
    Magic,
    #[error("chunk is of version {0}, known is {VERSION}")]
    Version(u8),
    #[error("chunk's checksum does not match")]
    Checksum,
    #[error("chunk's record does not fit its format")]
    Record,
}

/// Bytes that `event` takes in a chunk.
pub(super) fn record_len(event: &Envelope) -> usize {
    let name = match &event.array {
        Array::Known(_) => 0,
        Array::Extra(name) => 2 + name.len(),
    };
    52 + name + event.body.len()
}

/// Encodes events with consecutive sequence numbers from `first` on.
pub(super) fn encode(lane: Lane, first: Seq, events: &[Envelope]) -> Vec<u8> {
    let length: usize = events.iter().map(record_len).sum();
    let mut out = Vec::with_capacity(HEAD + length);
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&[lane as u8, VERSION, 0, 0]);
    out.extend_from_slice(&u32_of(events.len()).to_le_bytes());
    out.extend_from_slice(&first.to_le_bytes());
    out.extend_from_slice(&u32_of(length).to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    for event in events {
        encode_record(event, &mut out);
    }
    let crc = checksum(&out);
    out[HEAD - 4..HEAD].copy_from_slice(&crc.to_le_bytes());
    out
}

fn encode_record(event: &Envelope, out: &mut Vec<u8>) {
    out.extend_from_slice(&event.accepted_at_ms.to_le_bytes());
    out.extend_from_slice(&event.event_time_ms.to_le_bytes());
    out.extend_from_slice(event.event_id.as_bytes());
    out.extend_from_slice(&event.key.0.to_le_bytes());
    let (id, name) = match &event.array {
        Array::Known(known) => (known.0.id, None),
        Array::Extra(name) => (INLINE_NAME, Some(name)),
    };
    out.extend_from_slice(&id.to_le_bytes());
    out.extend_from_slice(&[event.door as u8, 0]);
    out.extend_from_slice(&event.uid.to_le_bytes());
    if let Some(name) = name {
        let length = u16::try_from(name.len()).expect("configuration bounds an array's name");
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(name.as_bytes());
    }
    out.extend_from_slice(&u32_of(event.body.len()).to_le_bytes());
    out.extend_from_slice(&event.body);
}

fn u32_of(length: usize) -> u32 {
    u32::try_from(length).expect("a chunk is far below 4 GiB")
}

fn checksum(chunk: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&chunk[..HEAD - 4]), &chunk[HEAD..])
}

/// Decodes and checks one chunk. Bodies are copied: an event does not hold its chunk in memory.
pub(super) fn decode(chunk: &[u8]) -> Result<Vec<Stored>, ChunkError> {
    let mut cursor = Cursor(chunk);
    if cursor.take(8)? != MAGIC {
        return Err(ChunkError::Magic);
    }
    let [lane, version, _, _] = cursor.array()?;
    let count = u32::from_le_bytes(cursor.array()?);
    let first = u64::from_le_bytes(cursor.array()?);
    let length = u32::from_le_bytes(cursor.array()?) as usize;
    let crc = u32::from_le_bytes(cursor.array()?);
    let whole = chunk.get(..HEAD + length).ok_or(ChunkError::Short)?;
    if checksum(whole) != crc {
        return Err(ChunkError::Checksum);
    }
    if version != VERSION {
        return Err(ChunkError::Version(version));
    }
    let lane = Lane::from_id(lane).ok_or(ChunkError::Record)?;
    let mut records = Cursor(&whole[HEAD..]);
    (0..u64::from(count))
        .map(|nth| Ok(Stored { seq: first + nth, event: decode_record(lane, &mut records)? }))
        .collect()
}

fn decode_record(lane: Lane, cursor: &mut Cursor<'_>) -> Result<Envelope, ChunkError> {
    let accepted_at_ms = i64::from_le_bytes(cursor.array()?);
    let event_time_ms = i64::from_le_bytes(cursor.array()?);
    let event_id = Uuid::from_bytes(cursor.array()?);
    let key = Key(u64::from_le_bytes(cursor.array()?));
    let array_id = u16::from_le_bytes(cursor.array()?);
    let [door, _] = cursor.array()?;
    let uid = u32::from_le_bytes(cursor.array()?);
    let array = if array_id == INLINE_NAME {
        let length = usize::from(u16::from_le_bytes(cursor.array()?));
        let name = std::str::from_utf8(cursor.take(length)?).map_err(|_| ChunkError::Record)?;
        Array::Extra(Arc::from(name))
    } else {
        Array::Known(KnownArray(catalogue::by_id(array_id).ok_or(ChunkError::Record)?))
    };
    let length = u32::from_le_bytes(cursor.array()?) as usize;
    let body = Bytes::copy_from_slice(cursor.take(length)?);
    let door = Door::from_id(door).ok_or(ChunkError::Record)?;
    Ok(Envelope { lane, array, event_id, key, event_time_ms, accepted_at_ms, door, uid, body })
}

struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], ChunkError> {
        let (head, rest) = self.0.split_at_checked(length).ok_or(ChunkError::Short)?;
        self.0 = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], ChunkError> {
        Ok(self.take(N)?.try_into().expect("take gives as many as asked"))
    }
}
