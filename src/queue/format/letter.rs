//! A dead letter as a record of a chunk. Pure.
//!
//! ```text
//! died_at i64 · seq u64 · lane u8 · reason u8 · attempts u32 · status u16 (0: none)
//! · correlation_id u16 + n · message u16 + n · the event's record
//! ```

use std::sync::Arc;

use crate::event::Lane;

use super::chunk::{self, Chunk, ChunkError, Cursor, EncodedChunk, Kind, put_text};
use super::event;
use crate::queue::types::{DeadReason, Outcome, Seq, Settlement, Stored};

/// Bytes of the API's words that are kept.
const MAX_MESSAGE: u16 = 4 * 1024;
/// A correlation id is a UUID; anything longer is cut.
const MAX_CORRELATION: u16 = 256;

/// An event in the dead letters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// Its position among the dead letters; rises with the time of death.
    pub number: Seq,
    /// The event and its position in its lane.
    pub stored: Stored,
    /// Our code.
    pub reason: DeadReason,
    /// The API's words; may quote personal data.
    pub message: String,
    /// Requests it stood in.
    pub attempts: u32,
    /// HTTP status of the last answer.
    pub status: Option<u16>,
    /// `ININ-Correlation-Id` of the last answer.
    pub correlation_id: Option<Arc<str>>,
    /// When it died, milliseconds since 1970.
    pub died_at_ms: i64,
}

/// Chunks of letters, given as their records, with consecutive numbers from `first` on.
pub(crate) fn pack(first: Seq, records: &[Vec<u8>]) -> Vec<EncodedChunk> {
    chunk::pack(Kind::Letters, first, records.iter().map(Vec::len), |range| records[range].concat())
}

/// The record of a settlement that ends in the dead letters; of any other: nothing.
pub(crate) fn encode(settlement: &Settlement, now_ms: i64) -> Option<Vec<u8>> {
    let Outcome::Dead { reason, message } = &settlement.outcome else { return None };
    let event = &settlement.stored.event;
    let mut out = now_ms.to_le_bytes().to_vec();
    out.extend_from_slice(&settlement.stored.seq.to_le_bytes());
    out.extend_from_slice(&[event.lane as u8, *reason as u8]);
    out.extend_from_slice(&settlement.attempts.to_le_bytes());
    out.extend_from_slice(&settlement.status.unwrap_or(0).to_le_bytes());
    put_text(settlement.correlation_id.as_deref().unwrap_or_default(), MAX_CORRELATION, &mut out);
    put_text(message, MAX_MESSAGE, &mut out);
    event::encode_record(event, &mut out);
    Some(out)
}

/// The letters of a chunk.
pub(crate) fn decode(chunk: &Chunk<'_>) -> Result<Vec<DeadLetter>, ChunkError> {
    if chunk.kind != Kind::Letters {
        return Err(ChunkError::Record);
    }
    let mut cursor = Cursor(chunk.records);
    (chunk.first..chunk.end()).map(|number| decode_record(number, &mut cursor)).collect()
}

fn decode_record(number: Seq, cursor: &mut Cursor<'_>) -> Result<DeadLetter, ChunkError> {
    let died_at_ms = i64::from_le_bytes(cursor.array()?);
    let seq = u64::from_le_bytes(cursor.array()?);
    let [lane, reason] = cursor.array()?;
    let attempts = u32::from_le_bytes(cursor.array()?);
    let status = u16::from_le_bytes(cursor.array()?);
    let correlation_id = cursor.text()?;
    let message = cursor.text()?.to_owned();
    let correlation_id = (!correlation_id.is_empty()).then(|| Arc::from(correlation_id));
    let lane = Lane::from_id(lane).ok_or(ChunkError::Record)?;
    Ok(DeadLetter {
        number,
        stored: Stored { seq, event: event::decode_record(lane, cursor)? },
        reason: DeadReason::from_id(reason).ok_or(ChunkError::Record)?,
        message,
        attempts,
        status: (status != 0).then_some(status),
        correlation_id,
        died_at_ms,
    })
}
