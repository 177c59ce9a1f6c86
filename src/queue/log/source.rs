//! Reads unsettled events of a segment, chunk by chunk.

use std::path::PathBuf;
use std::sync::Arc;

use super::raw::RawFile;
use super::segment::LogId;
use super::store::{Store, StoreError};
use super::survey::scan;
use crate::queue::format::bitmap::Bitmap;
use crate::queue::format::chunk;
use crate::queue::format::event;
use crate::queue::types::{Page, Seq, Stored};

/// Where a segment's chunks are read.
#[derive(Clone, Debug)]
pub(crate) enum Chunks {
    /// It is written at the moment.
    Live(Arc<Store>),
    /// It is closed.
    Raw(Arc<RawFile>),
    /// It is closed and was not looked at yet.
    Unread,
}

/// A segment as it is when a read begins.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    pub(crate) chunks: Chunks,
    pub(crate) id: LogId,
    pub(crate) dir: PathBuf,
    pub(crate) first: Seq,
    pub(crate) end: Seq,
    pub(crate) settled: Bitmap,
}

impl Source {
    /// The chunk that holds `seq`, or the first one after it.
    pub(crate) fn chunk_at(&self, seq: Seq) -> Result<Option<Vec<u8>>, StoreError> {
        match &self.chunks {
            Chunks::Live(store) => {
                let around = store.around(seq)?;
                let ends_before = |raw: &Vec<u8>| chunk::decode(raw).is_ok_and(|chunk| chunk.end() <= seq);
                if around.as_ref().is_some_and(ends_before) {
                    return store.after(seq);
                }
                Ok(around)
            }
            Chunks::Raw(raw) => {
                let Some(place) = raw.reaching(seq) else { return Ok(None) };
                raw.read(place).map(Some).map_err(|error| StoreError::io(&self.dir, &error))
            }
            Chunks::Unread => Ok(None),
        }
    }

    /// The same segment, read from its file.
    pub(crate) fn read_from_file(mut self) -> Result<Self, StoreError> {
        let raw = scan(self.id, self.first, &self.dir).map_err(|error| StoreError::io(&self.dir, &error))?;
        self.chunks = raw.map_or(Chunks::Unread, |raw| Chunks::Raw(Arc::new(raw)));
        Ok(self)
    }
}

/// Reads from `page.next` on until the page is full or the segment ends.
pub(crate) fn read_chunks(
    source: &Source,
    (max_events, max_bytes): (usize, usize),
    page: &mut Page,
) -> Result<(), StoreError> {
    page.next = page.next.max(source.first);
    let mut bytes: usize = page.events.iter().map(|stored| stored.event.body.len()).sum();
    while page.next < source.end {
        let Some(raw) = source.chunk_at(page.next)? else { break };
        let events = chunk::decode(&raw).and_then(|chunk| event::decode(&chunk));
        let events: Vec<Stored> = events.map_err(|error| StoreError(error.to_string()))?;
        let Some(last) = events.last().map(|stored| stored.seq) else { break };
        for stored in events {
            if stored.seq < page.next || stored.seq >= source.end || source.settled.contains(stored.seq) {
                continue;
            }
            let is_full = page.events.len() >= max_events || bytes >= max_bytes;
            if is_full && !page.events.is_empty() {
                page.next = stored.seq;
                return Ok(());
            }
            bytes += stored.event.body.len();
            page.events.push(stored);
        }
        page.next = (last + 1).max(page.next);
    }
    page.next = source.end;
    Ok(())
}
