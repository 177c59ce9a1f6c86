//! The queue on a disk that fails to read and open by a random schedule, under a clock that is set: whatever fails, for
//! however long, and heals, every answered event is read once and in order, and every dead letter stays.
//!
//! One seed is one schedule; a failure names its seed. `TRUNKLINE_TEST_SEEDS=0..10000 cargo test --test disk fault_model`
//! runs more of them than the suite does.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, IteratorRandom};
use rand::{RngExt, SeedableRng};
use tempfile::TempDir;
use trunkline::clock::{Clock, Mono};
use trunkline::event::{Envelope, Lane};
use trunkline::queue::{Appended, Backlog, DeadLetter, OpenError, Outcome, Queue, Seq, Stored};
use uuid::Uuid;

use crate::kit::{
    copy_at_rest, dead, event_with_id, files, files_named, letters, read_by_pages, settlements,
    small_segments, try_letters, try_open_at, within,
};
use crate::layer::bad_reads::{fail, heal, refuse_opens};

/// Schedules that the suite runs, in threads of a quarter each.
const SEEDS: Range<u64> = 0..320;
/// Names a range of seeds, like `0..10000`.
const SEEDS_VARIABLE: &str = "TRUNKLINE_TEST_SEEDS";
const THREADS: u64 = 4;
const STEPS: usize = 40;
/// 2027-01-15.
const NOW_MS: i64 = 1_800_000_000_000;
const DAY_MS: i64 = 86_400_000;
/// As long as two looks at a segment are ever apart.
const A_LOOK: Duration = Duration::from_secs(60);
/// The default.
const DEDUPE_WINDOW: Duration = Duration::from_secs(15 * 60);
/// What a system says when it is short of something, or somebody was careless.
const ERRNOS: [i32; 7] =
    [libc::EIO, libc::EMFILE, libc::ENFILE, libc::ENOMEM, libc::EACCES, libc::ENOENT, libc::ETIMEDOUT];
const LANES: [Lane; 3] = [Lane::Conversations, Lane::Presence, Lane::CustomKpi];

/// What does not work at the moment. Paths are below the queue's directory.
#[derive(Clone, Debug)]
enum Fault {
    Read { dir: PathBuf, bytes: Range<i64> },
    Open { dir: PathBuf, name: &'static str, errno: i32 },
}

#[derive(Debug, Default)]
struct LaneModel {
    unsettled: BTreeMap<Seq, Envelope>,
    last: Seq,
}

/// How often a schedule met what it is about.
#[derive(Clone, Copy, Debug, Default)]
struct Met {
    held_reads: usize,
    held_letters: usize,
    refused_starts: usize,
    duplicates: usize,
}

/// The queue under test, what it must hold, and what its disk does.
struct Run {
    random: StdRng,
    home: TempDir,
    queue: Option<Queue>,
    clock: Clock,
    lanes: BTreeMap<Lane, LaneModel>,
    dead: Vec<Uuid>,
    faults: Vec<Fault>,
    /// A read may still fail, or wait for its next look.
    may_hold: bool,
    started: Mono,
    /// Ids that the queue knows for sure, and when it took them in: those of unread segments it may not know.
    known: HashMap<Uuid, Mono>,
    made: u128,
    met: Met,
}

impl Run {
    fn new(seed: u64) -> Self {
        let clock = Clock::manual(NOW_MS);
        let mut run = Self {
            random: StdRng::seed_from_u64(seed),
            home: tempfile::tempdir().unwrap(),
            queue: None,
            started: clock.mono(),
            clock,
            lanes: LANES.into_iter().map(|lane| (lane, LaneModel::default())).collect(),
            dead: Vec::new(),
            faults: Vec::new(),
            may_hold: false,
            known: HashMap::new(),
            made: 0,
            met: Met::default(),
        };
        run.open();
        run
    }

    fn queue(&self) -> &Queue {
        self.queue.as_ref().expect("it is open")
    }

    fn dir(&self) -> PathBuf {
        self.home.path().join("queue")
    }

    async fn step(&mut self) {
        let lane = *LANES.choose(&mut self.random).unwrap();
        match self.random.random_range(0..24) {
            0..6 => self.append(lane).await,
            6..10 => self.read_and_settle(lane).await,
            10 => self.repeat(lane).await,
            11 => self.read_letters(),
            12..16 => self.break_something(),
            16..18 => self.heal_one(),
            18 => self.clock.advance(self.random.random_range(1..90) * Duration::from_secs(1)),
            19 => self.set_clock(),
            20..22 => self.restart(),
            _ => self.crash(),
        }
    }

    /// What the wall clock would show had nobody set it.
    fn right_ms(&self) -> i64 {
        NOW_MS + i64::try_from(self.clock.mono().since(self.started).as_millis()).unwrap()
    }

    async fn append(&mut self, lane: Lane) {
        let count = self.random.random_range(1..12);
        let events: Vec<Envelope> = (0..count).map(|_| self.new_event(lane)).collect();

        let answers = within("an append", self.queue().writer().submit(events.clone())).await;

        let held = self.lanes.get_mut(&lane).unwrap();
        for (event, answer) in events.into_iter().zip(answers) {
            // What new appends need is not among what fails.
            let Ok(Appended::Stored(seq)) = answer else { panic!("not stored: {answer:?}") };
            assert!(seq > held.last, "{lane}: {seq} after {}", held.last);
            held.last = seq;
            self.known.insert(event.event_id, self.clock.mono());
            held.unsettled.insert(seq, event);
        }
    }

    /// Hands over an event a second time that was answered and is not settled.
    async fn repeat(&mut self, lane: Lane) {
        let held = self.lanes.get_mut(&lane).unwrap();
        let Some(event) = held.unsettled.values().choose(&mut self.random).cloned() else { return };
        let accepted = self.known.get(&event.event_id);
        let is_known = accepted.is_some_and(|at| self.clock.mono().since(*at) < DEDUPE_WINDOW);

        let queue = self.queue.as_ref().expect("it is open");
        let answers = within("a repeat", queue.writer().submit(vec![event.clone()])).await;

        match answers[..] {
            [Ok(Appended::Duplicate)] => self.met.duplicates += 1,
            [Ok(Appended::Stored(seq))] if !is_known => {
                held.last = seq;
                held.unsettled.insert(seq, event);
            }
            _ => panic!("a repeat of what is known: {answers:?}"),
        }
    }

    fn read_letters(&mut self) {
        match try_letters(self.queue()) {
            Ok(letters) => self.check_letters("meanwhile", &letters),
            Err(error) => {
                assert!(self.may_hold, "{error}");
                self.met.held_letters += 1;
            }
        }
    }

    fn check_letters(&self, when: &str, letters: &[DeadLetter]) {
        let mut found: Vec<Uuid> = letters.iter().map(|letter| letter.stored.event.event_id).collect();
        let mut dead = self.dead.clone();
        found.sort();
        dead.sort();
        dead.dedup();
        assert_eq!(found, dead, "{when}");
    }

    fn new_event(&mut self, lane: Lane) -> Envelope {
        self.made += 1;
        let size = self.random.random_range(50..9_000);
        event_with_id(lane, Uuid::from_u128(self.made), size, self.clock.unix_ms())
    }

    /// Reads a page from where the lane's consumer stands, or from anywhere, and settles some of it.
    async fn read_and_settle(&mut self, lane: Lane) {
        let held = &self.lanes[&lane];
        let first = held.unsettled.keys().next().copied().unwrap_or(1);
        let from = if self.random.random() { first } else { self.random.random_range(1..held.last + 2) };
        let max_events = self.random.random_range(1..30);

        let page = match within("a read", self.queue().reader().read(lane, from, max_events, 1 << 20)).await {
            Ok(page) => page,
            Err(error) => {
                assert!(self.may_hold, "{lane}: {error}");
                self.met.held_reads += 1;
                return;
            }
        };

        assert!(page.at_end || page.next > from, "{lane}: no progress at {from}");
        let end = if page.at_end { Seq::MAX } else { page.next };
        let expected: Vec<Seq> = held.unsettled.range(from..end).map(|(seq, _)| *seq).collect();
        assert_eq!(seqs(&page.events), expected, "{lane}: a page from {from} to {end}");
        assert!(page.events.iter().all(|stored| held.unsettled[&stored.seq] == stored.event));
        let settled = self.random.random_range(0..=page.events.len());
        let outcome = if self.random.random_ratio(1, 4) { dead("no such user") } else { Outcome::Delivered };
        self.settle(lane, &page.events[..settled], outcome).await;
    }

    async fn settle(&mut self, lane: Lane, stored: &[Stored], outcome: Outcome) {
        within("a settlement", self.queue().reader().settle(settlements(stored, &outcome))).await.unwrap();
        let held = self.lanes.get_mut(&lane).unwrap();
        for stored in stored {
            held.unsettled.remove(&stored.seq);
            if matches!(outcome, Outcome::Dead { .. }) {
                self.dead.push(stored.event.event_id);
            }
        }
    }

    /// A part of some file that is there now cannot be read, or a file cannot be opened; of one segment, or of all of a
    /// log. What is made later can.
    fn break_something(&mut self) {
        let dir = self.dir();
        // The next segment, which has no header yet, may be needed by an append.
        let headers = files_named(&dir, "header").into_iter();
        let segments: Vec<PathBuf> =
            headers.map(|header| header.parent().unwrap().strip_prefix(&dir).unwrap().to_owned()).collect();
        let Some(one) = segments.choose(&mut self.random).cloned() else { return };
        let is_all = self.random.random();
        let is_meant =
            |segment: &PathBuf| if is_all { segment.parent() == one.parent() } else { *segment == one };
        let meant: Vec<PathBuf> = segments.into_iter().filter(is_meant).collect();
        let from = self.random.random_range(0..60_000);
        let bytes = if self.random.random() { 0..i64::MAX } else { from..from + 4_096 };
        let name = if self.random.random() { "db" } else { "header" };
        let errno = *ERRNOS.choose(&mut self.random).unwrap();
        let is_read = self.random.random();
        for dir in meant {
            let read = || Fault::Read { dir: dir.clone(), bytes: bytes.clone() };
            let fault = if is_read { read() } else { Fault::Open { dir, name, errno } };
            self.put_in_force(&fault);
            self.faults.push(fault);
        }
    }

    fn put_in_force(&mut self, fault: &Fault) {
        self.may_hold = true;
        match fault {
            Fault::Read { dir, bytes } => fail(&self.dir().join(dir), bytes.clone()),
            Fault::Open { dir, name, errno } => refuse_opens(&self.dir().join(dir), name, *errno),
        }
    }

    fn heal_one(&mut self) {
        if self.faults.is_empty() {
            return;
        }
        let healed = self.random.random_range(0..self.faults.len());
        self.faults.remove(healed);
        heal(self.home.path());
        let left = self.faults.clone();
        left.iter().for_each(|fault| self.put_in_force(fault));
    }

    fn heal_all(&mut self) {
        self.faults.clear();
        heal(self.home.path());
        self.clock.advance(A_LOOK);
        self.may_hold = false;
    }

    /// A month ahead, a little less than an hour ahead, a time before the host's clock was ever set, or right again.
    fn set_clock(&mut self) {
        let right_ms = self.right_ms();
        let wall_ms = [right_ms + 31 * DAY_MS, right_ms + 3_500_000, DAY_MS / 4, right_ms];
        self.clock.set_wall(wall_ms.choose(&mut self.random).unwrap() - self.clock.unix_ms());
    }

    fn close(&mut self) {
        self.queue.take().expect("it is open").close();
    }

    fn restart(&mut self) {
        self.close();
        self.open();
    }

    /// Goes on with the files as a kill leaves them.
    fn crash(&mut self) {
        let left = tempfile::tempdir().unwrap();
        heal(self.home.path());
        copy_at_rest(&self.dir(), &left.path().join("queue"));
        self.close();
        self.home = left;
        let faults = self.faults.clone();
        faults.iter().for_each(|fault| self.put_in_force(fault));
        self.open();
    }

    /// Opens the queue; a start that is refused changes nothing, and the next one finds the disk healed.
    fn open(&mut self) {
        self.clock = self.clock.of_next_process();
        if self.may_hold {
            self.known.clear();
        }
        match try_open_at(&small_segments(self.home.path()), self.clock.clone()) {
            Ok(queue) => self.queue = Some(queue),
            Err(OpenError::Permission { .. } | OpenError::Storage(_)) if self.may_hold => {
                self.met.refused_starts += 1;
                self.heal_all();
                self.queue =
                    Some(try_open_at(&small_segments(self.home.path()), self.clock.clone()).unwrap());
            }
            Err(error) => panic!("{error}"),
        }
    }

    async fn check_all(&self) {
        for lane in LANES {
            let read = read_by_pages(self.queue(), lane, 7).await;
            let held = &self.lanes[&lane].unsettled;
            assert_eq!(seqs(&read), held.keys().copied().collect::<Vec<_>>(), "{lane}");
            assert!(read.iter().zip(held.values()).all(|(stored, event)| stored.event == *event), "{lane}");
            assert_eq!(self.queue().reader().depth(lane).events, held.len() as u64, "{lane}");
        }
        self.check_letters("at rest", &letters(self.queue()));
        assert_eq!(files(&self.dir().join("quarantine")), [] as [PathBuf; 0]);
    }
}

fn seqs(stored: &[Stored]) -> Vec<Seq> {
    stored.iter().map(|stored| stored.seq).collect()
}

/// Runs a schedule, heals the disk, looks, opens the queue anew, looks again.
async fn run(seed: u64) -> Met {
    let mut run = Run::new(seed);
    for _ in 0..STEPS {
        run.step().await;
    }
    run.heal_all();
    run.check_all().await;
    run.restart();
    run.check_all().await;
    run.close();
    run.met
}

fn seeds() -> Range<u64> {
    let Ok(named) = std::env::var(SEEDS_VARIABLE) else { return SEEDS };
    let (from, to) = named.split_once("..").expect("a range like 0..10000");
    from.parse().unwrap()..to.parse().unwrap()
}

#[test]
fn whatever_fails_and_heals_every_answered_event_is_read_once_and_in_order() {
    let seeds = seeds();
    let one_of = |nth: u64| seeds.clone().skip(nth as usize).step_by(THREADS as usize);
    let run_all = |nth: u64| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let run = |seed| {
            let run = AssertUnwindSafe(|| runtime.block_on(run(seed)));
            (seed, std::panic::catch_unwind(run).ok())
        };
        one_of(nth).map(run).collect::<Vec<(u64, Option<Met>)>>()
    };

    let runs: Vec<(u64, Option<Met>)> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|nth| scope.spawn(move || run_all(nth))).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });

    let failed: Vec<u64> = runs.iter().filter(|(_, met)| met.is_none()).map(|(seed, _)| *seed).collect();
    assert!(failed.is_empty(), "seeds that failed: {failed:?}");
    let sum = |of: fn(&Met) -> usize| runs.iter().filter_map(|(_, met)| met.as_ref()).map(of).sum::<usize>();
    let met = [
        sum(|met| met.held_reads),
        sum(|met| met.held_letters),
        sum(|met| met.refused_starts),
        sum(|met| met.duplicates),
    ];
    assert!(!met.contains(&0), "the schedules never met something: {met:?}");
}
