//! What was settled when a segment of the ledger began. Pure.
//!
//! ```text
//! log u8 · first u64 · end u64 · length u32 · bitmap: bit n is first + n
//! ```
//! A record is one segment's. The last record of a snapshot is of log 255 and ends it. A record of a
//! lane's number and 64 says of the lane's numbers, not what is settled, but which ended so that the same
//! event may come again.

use super::chunk::{self, Chunk, ChunkError, Cursor, EncodedChunk, Kind, u32_of};
use crate::event::Lane;
use crate::queue::types::Seq;

/// What was settled in one segment of a lane or of the dead letters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SegmentSnapshot {
    /// The log's number, as in headers.
    pub(crate) log: u8,
    pub(crate) first: Seq,
    pub(crate) end: Seq,
    pub(crate) bitmap: Vec<u8>,
}

/// Log of the record that ends a snapshot.
const SNAPSHOT_END: u8 = 255;

/// Added to a lane's number.
const REPEATABLE: u8 = 64;

impl SegmentSnapshot {
    /// Which of a segment's numbers ended so that the same event may come again.
    pub(crate) fn of_repeatable(lane: Lane, first: Seq, end: Seq, bitmap: Vec<u8>) -> Self {
        Self { log: lane as u8 + REPEATABLE, first, end, bitmap }
    }

    /// The lane, if it is such a record.
    pub(crate) fn repeatable_lane(&self) -> Option<Lane> {
        self.log.checked_sub(REPEATABLE).and_then(Lane::from_id)
    }

    /// Whether it is the record that ends a snapshot.
    pub(crate) fn is_end(&self) -> bool {
        self.log == SNAPSHOT_END
    }
}

/// Chunks of a whole snapshot, its end included, numbered from `first` on.
pub(crate) fn encode(first: Seq, segments: &[SegmentSnapshot]) -> Vec<EncodedChunk> {
    let end = SegmentSnapshot { log: SNAPSHOT_END, first: 0, end: 0, bitmap: Vec::new() };
    let records: Vec<Vec<u8>> = segments.iter().chain([&end]).map(encode_record).collect();
    chunk::pack(Kind::Snapshot, first, records.iter().map(Vec::len), |range| records[range].concat())
}

/// The record of one segment.
pub(crate) fn encode_record(segment: &SegmentSnapshot) -> Vec<u8> {
    let mut out = vec![segment.log];
    out.extend_from_slice(&segment.first.to_le_bytes());
    out.extend_from_slice(&segment.end.to_le_bytes());
    out.extend_from_slice(&u32_of(segment.bitmap.len()).to_le_bytes());
    out.extend_from_slice(&segment.bitmap);
    out
}

/// The records of a snapshot's chunk.
pub(crate) fn decode(chunk: &Chunk<'_>) -> Result<Vec<SegmentSnapshot>, ChunkError> {
    if chunk.kind != Kind::Snapshot {
        return Err(ChunkError::Record);
    }
    let mut cursor = Cursor(chunk.records);
    (0..chunk.count)
        .map(|_| {
            let [log] = cursor.array()?;
            let first = u64::from_le_bytes(cursor.array()?);
            let end = u64::from_le_bytes(cursor.array()?);
            let length = u32::from_le_bytes(cursor.array()?) as usize;
            Ok(SegmentSnapshot { log, first, end, bitmap: cursor.take(length)?.to_vec() })
        })
        .collect()
}
