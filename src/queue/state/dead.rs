//! Dead letters: a log of their own, written and synced before their events count as settled. A letter
//! is settled when it is discarded, replayed, superseded or aged out.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::{Clock, Mono};
use crate::event::Lane;

use crate::queue::format::chunk;
use crate::queue::format::letter::{self, DeadLetter};
use crate::queue::log::append::{Batch, SegmentedLog};
use crate::queue::log::header::TimeRange;
use crate::queue::log::ids::{self, IdEntry, Identity, NumberedId};
use crate::queue::log::quarantine::Quarantine;
use crate::queue::log::segment::Segment;
use crate::queue::log::source::{Chunks, Source};
use crate::queue::log::survey::{ids_of, scan};
use crate::queue::types::{Seq, Settlement, StoreError};

/// Least time between two looks at a file that the disk does not give: commands and repeats may ask in a
/// burst, and the twelfth look is the last.
const BETWEEN_LOOKS: Duration = Duration::from_secs(5);

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
    /// The segment that could not be read whole when it was last looked at.
    unread: Option<(Seq, Mono)>,
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
            unread: None,
        };
        let mut found = Vec::new();
        for segment in dead.log.index.segments().iter().filter(|segment| segment.unsettled() > 0) {
            found.extend(match ids::read(&segment.dir.join(ids::FILE)) {
                Some(file) if file.first == segment.first => file.numbered(),
                _ => match scan(dead.log.id, segment.first, &segment.dir) {
                    Ok(Some(raw)) => ids_of(&raw),
                    _ => Vec::new(),
                },
            });
        }
        for NumberedId { number, id } in found {
            if !dead.log.index.is_settled(number) {
                dead.enter(id.identity, LetterPlace { number, lane: id.lane, seq: None });
            }
        }
        dead.log.delete_where(|_| None, Segment::is_settled);
        dead
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

    /// How many there are, for whoever must not wait for a sync.
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
        self.log.append(Batch { chunks, ids: new.iter().map(id).collect(), times })?;
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

    /// The first letter at or after `number`. What is damaged is passed over; what the disk does not give
    /// is an error until it has been looked at often enough.
    pub(crate) fn at_or_after(
        &mut self,
        number: Seq,
        quarantine: &Quarantine,
    ) -> Result<Option<DeadLetter>, StoreError> {
        let mut number = number;
        while let Some(source) = self.log.index.source_for(number) {
            if matches!(source.chunks, Chunks::Unread) {
                self.look_into(source, quarantine)?;
                continue;
            }
            number = number.max(source.first);
            match first_in(&source, number) {
                Ok(Some(found)) => return Ok(Some(found)),
                Ok(None) => number = source.end,
                Err(_) if matches!(source.chunks, Chunks::Raw(_)) => self.look_into(source, quarantine)?,
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// Finds the chunks of a closed segment. Letters are lost only once the disk has had its time.
    fn look_into(&mut self, source: Source, quarantine: &Quarantine) -> Result<(), StoreError> {
        let first = source.first;
        let not_all = StoreError::new(format!("{}: the disk does not give all of it", source.dir.display()));
        let now = self.clock.mono();
        if self.unread.is_some_and(|(unread, at)| unread == first && now.since(at) < BETWEEN_LOOKS) {
            return Err(not_all);
        }
        let looked = source.read_from_file();
        let is_whole = |source: &Source| !matches!(&source.chunks, Chunks::Raw(raw) if !raw.is_readable());
        if !looked.as_ref().is_ok_and(is_whole) && !self.log.index.gives_up(first) {
            self.unread = Some((first, now));
            return Err(looked.err().unwrap_or(not_all));
        }
        self.unread = None;
        let raw = match looked {
            Ok(Source { chunks: Chunks::Raw(raw), .. }) => Some(raw),
            _ => None,
        };
        if self.log.index.found_raw(first, raw, quarantine) > 0 {
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
        let found = self.at_or_after(number, quarantine)?;
        Ok(found.filter(|letter| letter.number == number))
    }
}

/// The first unsettled letter of a segment at or after `number`.
fn first_in(source: &Source, number: Seq) -> Result<Option<DeadLetter>, StoreError> {
    let is_wanted = |letter: &DeadLetter| {
        (number..source.end).contains(&letter.number) && !source.settled.contains(letter.number)
    };
    for chunk in source.chunks_from(number) {
        let letters = letter::decode(&chunk?.chunk()).unwrap_or_default();
        if let Some(found) = letters.into_iter().find(is_wanted) {
            return Ok(Some(found));
        }
    }
    Ok(None)
}
