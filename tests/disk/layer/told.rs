//! What the queue was asked and what it answered, each with the count of syncs at that moment; and whether
//! a disk after a power cut keeps it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Mutex;

use bytes::Bytes;
use trunkline::event::Lane;
use trunkline::queue::{Appended, Backlog, Queue, Seq, Stored};
use uuid::Uuid;

use crate::kit::letters;

use super::Cut;
use super::run::{event, open};

/// A count of syncs.
pub(crate) type At = usize;

/// One event's way, as far as it was told.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    pub(crate) lane: Lane,
    pub(crate) body: Bytes,
    pub(crate) asked: At,
    pub(crate) stored: Option<(At, Seq)>,
    pub(crate) refused: Option<At>,
    pub(crate) settling: Option<At>,
    pub(crate) settled: Option<At>,
    /// It was to be settled into the dead letters.
    pub(crate) is_dead: bool,
    pub(crate) discarding: Option<At>,
    pub(crate) discarded: Option<At>,
}

/// Whether that is so at the latest when `at` syncs were done.
fn by(mark: Option<At>, at: At) -> bool {
    mark.is_some_and(|mark| mark <= at)
}

impl Told {
    pub(crate) fn asked(lane: Lane, body: Bytes, asked: At) -> Self {
        Self {
            lane,
            body,
            asked,
            stored: None,
            refused: None,
            settling: None,
            settled: None,
            is_dead: false,
            discarding: None,
            discarded: None,
        }
    }

    pub(crate) fn was_stored(&self, at: At) -> bool {
        by(self.stored.map(|(stored, _)| stored), at)
    }
}

/// All events by id; ids rise in the order of appending.
#[derive(Clone, Debug, Default)]
pub(crate) struct Account {
    pub(crate) events: BTreeMap<Uuid, Told>,
}

impl Account {
    /// What is known of a disk that was cut after `at` syncs: a new count begins.
    pub(crate) fn after_cut(&self, at: At) -> Account {
        let known = |mark: Option<At>| mark.filter(|mark| *mark <= at).map(|_| 0);
        let events = self.events.iter().filter(|(_, told)| told.asked <= at).map(|(id, told)| {
            let told = Told {
                asked: 0,
                stored: told.stored.map(|(stored, seq)| (if stored <= at { 0 } else { At::MAX }, seq)),
                refused: known(told.refused),
                settling: known(told.settling),
                settled: known(told.settled),
                discarding: known(told.discarding),
                discarded: known(told.discarded),
                ..told.clone()
            };
            (*id, told)
        });
        Account { events: events.collect() }
    }

    /// The highest number that was answered before `at`.
    fn highest(&self, lane: Lane, at: At) -> Seq {
        let ours = self.events.values().filter(|told| told.lane == lane && told.was_stored(at));
        ours.filter_map(|told| told.stored).map(|(_, seq)| seq).max().unwrap_or(0)
    }

    /// What a running queue shows other than it told.
    pub(crate) async fn faults_while_running(&self, queue: &Queue, at: At) -> Vec<String> {
        let mut faults = Vec::new();
        for lane in Lane::ALL {
            faults.extend(self.faults_of_read(lane, &read_all(queue, lane).await, at));
        }
        faults
    }

    /// What `read` of a lane breaks of all that was told by `at`.
    fn faults_of_read(&self, lane: Lane, read: &[Stored], at: At) -> Vec<String> {
        let mut faults = Faults(lane, Vec::new());
        let ids: BTreeSet<Uuid> = read.iter().map(|stored| stored.event.event_id).collect();
        faults.expect(read.is_sorted_by(|a, b| a.seq < b.seq), "numbers do not rise", "");
        faults.expect(
            read.is_sorted_by(|a, b| a.event.event_id < b.event.event_id),
            "other than the order of appending",
            "",
        );
        for Stored { seq, event } in read {
            let told = self.events.get(&event.event_id);
            let is_ours = told.is_some_and(|told| {
                told.asked <= at && told.lane == event.lane && told.lane == lane && told.body == event.body
            });
            faults.expect(is_ours, "never appended", seq);
            let Some(told) = told else { continue };
            faults.expect(told.stored.is_none_or(|(_, same)| same == *seq), "under another number", seq);
            faults.expect(!by(told.refused, at), "refused and read", seq);
            faults.expect(!by(told.settled, at), "settled and read again", seq);
        }
        for (id, told) in self.events.iter().filter(|(_, told)| told.lane == lane) {
            let must_be_there = told.was_stored(at) && !by(told.settling, at);
            let seq = told.stored.map_or(0, |(_, seq)| seq);
            faults.expect(!must_be_there || ids.contains(id), "answered and lost", seq);
        }
        faults.1
    }

    /// What the dead letters break of all that was told by `at`.
    fn faults_of_letters(&self, lane: Lane, letters: &[Stored], at: At) -> Vec<String> {
        let mut faults = Faults(lane, Vec::new());
        let ours = letters.iter().filter(|letter| letter.event.lane == lane);
        let found: BTreeMap<Uuid, &Stored> = ours.map(|letter| (letter.event.event_id, letter)).collect();
        for (id, letter) in &found {
            let told = self.events.get(id).filter(|told| told.is_dead && by(told.settling, at));
            faults.expect(
                told.is_some_and(|told| told.body == letter.event.body),
                "letter of what did not die",
                letter.seq,
            );
        }
        for (id, told) in self.events.iter().filter(|(_, told)| told.lane == lane && told.is_dead) {
            let seq = told.stored.map_or(0, |(_, seq)| seq);
            let must_be_there = by(told.settled, at) && !by(told.discarding, at);
            faults.expect(!must_be_there || found.contains_key(id), "dead and without a letter", seq);
            let must_be_gone = by(told.discarded, at);
            faults.expect(!must_be_gone || !found.contains_key(id), "discarded and still there", seq);
        }
        faults.1
    }
}

struct Faults(Lane, Vec<String>);

impl Faults {
    fn expect(&mut self, holds: bool, fault: &str, seq: impl Display) {
        if !holds {
            self.1.push(format!("{} {fault} {seq}", self.0));
        }
    }
}

/// All unsettled events of a lane.
pub(crate) async fn read_all(queue: &Queue, lane: Lane) -> Vec<Stored> {
    let (mut from, mut all) = (1, Vec::new());
    loop {
        let page = queue.reader().read(lane, from, 50, 1 << 20).await.unwrap();
        assert!(page.at_end || page.next > from, "a page without progress at {from}");
        from = page.next;
        all.extend(page.events);
        if page.at_end {
            return all;
        }
    }
}

/// Starts on what the cut left and looks at everything that was told before it.
async fn check(cut: &Cut, account: &Account, dir: &Path) -> Vec<String> {
    let queue = match open(dir) {
        Ok(queue) => queue,
        Err(error) => return vec![format!("does not start: {error}")],
    };
    let mut faults = Vec::new();
    let dead: Vec<Stored> = letters(&queue).into_iter().map(|letter| letter.stored).collect();
    for lane in Lane::ALL {
        let read = read_all(&queue, lane).await;
        faults.extend(account.faults_of_read(lane, &read, cut.at));
        faults.extend(account.faults_of_letters(lane, &dead, cut.at));
        // A new segment takes its time: each cut makes one, of another lane.
        if lane.index() != cut.at % Lane::ALL.len() {
            continue;
        }
        let highest = read.last().map_or(0, |last| last.seq).max(account.highest(lane, cut.at));
        match queue.writer().submit(vec![event(Uuid::new_v4(), lane, 100)]).await[..] {
            [Ok(Appended::Stored(seq))] if seq > highest => {}
            ref other => faults.push(format!("{lane} appends again as {other:?} after {highest}")),
        }
    }
    queue.close();
    // A clean cut is no damage: nobody need be alarmed.
    let aside = std::fs::read_dir(dir.join("queue/quarantine")).map_or(0, Iterator::count);
    if aside > 0 && !cut.is_torn {
        faults.push(format!("{aside} parts are set aside"));
    }
    faults
}

/// Checks all cuts, on all cores. One line for each fault.
pub(crate) fn faults_after(cuts: Vec<Cut>, account: &Account) -> Vec<String> {
    let (left, faults) = (Mutex::new(cuts), Mutex::new(Vec::new()));
    let work = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        while let Some(cut) = { left.lock().unwrap().pop() } {
            let dir = tempfile::tempdir().unwrap();
            cut.build(dir.path());
            let checking = AssertUnwindSafe(|| runtime.block_on(check(&cut, account, dir.path())));
            let found = catch_unwind(checking).unwrap_or_else(|_| vec!["panics".to_owned()]);
            let lines = found.into_iter().map(|fault| format!("sync {:>3}: {fault}", cut.at));
            faults.lock().unwrap().extend(lines);
        }
    };
    std::thread::scope(|threads| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            threads.spawn(work);
        }
    });
    let mut faults = faults.into_inner().unwrap();
    faults.sort();
    faults
}

/// Fails with the first of them.
pub(crate) fn assert_none(faults: &[String]) {
    let some = &faults[..faults.len().min(30)];
    assert!(faults.is_empty(), "{} faults, among them\n{}", faults.len(), some.join("\n"));
}
