//! Makes a new segment of what can be carved from one that the store cannot open.
//!
//! Which of its events were settled is not known any more: they are sent again, which is better than not
//! at all.

use std::path::Path;

use crate::event::{Envelope, Lane};

use super::chunk::{self, MAX_CHUNK};
use super::page::carve;
use super::segment::Segment;
use super::store::StoreError;
use super::types::Seq;

/// Carves `aside` into a segment of the same numbers as `lost`. `None` if nothing whole is in it.
pub(super) fn salvage(
    aside: &Path,
    lane_dir: &Path,
    lane: Lane,
    lost: &Segment,
) -> Result<Option<Segment>, StoreError> {
    let carved = carve(aside, lost.first, Seq::MAX);
    let Some((last, _)) = carved.last_key_value() else { return Ok(None) };
    let end = last + 1;
    let missing = (end - lost.first) - carved.len() as u64;
    tracing::warn!(%lane, first = lost.first, end, carved = carved.len(), missing, "a damaged segment was salvaged");
    let mut segment = Segment::create(lane_dir, lane, lost.first, lost.previous_end)?;
    let store = segment.open()?;
    let mut run: Vec<Envelope> = Vec::new();
    let (mut first, mut bytes) = (lost.first, 0);
    for (seq, stored) in carved {
        let size = chunk::record_len(&stored.event);
        let breaks = seq != first + run.len() as u64 || bytes + size > MAX_CHUNK;
        if breaks && !run.is_empty() {
            store.put(&first.to_be_bytes(), chunk::encode(lane, first, &run))?;
            run.clear();
        }
        if run.is_empty() {
            (first, bytes) = (seq, 0);
        }
        bytes += size;
        run.push(stored.event);
    }
    store.put(&first.to_be_bytes(), chunk::encode(lane, first, &run))?;
    store.flush()?;
    // What is missing for good lies in the quarantine: no gap may keep the segment from being settled.
    (segment.end, segment.store) = (end, None);
    Ok(Some(segment))
}
