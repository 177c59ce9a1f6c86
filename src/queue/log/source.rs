//! Where a segment's chunks are read: the store of a live one, the file of a closed one.
//!
//! Invariants
//! - A read gives every record up to where it ends that is not settled, or an error.
//! - A look at a segment either reads all of it or changes nothing.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::examine::examine;
use super::quarantine::Quarantine;
use super::raw::{OnFault, RawFile};
use super::segment::{FailedLook, LogId, Segment, unsettled_of};
use super::store::Store;
use super::survey::{SegmentDir, scan};
use crate::clock::Mono;
use crate::queue::error::StoreError;
use crate::queue::format::bitmap::Bitmap;
use crate::queue::format::chunk::ChunkBuf;
use crate::queue::format::event;
use crate::queue::types::{Page, PageLimit, Seq, Stored};

/// Where a segment's chunks are read.
#[derive(Clone, Debug)]
pub(crate) enum Chunks {
    /// It is written at the moment.
    Live(Arc<Store>),
    /// It is closed.
    Raw(Arc<RawFile>),
    /// It is closed and was not looked at yet, or not with success.
    Unread,
    /// Not even its end is known; `next` is the directory of the segment after it.
    Unknown { next: Option<PathBuf> },
}

/// A segment as it is when a read begins.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    pub(crate) chunks: Chunks,
    pub(crate) id: LogId,
    pub(crate) dir: PathBuf,
    pub(crate) first: Seq,
    pub(crate) end: Seq,
    /// One past the last number that may lie in it.
    pub(crate) reach: Seq,
    settled: Bitmap,
    /// What came of the last look at it, if that failed.
    unread: Option<FailedLook>,
    /// This process gives its handle back at the moment: its file may still change.
    is_closing: bool,
}

/// What a look at a segment brought.
#[derive(Debug)]
pub(crate) enum Looked {
    /// Its chunks. What they lack is damaged, and lies in the quarantine.
    Chunks(Arc<RawFile>),
    /// What it is; `None`: there is nothing in it.
    Segment(Option<Box<Segment>>),
}

impl Source {
    /// Where `segment` of the log `id` is read now; `next` is the one after it.
    pub(crate) fn of(id: LogId, segment: &Segment, next: Option<&Segment>) -> Self {
        let chunks = match (&segment.live, &segment.raw) {
            _ if segment.is_unknown => Chunks::Unknown { next: next.map(|next| next.dir.clone()) },
            (Some(live), _) => Chunks::Live(live.store.clone()),
            (None, Some(raw)) => Chunks::Raw(raw.clone()),
            (None, None) => Chunks::Unread,
        };
        Self {
            chunks,
            id,
            dir: segment.dir.clone(),
            first: segment.first,
            end: segment.end,
            reach: segment.reach(),
            settled: segment.settled.clone(),
            unread: segment.unread.clone(),
            is_closing: segment.is_closing.load(Ordering::Acquire),
        }
    }

    /// Whether it has to be looked at before it can be read.
    pub(crate) fn is_unread(&self) -> bool {
        matches!(self.chunks, Chunks::Unread | Chunks::Unknown { .. })
    }

    /// The fault of the last look, if it is too early for another.
    pub(crate) fn holds(&self, now: Mono) -> Result<(), StoreError> {
        match &self.unread {
            Some(unread) if now < unread.next_look => Err(StoreError::new(unread.fault.clone())),
            _ => Ok(()),
        }
    }

    /// Looks at it: reads all of it, and keeps as evidence what is damaged.
    pub(crate) fn look(&self, quarantine: &Quarantine) -> Result<Looked, StoreError> {
        if let Chunks::Unknown { next } = &self.chunks {
            let dir = SegmentDir { path: self.dir.clone(), first: self.first };
            let found = examine(self.id, &dir, next.as_deref(), quarantine);
            let found = found.map_err(|error| StoreError::new(error.to_string()))?;
            return Ok(Looked::Segment(found.map(Box::new)));
        }
        let raw = self.scan()?;
        let lost = unsettled_of(&self.settled, &raw.gaps(self.first..self.end));
        if self.is_closing && !lost.is_empty() {
            return Err(self.fault(&"it is being closed"));
        }
        if !lost.is_empty() {
            let kept = quarantine.keep(self.id.name(), &self.dir, &words(&lost));
            kept.map_err(|error| self.fault(&format!("cannot link it into quarantine: {error}")))?;
        }
        Ok(Looked::Chunks(Arc::new(raw)))
    }

    /// The chunks in its file, if the disk gives all of it.
    fn scan(&self) -> Result<RawFile, StoreError> {
        let raw = scan(self.id, self.first, &self.dir, OnFault::Stop).map_err(|error| self.fault(&error))?;
        let raw = raw.ok_or_else(|| self.fault(&"its database is missing: put it back"))?;
        match raw.fault() {
            Some(fault) => Err(self.fault(&fault)),
            None => Ok(raw),
        }
    }

    /// The fault of the last look, if not even its end is known.
    pub(crate) fn check_known(&self) -> Result<(), StoreError> {
        match (&self.chunks, &self.unread) {
            (Chunks::Unknown { .. }, Some(unread)) => Err(StoreError::new(unread.fault.clone())),
            _ => Ok(()),
        }
    }

    /// The same segment, read from its file. One that is not known yet ends where its file does.
    pub(crate) fn read_from_file(&self) -> Result<Self, StoreError> {
        let raw = self.scan()?;
        let end = match &self.chunks {
            Chunks::Unknown { .. } => raw.end().unwrap_or(self.end),
            _ => self.end,
        };
        Ok(Self { chunks: Chunks::Raw(Arc::new(raw)), end, ..self.clone() })
    }

    /// The same segment, read from its file if it is closed and was not looked at yet.
    pub(crate) fn ready(self) -> Result<Self, StoreError> {
        if self.is_unread() { self.read_from_file() } else { Ok(self) }
    }

    /// The first record at or after `seq` that is not settled.
    pub(crate) fn next_unsettled(&self, seq: Seq) -> Option<Seq> {
        self.settled.first_missing(seq.max(self.first)..self.end)
    }

    /// The chunk that holds `seq`.
    ///
    /// # Errors
    /// If it cannot be read, or there is none.
    pub(crate) fn chunk_of(&self, seq: Seq) -> Result<ChunkBuf, StoreError> {
        let chunk = self.chunk_at(seq)?.filter(|chunk| chunk.numbers().contains(&seq));
        chunk.ok_or_else(|| self.fault(&format!("record {seq} is missing from its chunk")))
    }

    /// Its whole chunks in order, up to the segment's end. Ends after an error.
    pub(crate) fn chunks(&self) -> impl Iterator<Item = Result<ChunkBuf, StoreError>> {
        let mut next = Some(self.first);
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
            Chunks::Unread | Chunks::Unknown { .. } => Err(self.fault(&"not read yet")),
        }
    }

    fn fault(&self, error: &dyn std::fmt::Display) -> StoreError {
        StoreError::new(format!("{}: {error}", self.dir.display()))
    }
}

/// What is lost, for the operator.
pub(super) fn words(lost: &[Range<Seq>]) -> String {
    let count: u64 = lost.iter().map(|range| range.end - range.start).sum();
    let parts: Vec<String> =
        lost.iter().map(|range| format!("{} to {}", range.start, range.end - 1)).collect();
    format!("{count} unsettled records are damaged: numbers {}", parts.join(", "))
}

/// Reads from `page.next` on until the page is full or the segment ends. After an error the page is whole
/// up to `page.next`.
pub(crate) fn read_chunks(source: &Source, limit: PageLimit, page: &mut Page) -> Result<(), StoreError> {
    let mut bytes: usize = page.events.iter().map(|stored| stored.event.body.len()).sum();
    while let Some(next) = source.next_unsettled(page.next) {
        let chunk = source.chunk_of(next)?;
        let events: Vec<Stored> = event::decode(&chunk.chunk()).map_err(|error| source.fault(&error))?;
        for stored in events {
            if stored.seq < next || stored.seq >= source.end || source.settled.contains(stored.seq) {
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
        page.next = chunk.numbers().end;
    }
    page.next = page.next.max(source.end);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Array, Door, Envelope, Key, KnownArray, Lane, catalogue};

    const LANE: Lane = Lane::Conversations;

    fn event() -> Envelope {
        let known = catalogue::types().iter().find(|known| known.lane == LANE).unwrap();
        Envelope {
            lane: LANE,
            array: Array::Known(KnownArray(known)),
            event_id: uuid::Uuid::nil(),
            key: Key(1),
            event_time_ms: 1,
            accepted_at_ms: 2,
            door: Door::Stream,
            uid: 3,
            body: bytes::Bytes::from_static(b"{}"),
        }
    }

    /// A segment of twelve records, four a chunk, of which the second chunk is not in the file.
    fn with_a_hole(dir: &std::path::Path) -> Segment {
        let chunks: Vec<u8> =
            [100, 108].map(|first| event::encode(LANE, first, &vec![event(); 4]).remove(0).bytes).concat();
        std::fs::write(dir.join("db"), chunks).unwrap();
        let mut segment = Segment::new(dir.to_path_buf(), 100, 0, None);
        segment.end = 112;
        segment.raw = scan(LogId::Lane(LANE), 100, dir, OnFault::Stop).unwrap().map(Arc::new);
        segment
    }

    #[test]
    fn a_page_is_complete_up_to_its_end_or_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let mut segment = with_a_hole(dir.path());
        let limit = PageLimit { events: 100, bytes: 1 << 20 };
        let (mut before, mut at, mut after) = (Page::default(), Page::default(), Page::default());
        at.next = 104;

        let source = Source::of(LogId::Lane(LANE), &segment, None);
        let results = [&mut before, &mut at].map(|page| read_chunks(&source, limit, page).is_err());
        (104..108).for_each(|seq| segment.settle(seq));
        let source = Source::of(LogId::Lane(LANE), &segment, None);
        read_chunks(&source, limit, &mut after).unwrap();

        let seqs = |page: &Page| page.events.iter().map(|stored| stored.seq).collect::<Vec<_>>();
        assert_eq!(results, [true, true]);
        assert_eq!((seqs(&before), before.next), ((100..104).collect(), 104));
        assert_eq!((seqs(&at), at.next), (vec![], 104));
        assert_eq!((seqs(&after), after.next), ((100..104).chain(108..112).collect(), 112));
    }
}
