//! A lane's log: its segments, its sequence numbers, what is settled.
//!
//! Invariants
//! - Only the newest segment is written. After any fault of a write or sync it is sealed: the next
//!   append makes a new segment whose header says how far the old one counts.
//! - `next` is above every sequence number that was ever tried, so none is used twice.
//! - Readers see an event only after its sync returned.

use std::fs;
use std::path::{Path, PathBuf};

use crate::event::{Envelope, Lane};

use super::chunk::{self, MAX_CHUNK};
use super::directory::{QUARANTINE_GAP, end_of_quarantined, name_of, set_aside, sorted_dirs};
use super::page::{Source, holds_events};
use super::salvage::salvage;
use super::segment::{self, Header, Segment};
use super::settled::runs;
use super::store::StoreError;
use super::types::{LaneDepth, OpenError, Seq, Stored};

/// Bytes of chunks after which the next segment begins.
const SEGMENT_BYTES: u64 = 6 * 1024 * 1024;
/// Closed segments that stay open for reading and settling.
const OPEN_CLOSED: usize = 2;

#[derive(Debug)]
pub(super) struct Log {
    lane: Lane,
    dir: PathBuf,
    segments: Vec<Segment>,
    next: Seq,
    sealed: bool,
    body_bytes: u64,
    oldest: Option<(Seq, i64)>,
}

impl Log {
    /// Reads the lane's directory. Damaged segments are set aside under `quarantine`.
    pub(super) fn open(dir: PathBuf, lane: Lane, quarantine: &Path) -> Result<Self, OpenError> {
        fs::create_dir_all(&dir).map_err(|error| OpenError::from_io(&dir, &error))?;
        let mut segments = Vec::new();
        let mut next = 1;
        for path in sorted_dirs(&dir).map_err(|error| OpenError::from_io(&dir, &error))? {
            let unused = || matches!(path.join("header").try_exists(), Ok(false)) && !holds_events(&path);
            if path.extension().is_some() || unused() {
                fs::remove_dir_all(&path).map_err(|error| OpenError::from_io(&path, &error))?;
                continue;
            }
            match segment::read_header(&path, lane) {
                Header::Newer(version) => return Err(OpenError::Newer { path, version }),
                Header::Damaged => {
                    next = next.max(name_of(&path).unwrap_or(next)) + QUARANTINE_GAP;
                    set_aside(&path, quarantine, "its header is damaged")?;
                }
                Header::Valid { first, previous_end } => {
                    next = next.max(first);
                    segments.push(Segment {
                        first,
                        previous_end,
                        end: first,
                        bytes: 0,
                        dir: path,
                        settled: Default::default(),
                        store: None,
                    });
                }
            }
        }
        // What was set aside used its numbers too, also when no segment is left to tell.
        next = next.max(end_of_quarantined(quarantine, lane));
        let mut log = Self { lane, dir, segments, next, sealed: false, body_bytes: 0, oldest: None };
        log.learn(quarantine)?;
        // sled drops a damaged tail without a word: the newest segment may end lower than it did.
        if !log.segments.is_empty() {
            log.next += REOPEN_GAP;
            log.sealed = true;
        }
        Ok(log)
    }

    /// Finds where each segment ends and what is settled in it.
    fn learn(&mut self, quarantine: &Path) -> Result<(), OpenError> {
        let mut kept: Vec<Segment> = Vec::new();
        for mut segment in std::mem::take(&mut self.segments) {
            if let Some(before) = kept.last_mut()
                && segment.previous_end + 1 < before.end
            {
                before.end = (segment.previous_end + 1).max(before.first);
            }
            let learnt = segment.find_end().and_then(|()| segment.open().map(drop));
            segment.store = None;
            if let Err(error) = learnt {
                self.next = self.next.max(segment.first + QUARANTINE_GAP);
                let to = set_aside(&segment.dir, quarantine, &error.to_string())?;
                match salvage(&to, &self.dir, self.lane, &segment) {
                    Ok(Some(saved)) => segment = saved,
                    Ok(None) => continue,
                    Err(error) => {
                        tracing::error!(lane = %self.lane, %error, "a damaged segment cannot be salvaged now");
                        continue;
                    }
                }
            }
            self.next = self.next.max(segment.end);
            kept.push(segment);
        }
        self.segments = kept;
        self.drop_settled();
        Ok(())
    }

    /// One past the last event that readers may see.
    pub(super) fn visible_end(&self) -> Seq {
        self.segments.last().map_or(1, |segment| segment.end)
    }

    /// Puts events into the newest segment; not durable and not visible before [`Log::commit`].
    ///
    /// The numbers count as tried whatever comes of it.
    pub(super) fn append(&mut self, events: &[Envelope]) -> Result<Pending, StoreError> {
        self.make_room()?;
        let first = self.next;
        self.next += events.len() as u64;
        let result = self.put_chunks(first, events);
        self.sealed |= result.is_err();
        let oldest_ms = events.first().map(|event| event.accepted_at_ms);
        result.map(|bytes| Pending { first, end: self.next, bytes, oldest_ms })
    }

    /// `segment` is the newest now; the one before is closed and notes where it ends.
    fn push(&mut self, segment: Segment) {
        if let Some(closed) = self.segments.last() {
            closed.write_summary();
        }
        self.segments.push(segment);
        self.sealed = false;
    }

    fn make_room(&mut self) -> Result<(), StoreError> {
        let full = self.segments.last().is_none_or(|newest| newest.bytes >= SEGMENT_BYTES);
        if full || self.sealed {
            let previous_end = self.segments.last().map_or(0, |newest| newest.end.saturating_sub(1));
            let segment = Segment::create(&self.dir, self.lane, self.next, previous_end)?;
            self.push(segment);
            self.close_spare();
            self.drop_settled();
        }
        Ok(())
    }

    fn put_chunks(&mut self, first: Seq, events: &[Envelope]) -> Result<u64, StoreError> {
        let store = self.segments.last_mut().expect("make_room leaves one").open()?;
        let (mut at, mut bytes) = (0, 0);
        while at < events.len() {
            let mut size = 0;
            let length = events[at..]
                .iter()
                .take_while(|event| {
                    size += chunk::record_len(event);
                    size <= MAX_CHUNK
                })
                .count()
                .max(1);
            let seq = first + at as u64;
            let value = chunk::encode(self.lane, seq, &events[at..at + length]);
            bytes += value.len() as u64;
            store.put(&seq.to_be_bytes(), value)?;
            at += length;
        }
        Ok(bytes)
    }

    /// Syncs what was appended and shows it to readers.
    pub(super) fn commit(&mut self, pending: &[Pending]) -> Result<(), StoreError> {
        let Some(last) = pending.last() else { return Ok(()) };
        let newest = self.segments.last_mut().expect("append leaves one");
        let synced = newest.open().and_then(|store| store.flush());
        if let Err(error) = synced {
            self.sealed = true;
            return Err(error);
        }
        newest.end = last.end;
        for part in pending {
            newest.bytes += part.bytes;
            self.body_bytes += part.bytes;
            if self.oldest.is_none() {
                self.oldest = part.oldest_ms.map(|ms| (part.first, ms));
            }
        }
        Ok(())
    }

    /// After a failed append: what was tried after the last sync must not count, now or after a
    /// restart. The next segment says so; if it cannot be made now, the next append tries again.
    pub(super) fn seal(&mut self) {
        self.sealed = true;
        if let Some(newest) = self.segments.last_mut() {
            newest.store = None;
        }
        if let Err(error) = self.make_room() {
            tracing::warn!(lane = %self.lane, %error, "cannot begin a new segment yet");
        }
    }

    /// The segment that holds `seq` or the first event after it.
    pub(super) fn source_for(&mut self, seq: Seq) -> Result<Option<Source>, StoreError> {
        let Some(at) = self.segments.iter().position(|segment| seq < segment.end) else { return Ok(None) };
        let segment = &mut self.segments[at];
        let store = segment.open()?;
        let source = Source { store, dir: segment.dir.clone(), first: segment.first, end: segment.end };
        self.close_spare_but(at);
        Ok(Some(source))
    }

    pub(super) fn is_settled(&self, seq: Seq) -> bool {
        let at = self.segments.partition_point(|segment| segment.end <= seq);
        self.segments.get(at).is_none_or(|segment| seq < segment.first || segment.settled.contains(seq))
    }

    /// Notes sorted `seqs` as settled on stable storage. Wholly settled closed segments are deleted.
    pub(super) fn settle(&mut self, seqs: &[Seq]) -> Result<(), StoreError> {
        let newest = self.segments.len().saturating_sub(1);
        for at in 0..self.segments.len() {
            let segment = &mut self.segments[at];
            if seqs.iter().any(|seq| (segment.first..segment.end).contains(seq)) {
                // What is settled already is known only once the store was opened.
                segment.open()?;
            }
            // Ranges are stored under their start: a number written twice could cut a longer range short.
            let is_new =
                |seq: &Seq| (segment.first..segment.end).contains(seq) && !segment.settled.contains(*seq);
            let inside: Vec<Seq> = seqs.iter().copied().filter(is_new).collect();
            if inside.is_empty() {
                continue;
            }
            let mut after = segment.settled.clone();
            for (start, end) in runs(&inside) {
                after.insert(start, end);
            }
            let whole = after.count() >= segment.end - segment.first;
            // A closed segment that is wholly settled is deleted below: its ranges need no writing.
            if !(whole && at < newest)
                && let Err(error) = write_settled(segment, &runs(&inside))
            {
                // A handle that failed once fails for ever; a fresh one may not.
                segment.store = None;
                self.sealed |= at == newest;
                return Err(error);
            }
            segment.settled = after;
        }
        self.drop_settled();
        if let Some((seq, _)) = self.oldest
            && self.is_settled(seq)
        {
            self.oldest = None;
        }
        Ok(())
    }

    /// Deletes closed segments that are settled; of the newest nothing stays if all of it is settled
    /// and `idle` says that nothing comes at the moment.
    fn drop_settled(&mut self) {
        let keep = self.segments.len().saturating_sub(1);
        let mut at = 0;
        self.segments.retain_mut(|segment| {
            at += 1;
            if at > keep || !segment.is_settled() {
                return true;
            }
            segment.store = None;
            if let Err(error) = segment::delete(&segment.dir) {
                tracing::warn!(lane = %self.lane, segment = segment.first, %error, "cannot delete a settled segment");
            }
            false
        });
    }

    /// Lets bodies leave the disk when all is settled and nothing comes.
    pub(super) fn rest(&mut self) -> Result<(), StoreError> {
        let Some(newest) = self.segments.last() else { return Ok(()) };
        if newest.end > newest.first && newest.is_settled() {
            let segment = Segment::create(&self.dir, self.lane, self.next, newest.end - 1)?;
            self.push(segment);
            self.drop_settled();
        }
        Ok(())
    }

    pub(super) fn depth(&self) -> LaneDepth {
        LaneDepth {
            events: self.segments.iter().map(Segment::unsettled).sum(),
            bytes: self.segments.iter().map(|segment| segment.bytes).sum(),
            oldest_ms: self.oldest.map(|(_, ms)| ms),
        }
    }

    /// What a reader saw as the first unsettled event.
    pub(super) fn note_oldest(&mut self, stored: &Stored) {
        if self.oldest.is_none_or(|(seq, _)| stored.seq < seq) {
            self.oldest = Some((stored.seq, stored.event.accepted_at_ms));
        }
    }

    fn close_spare(&mut self) {
        self.close_spare_but(usize::MAX);
    }

    fn close_spare_but(&mut self, keep: usize) {
        let newest = self.segments.len().saturating_sub(1);
        let open = self.segments.iter().filter(|segment| segment.store.is_some()).count();
        let mut spare = open.saturating_sub(OPEN_CLOSED + 1);
        for (at, segment) in self.segments.iter_mut().enumerate() {
            if spare > 0 && at != newest && at != keep && segment.store.is_some() {
                segment.store = None;
                spare -= 1;
            }
        }
    }
}

/// Sequence numbers skipped at each opening: more than the newest segment can hold.
const REOPEN_GAP: u64 = 1 << 20;

/// Appended events that are not synced yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pending {
    pub(super) first: Seq,
    pub(super) end: Seq,
    bytes: u64,
    oldest_ms: Option<i64>,
}

fn write_settled(segment: &mut Segment, runs: &[(Seq, Seq)]) -> Result<(), StoreError> {
    let store = segment.open()?;
    for (start, end) in runs {
        store.put_settled(*start, *end)?;
    }
    store.flush()
}
