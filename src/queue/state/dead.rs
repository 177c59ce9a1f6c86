//! Dead letters: a log of their own, written and synced before their events count as settled. A letter
//! is settled when it is discarded, replayed, superseded or aged out.

use std::collections::{BTreeSet, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::clock::Clock;
use crate::event::Lane;

use crate::queue::error::StoreError;
use crate::queue::format::chunk;
use crate::queue::format::letter::{self, DeadLetter};
use crate::queue::log::append::{AppendBatch, SegmentedLog};
use crate::queue::log::header::TimeRange;
use crate::queue::log::ids::{self, IdEntry, Identity, NumberedId};
use crate::queue::log::quarantine::Quarantine;
use crate::queue::log::raw::OnFault;
use crate::queue::log::segment::{LogId, Segment};
use crate::queue::log::source::{Chunks, Looked, Source};
use crate::queue::log::survey::{ids_of, scan};
use crate::queue::types::{Seq, Settlement};

/// The dead letters.
#[derive(Debug)]
pub(crate) struct Dead {
    pub(crate) log: SegmentedLog,
    /// By a hash of the identity: ten times smaller than the ids, and a letter is read before it is
    /// believed to be the one.
    index: HashMap<u64, LetterPlace>,
    hasher: RandomState,
    counts: Counts,
    clock: Clock,
    /// Segments whose letters are not in the index: they could not be read yet.
    unindexed: BTreeSet<Seq>,
}

/// Letters that cannot be read now, and the first number behind them.
#[derive(Clone, Debug)]
pub(crate) struct LettersUnread {
    pub(crate) error: StoreError,
    pub(crate) resume_at: Seq,
}

/// Letters by lane. Read without the lock that is held through a sync.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counts(Arc<[AtomicU64; Lane::ALL.len()]>);

impl Counts {
    pub(crate) fn of(&self, lane: Lane) -> u64 {
        self.0[lane.index()].load(Ordering::Relaxed)
    }
}

/// A letter that the index knows: there is one of that identity, if the hashes do not deceive.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KnownLetter {
    pub(crate) lane: Lane,
    pub(crate) identity: Identity,
    pub(crate) number: Seq,
}

#[derive(Clone, Copy, Debug)]
struct LetterPlace {
    number: Seq,
    lane: u8,
    /// Position in the lane, of letters that this process wrote.
    seq: Option<Seq>,
}

impl Dead {
    /// Knows the letters of a log whose settled numbers are known.
    pub(crate) fn new(log: SegmentedLog, clock: Clock) -> Self {
        let mut dead = Self {
            log,
            index: HashMap::new(),
            hasher: RandomState::new(),
            counts: Counts::default(),
            clock,
            unindexed: BTreeSet::new(),
        };
        let mut found = Vec::new();
        for segment in dead.log.index.segments().iter().filter(|segment| segment.is_needed()) {
            match ids_in(dead.log.id, segment) {
                Some(ids) => found.extend(ids),
                // They are known once it can be read.
                None => drop(dead.unindexed.insert(segment.first)),
            }
        }
        dead.enter_all(found);
        dead.log.delete_where(|_| None, Segment::is_settled);
        dead
    }

    /// Enters those that are not settled.
    fn enter_all(&mut self, found: Vec<NumberedId>) {
        for NumberedId { number, id } in found {
            if !self.log.index.is_settled(number) {
                self.enter(id.identity, LetterPlace { number, lane: id.lane, seq: None });
            }
        }
    }

    fn hash(&self, identity: Identity) -> u64 {
        self.hasher.hash_one(identity)
    }

    fn enter(&mut self, identity: Identity, place: LetterPlace) -> Option<LetterPlace> {
        self.count(place.lane, 1);
        let before = self.index.insert(self.hash(identity), place);
        if let Some(before) = before {
            self.count(before.lane, -1);
        }
        before
    }

    fn count(&mut self, lane: u8, by: i64) {
        if let Some(count) = self.counts.0.get(usize::from(lane)) {
            // Only the holder of this lock writes.
            count.store(count.load(Ordering::Relaxed).saturating_add_signed(by), Ordering::Relaxed);
        }
    }

    /// How many there are, for callers that must not wait for a sync.
    pub(crate) fn counts(&self) -> Counts {
        self.counts.clone()
    }

    /// One past the newest letter.
    pub(crate) fn end(&self) -> Seq {
        self.log.next()
    }

    /// Letters of a lane.
    pub(crate) fn len(&self, lane: Lane) -> u64 {
        self.counts.of(lane)
    }

    /// Number of the letter of that identity, if one lies here.
    pub(crate) fn find(&self, identity: Identity) -> Option<Seq> {
        if self.index.is_empty() {
            return None;
        }
        self.index.get(&self.hash(identity)).map(|place| place.number)
    }

    /// Stores all and syncs once. A letter that is here already, of the same event at the same place,
    /// is not stored again. Gives the numbers of letters that the new ones take the place of.
    pub(crate) fn add(&mut self, dead: &[&Settlement], now_ms: i64) -> Result<Vec<KnownLetter>, StoreError> {
        let is_new = |settlement: &&&Settlement| {
            let event = &settlement.stored.event;
            let place = self.index.get(&self.hash(Identity::of(event)));
            place.is_none_or(|place| {
                place.seq != Some(settlement.stored.seq) || place.lane != event.lane as u8
            })
        };
        let new: Vec<&Settlement> = dead.iter().filter(is_new).copied().collect();
        let letters: Vec<Vec<u8>> = new.iter().filter_map(|new| letter::encode(new, now_ms)).collect();
        if letters.is_empty() {
            return Ok(Vec::new());
        }
        let largest = letters.iter().map(Vec::len).max().unwrap_or(0) + chunk::HEAD;
        self.log.make_room(largest)?;
        let first = self.log.next();
        let chunks = letter::pack(first, &letters);
        let id = |settlement: &&Settlement| IdEntry {
            identity: Identity::of(&settlement.stored.event),
            at_ms: now_ms,
            lane: settlement.stored.event.lane as u8,
        };
        let times = TimeRange { oldest_ms: now_ms, newest_ms: now_ms };
        self.log.append(AppendBatch { chunks, ids: new.iter().map(id).collect(), times })?;
        let mut replaced = Vec::new();
        for (number, settlement) in (first..).zip(new) {
            let event = &settlement.stored.event;
            let place = LetterPlace { number, lane: event.lane as u8, seq: Some(settlement.stored.seq) };
            let identity = Identity::of(event);
            let before = self.enter(identity, place);
            let known =
                |before: LetterPlace| KnownLetter { lane: event.lane, identity, number: before.number };
            replaced.extend(before.map(known));
        }
        Ok(replaced)
    }

    /// Forgets letters whose end is written down.
    pub(crate) fn settle(&mut self, letters: &[DeadLetter]) {
        for letter in letters {
            let hash = self.hash(Identity::of(&letter.stored.event));
            if self.index.get(&hash).is_some_and(|place| place.number == letter.number) {
                self.index.remove(&hash);
                self.count(letter.stored.event.lane as u8, -1);
            }
        }
        let numbers: Vec<Seq> = letters.iter().map(|letter| letter.number).collect();
        self.log.index.mark_settled(&numbers);
        self.log.delete_where(|_| None, Segment::is_settled);
    }

    /// Lets the bodies of letters that ended leave the disk.
    pub(crate) fn rest(&mut self, is_quiet: bool) -> Result<(), StoreError> {
        let is_done = self.log.index.newest().is_some_and(|newest| newest.count() > 0 && newest.is_settled());
        if is_quiet && is_done {
            self.log.roll(0)?;
            self.log.delete_where(|_| None, Segment::is_settled);
        }
        Ok(())
    }

    /// The first letter at or after `number`. What is damaged is passed over.
    ///
    /// # Errors
    /// If it cannot be read, which may pass: it is looked at again when it is time.
    pub(crate) fn at_or_after(
        &mut self,
        number: Seq,
        quarantine: &Quarantine,
    ) -> Result<Option<DeadLetter>, LettersUnread> {
        let (mut number, mut looked) = (number, None);
        while let Some(source) = self.log.index.source_for(number) {
            let is_again = looked.replace(source.first) == Some(source.first);
            let found = if source.is_unread() { None } else { Some(first_letter(&source, number)) };
            let result = match found {
                Some(Ok(Some(found))) => return Ok(Some(found)),
                Some(Ok(None)) => {
                    number = source.end;
                    continue;
                }
                Some(Err(error)) if is_again || matches!(source.chunks, Chunks::Live(_)) => Err(error),
                Some(Err(_)) | None => self.look_into(&source, quarantine),
            };
            result.map_err(|error| LettersUnread { error, resume_at: source.reach })?;
        }
        Ok(None)
    }

    /// Looks at a segment and keeps what was found.
    fn look_into(&mut self, source: &Source, quarantine: &Quarantine) -> Result<(), StoreError> {
        let now = self.clock.mono();
        source.holds(now)?;
        let looked = source.look(quarantine);
        let ids = match &looked {
            Ok(Looked::Chunks(raw)) if self.unindexed.contains(&source.first) => {
                ids_of(raw).map_err(|error| StoreError::io(&source.dir, &error))?
            }
            _ => Vec::new(),
        };
        let lost = self.log.index.looked(source.first, looked, now)?;
        if self.log.index.is_read(source.first) {
            self.unindexed.remove(&source.first);
        }
        self.enter_all(ids);
        if !lost.is_empty() {
            let is_lost = |place: &LetterPlace| self.log.index.is_lost(place.number);
            let lost = self.index.iter().filter(|(_, place)| is_lost(place));
            for (hash, lane) in lost.map(|(hash, place)| (*hash, place.lane)).collect::<Vec<_>>() {
                self.index.remove(&hash);
                self.count(lane, -1);
            }
        }
        Ok(())
    }

    /// The letter of that number.
    pub(crate) fn letter(
        &mut self,
        number: Seq,
        quarantine: &Quarantine,
    ) -> Result<Option<DeadLetter>, StoreError> {
        let found = self.at_or_after(number, quarantine).map_err(|unread| unread.error)?;
        Ok(found.filter(|letter| letter.number == number))
    }
}

/// Who is in a segment; `None` if that cannot be read now.
fn ids_in(id: LogId, segment: &Segment) -> Option<Vec<NumberedId>> {
    if segment.is_unknown {
        return None;
    }
    if let Some(file) = ids::read(&segment.dir.join(ids::FILE)).filter(|file| file.first == segment.first) {
        return Some(file.numbered());
    }
    let raw = match &segment.raw {
        Some(raw) => raw.clone(),
        None => Arc::new(scan(id, segment.first, &segment.dir, OnFault::Stop).ok()??),
    };
    // A part of them would be taken for all.
    if raw.fault().is_some() { None } else { ids_of(&raw).ok() }
}

/// As [`first_in`]; what the store cannot read of a segment that is being written, its file may give.
fn first_letter(source: &Source, number: Seq) -> Result<Option<DeadLetter>, StoreError> {
    match (first_in(source, number), &source.chunks) {
        (Err(error), Chunks::Live(_)) => {
            let from_file = source.read_from_file().and_then(|file| first_in(&file, number));
            from_file.map_err(|_| error)
        }
        (result, _) => result,
    }
}

/// The first unsettled letter of a segment at or after `number`.
fn first_in(source: &Source, number: Seq) -> Result<Option<DeadLetter>, StoreError> {
    let Some(next) = source.next_unsettled(number) else { return Ok(None) };
    let chunk = source.chunk_of(next)?;
    let letters = letter::decode(&chunk.chunk()).map_err(|error| StoreError::new(error.to_string()))?;
    Ok(letters.into_iter().find(|letter| letter.number == next))
}
