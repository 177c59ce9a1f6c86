//! An event as a record of a chunk. Pure.
//!
//! ```text
//! accepted_at i64 · event_time i64 · event_id 16 · key u64 · array u16 · door u8 · 0 u8 · uid u32
//! · name_length u16 (array 0xFFFF only) · name · body_length u32 · body
//! ```

use std::sync::Arc;

use bytes::Bytes;
use uuid::Uuid;

use crate::event::{Array, Door, Envelope, Key, KnownArray, Lane, catalogue};

use super::chunk::{self, Chunk, ChunkError, Cursor, EncodedChunk, INLINE_NAME, Kind, put_text, u32_of};
use crate::queue::types::{Seq, Stored};

/// Bytes that `event` takes in a chunk.
pub(crate) fn record_len(event: &Envelope) -> usize {
    let name = match &event.array {
        Array::Known(_) => 0,
        Array::Extra(name) => 2 + name.len(),
    };
    52 + name + event.body.len()
}

/// Chunks of events of one lane with consecutive sequence numbers from `first` on.
pub(crate) fn encode(lane: Lane, first: Seq, events: &[Envelope]) -> Vec<EncodedChunk> {
    chunk::pack(Kind::Events(lane), first, events.iter().map(record_len), |range| {
        let events = &events[range];
        let mut records = Vec::with_capacity(events.iter().map(record_len).sum());
        events.iter().for_each(|event| encode_record(event, &mut records));
        records
    })
}

/// Appends the event's record.
pub(crate) fn encode_record(event: &Envelope, out: &mut Vec<u8>) {
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
        put_text(name, u16::MAX, out);
    }
    out.extend_from_slice(&u32_of(event.body.len()).to_le_bytes());
    out.extend_from_slice(&event.body);
}

/// The events of a chunk. Bodies are copied: an event does not hold its chunk in memory.
pub(crate) fn decode(chunk: &Chunk<'_>) -> Result<Vec<Stored>, ChunkError> {
    let Kind::Events(lane) = chunk.kind else { return Err(ChunkError::Record) };
    let mut records = Cursor(chunk.records);
    (chunk.first..chunk.end())
        .map(|seq| Ok(Stored { seq, event: decode_record(lane, &mut records)? }))
        .collect()
}

/// The event at the cursor.
pub(crate) fn decode_record(lane: Lane, cursor: &mut Cursor<'_>) -> Result<Envelope, ChunkError> {
    let accepted_at_ms = i64::from_le_bytes(cursor.array()?);
    let event_time_ms = i64::from_le_bytes(cursor.array()?);
    let event_id = Uuid::from_bytes(cursor.array()?);
    let key = Key(u64::from_le_bytes(cursor.array()?));
    let array_id = u16::from_le_bytes(cursor.array()?);
    let [door, _] = cursor.array()?;
    let uid = u32::from_le_bytes(cursor.array()?);
    let array = if array_id == INLINE_NAME {
        Array::Extra(Arc::from(cursor.text()?))
    } else {
        Array::Known(KnownArray(catalogue::by_id(array_id).ok_or(ChunkError::Record)?))
    };
    let length = u32::from_le_bytes(cursor.array()?) as usize;
    let body = Bytes::copy_from_slice(cursor.take(length)?);
    let door = Door::from_id(door).ok_or(ChunkError::Record)?;
    Ok(Envelope { lane, array, event_id, key, event_time_ms, accepted_at_ms, door, uid, body })
}
