//! What a queue must hold, as plain maps. Pure; every method panics where the queue broke a promise.
//!
//! A lane that was damaged owes less: it opens, it gives back nothing that was not appended, its order
//! rises, no number is used twice, and what was read after the damage or appended since stays.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use trunkline::event::{Envelope, Lane};
use trunkline::queue::{AppendError, Appended, DeadLetter, Outcome, Page, Seq, Settlement, Stored};
use uuid::Uuid;

/// What the queue knows of an id within the dedupe window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Memory {
    /// A repeat is a duplicate.
    Known,
    /// It was settled and the queue opened again since, or it was stored more than once: either answer.
    Unsure,
    /// Its event died: it may come again.
    Forgotten,
}

#[derive(Debug)]
struct Id {
    accepted_at_ms: i64,
    memory: Memory,
    stored: u32,
}

#[derive(Debug, Default)]
struct LaneModel {
    appended: BTreeMap<Seq, Envelope>,
    unsettled: BTreeMap<Seq, Envelope>,
    settled: Vec<Settlement>,
    damaged: bool,
}

/// The whole queue.
#[derive(Debug)]
pub(crate) struct Model {
    lanes: BTreeMap<Lane, LaneModel>,
    letters: BTreeMap<(Lane, Seq), Settlement>,
    ids: HashMap<Uuid, Id>,
    window_ms: i64,
}

impl Model {
    pub(crate) fn new(dedupe_window: Duration) -> Self {
        Self {
            lanes: Lane::ALL.into_iter().map(|lane| (lane, LaneModel::default())).collect(),
            letters: BTreeMap::new(),
            ids: HashMap::new(),
            window_ms: dedupe_window.as_millis().try_into().unwrap(),
        }
    }

    /// Events that a producer could repeat.
    pub(crate) fn appended(&self) -> Vec<&Envelope> {
        self.lanes.values().flat_map(|lane| lane.appended.values()).collect()
    }

    /// Numbers that were ever given in the lane.
    pub(crate) fn numbers(&self, lane: Lane) -> Vec<Seq> {
        self.lanes[&lane].appended.keys().copied().collect()
    }

    pub(crate) fn unsettled(&self, lane: Lane) -> Vec<Stored> {
        let stored = |(seq, event): (&Seq, &Envelope)| Stored { seq: *seq, event: event.clone() };
        self.lanes[&lane].unsettled.iter().map(stored).collect()
    }

    pub(crate) fn settled(&self) -> Vec<&Settlement> {
        self.lanes.values().flat_map(|lane| &lane.settled).collect()
    }

    /// Checks and notes the answer to an append; `refusing`: the disk is too full for any.
    pub(crate) fn answered(
        &mut self,
        event: Envelope,
        answer: &Result<Appended, AppendError>,
        now_ms: i64,
        refusing: bool,
    ) {
        let known = self.ids.get(&event.event_id);
        let known = known.filter(|id| now_ms - id.accepted_at_ms <= self.window_ms).map(|id| id.memory);
        let lane = self.lanes.get_mut(&event.lane).unwrap();
        match answer {
            Ok(Appended::Stored(seq)) => {
                assert!(known != Some(Memory::Known), "{seq} repeats an event within the window");
                assert!(!refusing, "{seq} was stored on a disk that is too full");
                let last = lane.appended.last_key_value().map_or(0, |(last, _)| *last);
                assert!(*seq > last, "{}: {seq} after {last}", event.lane);
                let stored = self.ids.get(&event.event_id).map_or(0, |id| id.stored) + 1;
                let id = Id { accepted_at_ms: event.accepted_at_ms, memory: Memory::Known, stored };
                self.ids.insert(event.event_id, id);
                // Its dead letter is superseded.
                self.letters.retain(|_, letter| letter.stored.event.event_id != event.event_id);
                lane.appended.insert(*seq, event.clone());
                lane.unsettled.insert(*seq, event);
            }
            Ok(Appended::Duplicate) => {
                let may_be = matches!(known, Some(Memory::Known | Memory::Unsure));
                assert!(may_be, "a duplicate of nothing that the queue may know: {known:?}");
            }
            Err(AppendError::DiskLow { .. }) => {
                assert!(refusing, "refused on a disk with room");
                assert!(known != Some(Memory::Known), "a repeat is answered also on a full disk");
            }
            Err(error) => panic!("refused: {error}"),
        }
    }

    pub(crate) fn settle(&mut self, settlements: &[Settlement]) {
        for settlement in settlements {
            let Stored { seq, event } = &settlement.stored;
            let lane = self.lanes.get_mut(&event.lane).unwrap();
            if lane.unsettled.remove(seq).is_none() {
                continue;
            }
            lane.settled.push(settlement.clone());
            if let Outcome::Dead { .. } = settlement.outcome {
                self.letters.retain(|place, letter| {
                    letter.stored.event.event_id != event.event_id || *place == (event.lane, *seq)
                });
                self.letters.insert((event.lane, *seq), settlement.clone());
                let id = self.ids.get_mut(&event.event_id).unwrap();
                let is_sure = id.stored == 1 && !lane.damaged;
                id.memory = if is_sure { Memory::Forgotten } else { Memory::Unsure };
            }
        }
    }

    /// After a new opening only what lies unsettled is surely remembered.
    pub(crate) fn reopened(&mut self) {
        for id in self.ids.values_mut().filter(|id| id.memory == Memory::Known) {
            id.memory = Memory::Unsure;
        }
        for lane in self.lanes.values() {
            if lane.damaged {
                for event in lane.appended.values() {
                    self.ids.get_mut(&event.event_id).unwrap().memory = Memory::Unsure;
                }
                continue;
            }
            for event in lane.unsettled.values() {
                let id = self.ids.get_mut(&event.event_id).unwrap();
                // It may have been accepted again since, and settled.
                (id.memory, id.accepted_at_ms) = (Memory::Known, id.accepted_at_ms.max(event.accepted_at_ms));
            }
        }
    }

    pub(crate) fn damaged(&mut self, lane: Lane) {
        let lane = self.lanes.get_mut(&lane).unwrap();
        lane.damaged = true;
        lane.unsettled.clear();
    }

    pub(crate) fn check_depth(&self, lane: Lane, events: u64) {
        let held = &self.lanes[&lane];
        assert!(held.damaged || events == held.unsettled.len() as u64, "{lane}: depth {events}, {held:?}");
    }

    /// All that a lane gave. What a damaged one gave stays from now on.
    pub(crate) fn check_all(&mut self, lane: Lane, read: &[Stored]) {
        let expected = self.unsettled(lane);
        let held = self.lanes.get_mut(&lane).unwrap();
        if !held.damaged {
            assert_eq!(seqs(read), seqs(&expected), "{lane}: other numbers than what is unsettled");
            assert!(read == expected, "{lane}: other events than were appended");
            return;
        }
        held.check_genuine(lane, read);
        for stored in expected {
            assert!(read.contains(&stored), "{lane}: {} is gone and not by the damage", stored.seq);
        }
        held.unsettled.extend(read.iter().map(|stored| (stored.seq, stored.event.clone())));
    }

    pub(crate) fn check_page(&self, lane: Lane, from: Seq, max_events: usize, page: &Page) {
        let held = &self.lanes[&lane];
        held.check_genuine(lane, &page.events);
        assert!(page.at_end || page.next > from, "{lane}: no progress at {from}");
        assert!(page.events.len() <= max_events, "{lane}: {} events", page.events.len());
        let inside = |stored: &Stored| (from..page.next).contains(&stored.seq);
        assert!(page.events.iter().all(inside), "{lane}: a page from {from} to {} lies", page.next);
        if held.damaged {
            return;
        }
        let mut expected = self.unsettled(lane);
        expected.retain(|stored| stored.seq >= from);
        let left = expected.split_off(expected.partition_point(|stored| stored.seq < page.next));
        assert_eq!(seqs(&page.events), seqs(&expected), "{lane}: a page from {from} to {}", page.next);
        assert!(left.is_empty() || !page.at_end, "{lane}: no end at {}", page.next);
        assert!(left.is_empty() || !page.events.is_empty(), "{lane}: an empty page at {from}");
    }

    pub(crate) fn check_letters(&self, letters: &[DeadLetter]) {
        // They come in order of death.
        let mut letters = letters.to_vec();
        letters.sort_by_key(|letter| (letter.stored.event.lane, letter.stored.seq));
        let found: Vec<(Lane, Seq)> =
            letters.iter().map(|letter| (letter.stored.event.lane, letter.stored.seq)).collect();
        assert_eq!(found, self.letters.keys().copied().collect::<Vec<_>>());
        for (letter, settlement) in letters.iter().zip(self.letters.values()) {
            let outcome = Outcome::Dead { reason: letter.reason, message: letter.message.clone() };
            assert!(letter.stored == settlement.stored && outcome == settlement.outcome);
            let told = (letter.attempts, letter.status, letter.correlation_id.clone());
            assert_eq!(told, (settlement.attempts, settlement.status, settlement.correlation_id.clone()));
        }
    }
}

impl LaneModel {
    /// Rising, and each as it was appended.
    fn check_genuine(&self, lane: Lane, read: &[Stored]) {
        assert!(read.is_sorted_by(|a, b| a.seq < b.seq), "{lane}: out of order {:?}", seqs(read));
        let genuine = |stored: &Stored| self.appended.get(&stored.seq) == Some(&stored.event);
        assert!(read.iter().all(genuine), "{lane}: other than what was appended");
    }
}

fn seqs(stored: &[Stored]) -> Vec<Seq> {
    stored.iter().map(|stored| stored.seq).collect()
}
