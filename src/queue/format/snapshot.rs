//! What was settled when a segment of the ledger began. Pure.
//!
//! ```text
//! row u8 · first u64 · end u64 · length u32 · bitmap: bit n is first + n
//! ```
//! The last record of a snapshot is of row 255 and ends it.

use super::chunk::{Chunk, ChunkError, Cursor, Kind, u32_of};
use crate::queue::types::Seq;

/// What was settled in one segment of a lane or of the dead letters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Snapshot {
    /// SegmentedLog's number in headers.
    pub(crate) row: u8,
    pub(crate) first: Seq,
    pub(crate) end: Seq,
    pub(crate) bitmap: Vec<u8>,
}

/// SegmentedLog of the record that ends a snapshot.
pub(crate) const SNAPSHOT_END: u8 = 255;

/// The record of a mark.
pub(crate) fn encode_mark(mark: &Snapshot) -> Vec<u8> {
    let mut out = vec![mark.row];
    out.extend_from_slice(&mark.first.to_le_bytes());
    out.extend_from_slice(&mark.end.to_le_bytes());
    out.extend_from_slice(&u32_of(mark.bitmap.len()).to_le_bytes());
    out.extend_from_slice(&mark.bitmap);
    out
}

/// The marks of a snapshot's chunk.
pub(crate) fn decode_marks(chunk: &Chunk<'_>) -> Result<Vec<Snapshot>, ChunkError> {
    if chunk.kind != Kind::Snapshot {
        return Err(ChunkError::Record);
    }
    let mut cursor = Cursor(chunk.records);
    (0..chunk.count)
        .map(|_| {
            let [row] = cursor.array()?;
            let first = u64::from_le_bytes(cursor.array()?);
            let end = u64::from_le_bytes(cursor.array()?);
            let length = u32::from_le_bytes(cursor.array()?) as usize;
            Ok(Snapshot { row, first, end, bitmap: cursor.take(length)?.to_vec() })
        })
        .collect()
}
