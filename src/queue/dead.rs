//! Dead letters: a database of their own, written and synced before their events count as settled.
//!
//! Key: lane, sequence number (big-endian). Value: `died_at` i64, reason u8, attempts u32, status u16
//! (0: none), correlation id and message (u16 length, text), then a chunk with the event.

use std::path::Path;
use std::sync::Arc;

use crate::event::Lane;

use super::chunk;
use super::store::{Store, StoreError};
use super::types::{DeadReason, Outcome, Seq, Settlement, Stored};

/// Bytes of the API's words that are kept.
const MAX_MESSAGE: usize = 4 * 1024;

/// An event in the dead letters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// The event and its position.
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

/// The database.
#[derive(Debug)]
pub(super) struct DeadStore {
    store: Store,
}

impl DeadStore {
    /// Opens the database. A damaged one is set aside under `quarantine`: events must go on.
    pub(super) fn open(dir: &Path, quarantine: &Path) -> Result<Self, StoreError> {
        std::fs::create_dir_all(dir).map_err(|error| StoreError(error.to_string()))?;
        let fault = match Store::open(dir) {
            Ok(store) => return Ok(Self { store }),
            Err(fault) => fault,
        };
        let io = |error: std::io::Error| StoreError(error.to_string());
        std::fs::create_dir_all(quarantine).map_err(io)?;
        let to = (0..).map(|nth| quarantine.join(format!("dead-{nth}"))).find(|to| !to.exists());
        let to = to.expect("some number is free");
        std::fs::rename(dir, &to).map_err(io)?;
        tracing::error!(quarantine = %to.display(), why = %fault, "the dead letters were set aside");
        std::fs::create_dir_all(dir).map_err(io)?;
        Ok(Self { store: Store::open(dir)? })
    }

    /// Stores all and syncs once. The same letter again replaces itself.
    pub(super) fn add(&self, dead: &[&Settlement], now_ms: i64) -> Result<(), StoreError> {
        if dead.is_empty() {
            return Ok(());
        }
        for settlement in dead {
            let key = key_of(settlement.stored.event.lane, settlement.stored.seq);
            self.store.put(&key, encode(settlement, now_ms))?;
        }
        self.store.flush()
    }

    /// The first letter after `after`, or the first of all.
    pub(super) fn next(&self, after: Option<(Lane, Seq)>) -> Result<Option<DeadLetter>, StoreError> {
        let key = after.map_or(Vec::new(), |(lane, seq)| key_of(lane, seq));
        let Some((_, value)) = self.store.after(&key)? else { return Ok(None) };
        decode(&value).map(Some).ok_or_else(|| StoreError("a dead letter does not fit its format".to_owned()))
    }

    /// Removes a letter for good.
    pub(super) fn discard(&self, lane: Lane, seq: Seq) -> Result<bool, StoreError> {
        let was_there = self.store.remove(&key_of(lane, seq))?;
        self.store.flush()?;
        Ok(was_there)
    }
}

fn key_of(lane: Lane, seq: Seq) -> Vec<u8> {
    let mut key = vec![lane as u8];
    key.extend_from_slice(&seq.to_be_bytes());
    key
}

fn encode(settlement: &Settlement, now_ms: i64) -> Vec<u8> {
    let Outcome::Dead { reason, message } = &settlement.outcome else { return Vec::new() };
    let mut out = Vec::new();
    out.extend_from_slice(&now_ms.to_le_bytes());
    out.push(*reason as u8);
    out.extend_from_slice(&settlement.attempts.to_le_bytes());
    out.extend_from_slice(&settlement.status.unwrap_or(0).to_le_bytes());
    put_text(settlement.correlation_id.as_deref().unwrap_or_default(), &mut out);
    put_text(message, &mut out);
    let event = &settlement.stored.event;
    out.extend_from_slice(&chunk::encode(event.lane, settlement.stored.seq, std::slice::from_ref(event)));
    out
}

fn put_text(text: &str, out: &mut Vec<u8>) {
    let text = &text[..text.floor_char_boundary(MAX_MESSAGE)];
    let length = u16::try_from(text.len()).expect("at most MAX_MESSAGE");
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

fn decode(raw: &[u8]) -> Option<DeadLetter> {
    let (died_at, rest) = raw.split_at_checked(8)?;
    let (reason, rest) = rest.split_at_checked(1)?;
    let (attempts, rest) = rest.split_at_checked(4)?;
    let (status, rest) = rest.split_at_checked(2)?;
    let (correlation_id, rest) = text(rest)?;
    let (message, rest) = text(rest)?;
    let status = u16::from_le_bytes(status.try_into().ok()?);
    Some(DeadLetter {
        stored: chunk::decode(rest).ok()?.pop()?,
        reason: DeadReason::from_id(reason[0])?,
        message: message.to_owned(),
        attempts: u32::from_le_bytes(attempts.try_into().ok()?),
        status: (status != 0).then_some(status),
        correlation_id: (!correlation_id.is_empty()).then(|| Arc::from(correlation_id)),
        died_at_ms: i64::from_le_bytes(died_at.try_into().ok()?),
    })
}

fn text(raw: &[u8]) -> Option<(&str, &[u8])> {
    let (length, rest) = raw.split_at_checked(2)?;
    let (text, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes(length.try_into().ok()?)))?;
    Some((std::str::from_utf8(text).ok()?, rest))
}
