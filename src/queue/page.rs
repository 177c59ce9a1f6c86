//! Reads unsettled events of a segment, chunk by chunk.

use super::chunk;
use super::store::{Store, StoreError};
use super::types::{Page, Seq};

/// Reads unsettled events from one store: chunks are found by key, so a fault ends the page, not the run.
pub(super) fn read_chunks(
    store: &Store,
    (from, end): (Seq, Seq),
    (max_events, max_bytes): (usize, usize),
    is_settled: impl Fn(Seq) -> bool,
    page: &mut Page,
) -> Result<(), StoreError> {
    let mut bytes: usize = page.events.iter().map(|stored| stored.event.body.len()).sum();
    let mut entry = match store.at_or_before(&from.to_be_bytes())? {
        Some(entry) => Some(entry),
        None => store.after(&from.to_be_bytes())?,
    };
    while let Some((key, value)) = entry {
        let events = chunk::decode(&value).unwrap_or_else(|error| {
            // What lies behind it is sound: the rest goes on, and the segment stays for the damaged part.
            let first = key.as_slice().try_into().map_or(0, u64::from_be_bytes);
            tracing::error!(first, %error, "a chunk cannot be read; its events stay on disk");
            Vec::new()
        });
        for stored in events {
            if stored.seq < from || stored.seq >= end {
                continue;
            }
            if page.events.len() >= max_events || (bytes >= max_bytes && !page.events.is_empty()) {
                return Ok(());
            }
            page.next = stored.seq + 1;
            if !is_settled(stored.seq) {
                bytes += stored.event.body.len();
                page.events.push(stored);
            }
        }
        entry = store.after(&key)?;
    }
    page.next = end;
    Ok(())
}
