//! Where a segment's chunks are read: the store of a live one, the file of a closed one.

use std::path::PathBuf;
use std::sync::Arc;

use super::raw::RawFile;
use super::segment::{LogId, Segment};
use super::store::Store;
use super::survey::scan;
use crate::queue::format::bitmap::Bitmap;
use crate::queue::format::chunk::ChunkBuf;
use crate::queue::format::event;
use crate::queue::types::{Page, PageLimit, Seq, StoreError, Stored};

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
    /// Where `segment` of the log `id` is read now.
    pub(crate) fn of(id: LogId, segment: &Segment) -> Self {
        let chunks = match (&segment.live, &segment.raw) {
            (Some(live), _) => Chunks::Live(live.store.clone()),
            (None, Some(raw)) => Chunks::Raw(raw.clone()),
            (None, None) => Chunks::Unread,
        };
        let (first, end) = (segment.first, segment.end);
        Self { chunks, id, dir: segment.dir.clone(), first, end, settled: segment.settled.clone() }
    }

    /// The same segment, read from its file.
    pub(crate) fn read_from_file(mut self) -> Result<Self, StoreError> {
        let raw = scan(self.id, self.first, &self.dir).map_err(|error| StoreError::io(&self.dir, &error))?;
        self.chunks = raw.map_or(Chunks::Unread, |raw| Chunks::Raw(Arc::new(raw)));
        Ok(self)
    }

    /// The same segment, read from its file if it is closed and was not looked at yet.
    pub(crate) fn ready(self) -> Result<Self, StoreError> {
        match self.chunks {
            Chunks::Unread => self.read_from_file(),
            _ => Ok(self),
        }
    }

    /// Its whole chunks from the one on that holds `from`, in order, up to the segment's end. Ends after
    /// an error.
    pub(crate) fn chunks_from(&self, from: Seq) -> impl Iterator<Item = Result<ChunkBuf, StoreError>> {
        let mut next = Some(from.max(self.first));
        std::iter::from_fn(move || {
            let from = next.take().filter(|from| *from < self.end)?;
            let chunk = self.chunk_at(from).transpose()?;
            if let Ok(chunk) = &chunk {
                let numbers = chunk.numbers();
                if numbers.start >= self.end {
                    return None;
                }
                next = Some(numbers.end.max(from + 1));
            }
            Some(chunk)
        })
    }

    /// The chunk that holds `seq`, or the first one after it.
    fn chunk_at(&self, seq: Seq) -> Result<Option<ChunkBuf>, StoreError> {
        let whole = |bytes| ChunkBuf::new(bytes).map_err(|error| self.fault(&error));
        match &self.chunks {
            Chunks::Live(store) => {
                let around = store.around(seq)?.map(whole).transpose()?;
                if around.as_ref().is_some_and(|chunk| chunk.numbers().end <= seq) {
                    return store.after(seq)?.map(whole).transpose();
                }
                Ok(around)
            }
            Chunks::Raw(raw) => {
                let Some(place) = raw.reaching(seq) else { return Ok(None) };
                let bytes = raw.read(place).map_err(|error| StoreError::io(&self.dir, &error))?;
                whole(bytes).map(Some)
            }
            Chunks::Unread => Ok(None),
        }
    }

    fn fault(&self, error: &dyn std::fmt::Display) -> StoreError {
        StoreError::new(format!("{}: {error}", self.dir.display()))
    }
}

/// Reads from `page.next` on until the page is full or the segment ends.
pub(crate) fn read_chunks(source: &Source, limit: PageLimit, page: &mut Page) -> Result<(), StoreError> {
    page.next = page.next.max(source.first);
    let mut bytes: usize = page.events.iter().map(|stored| stored.event.body.len()).sum();
    for chunk in source.chunks_from(page.next) {
        let chunk = chunk?;
        let events: Vec<Stored> = event::decode(&chunk.chunk()).map_err(|error| source.fault(&error))?;
        for stored in events {
            if stored.seq < page.next || stored.seq >= source.end || source.settled.contains(stored.seq) {
                continue;
            }
            let is_full = page.events.len() >= limit.events || bytes >= limit.bytes;
            if is_full && !page.events.is_empty() {
                page.next = stored.seq;
                return Ok(());
            }
            bytes += stored.event.body.len();
            page.events.push(stored);
        }
        page.next = chunk.numbers().end.max(page.next);
    }
    page.next = source.end;
    Ok(())
}
