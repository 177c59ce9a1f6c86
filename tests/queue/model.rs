//! The queue against a plain model: any sequence of appends, reads, settlements, openings, crashes and
//! damage.

mod expected;

use std::fmt::{self, Debug, Formatter};
use std::fs;
use std::path::Path;
use std::time::Duration;

use expected::Model;
use proptest::collection::vec;
use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop_oneof};
use proptest::sample::{Index, select};
use proptest::test_runner::FileFailurePersistence;
use tempfile::TempDir;
use trunkline::clock::Clock;
use trunkline::config;
use trunkline::event::{Array, Envelope, Lane};
use trunkline::queue::{Backlog, Outcome, Queue, Seq, Settlement, Stored};
use uuid::Uuid;

use crate::kit::{
    copy_at_rest, dead, event_with_id, files, letters, read_by_pages, settings, settlement, small_segments,
    try_open_at, within,
};

const CASES: u32 = 48;
const STEPS: usize = 40;
const NOW_MS: i64 = 1_750_000_000_000;
/// More than any disk has: every append is refused.
const ABSURD: u64 = u64::MAX >> 1;

/// An event to append: a new one, or one that was appended before.
#[derive(Clone, Debug)]
struct New {
    size: usize,
    repeats: Option<Index>,
}

#[derive(Clone, Debug)]
enum Step {
    /// In groups of `together` that do not wait for each other.
    Append {
        lane: Lane,
        news: Vec<New>,
        together: usize,
    },
    /// From `beside - 1` after a number that was given, or from there on if none was.
    Read {
        lane: Lane,
        number: Index,
        beside: Seq,
        max_events: usize,
        max_bytes: usize,
    },
    /// Any events of any lane in any order; true: dead.
    Settle(Vec<(Index, bool)>),
    /// The oldest of a lane, so that whole segments end.
    SettleOldest {
        lane: Lane,
        percent: usize,
        dies: bool,
    },
    SettleAgain(Vec<Index>),
    Wait(Duration),
    Reopen {
        refusing: bool,
    },
    Crash {
        refusing: bool,
    },
    Damage {
        file: Index,
        at: Index,
        bit: Option<u8>,
    },
}

/// A failure that lists steps is long enough with one line a step.
#[derive(Clone)]
struct OneLine(Step);

impl Debug for OneLine {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&format!("{:?}", self.0))
    }
}

fn new_event() -> impl Strategy<Value = New> {
    // Above 48 KiB an event fills a chunk alone.
    let size = prop_oneof![60 => 50..5_000_usize, 1 => 40_000..70_000_usize];
    let repeats = prop_oneof![8 => Just(None), 1 => any::<Index>().prop_map(Some)];
    (size, repeats).prop_map(|(size, repeats)| New { size, repeats })
}

fn step() -> impl Strategy<Value = OneLine> {
    let lane = || select(Lane::ALL.to_vec());
    let refusing = || prop_oneof![3 => Just(false), 1 => Just(true)];
    let bit = prop_oneof![2 => (0..8_u8).prop_map(Some), 1 => Just(None)];
    prop_oneof![
        12 => (lane(), vec(new_event(), 1..30), 1..30_usize)
            .prop_map(|(lane, news, together)| Step::Append { lane, news, together }),
        6 => (lane(), any::<Index>(), 0..4_u64, 1..40_usize, 1..40_000_usize).prop_map(
            |(lane, number, beside, max_events, max_bytes)| Step::Read { lane, number, beside, max_events, max_bytes }
        ),
        6 => vec(any::<(Index, bool)>(), 1..40).prop_map(Step::Settle),
        5 => (lane(), 1..=100_usize, any::<bool>())
            .prop_map(|(lane, percent, dies)| Step::SettleOldest { lane, percent, dies }),
        2 => vec(any::<Index>(), 1..20).prop_map(Step::SettleAgain),
        1 => (1..1_200_u64).prop_map(|seconds| Step::Wait(Duration::from_secs(seconds))),
        3 => refusing().prop_map(|refusing| Step::Reopen { refusing }),
        2 => refusing().prop_map(|refusing| Step::Crash { refusing }),
        2 => (any::<Index>(), any::<Index>(), bit).prop_map(|(file, at, bit)| Step::Damage { file, at, bit }),
    ]
    .prop_map(OneLine)
}

/// The queue under test beside its model.
struct Run {
    home: TempDir,
    queue: Option<Queue>,
    refusing: bool,
    clock: Clock,
    model: Model,
    made: u128,
}

impl Run {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let clock = Clock::manual(NOW_MS);
        let model = Model::new(settings(home.path(), "").dedupe_window);
        let mut run = Self { home, queue: None, refusing: false, clock, model, made: 0 };
        run.open(false);
        run
    }

    fn open(&mut self, refusing: bool) {
        let mut config = config::QueueConfig { min_free_disk: 0, ..small_segments(self.home.path()) };
        if refusing {
            config.min_free_disk = ABSURD;
        }
        self.queue = Some(try_open_at(&config, self.clock.clone()).unwrap());
        self.refusing = refusing;
    }

    fn queue(&self) -> &Queue {
        self.queue.as_ref().unwrap()
    }

    fn close(&mut self) {
        self.queue.take().unwrap().close();
    }

    async fn take(&mut self, step: Step) {
        match step {
            Step::Append { lane, news, together } => self.append(lane, news, together).await,
            Step::Read { lane, number, beside, max_events, max_bytes } => {
                let numbers = self.model.numbers(lane);
                let near = if numbers.is_empty() { 0 } else { *number.get(&numbers) };
                let from = (near + beside).saturating_sub(1);
                let reading = self.queue().reader();
                let page = within("a read", reading.read(lane, from, max_events, max_bytes)).await.unwrap();
                self.model.check_page(lane, from, max_events, &page);
            }
            Step::Settle(picks) => {
                let mut left: Vec<Stored> =
                    Lane::ALL.into_iter().flat_map(|lane| self.model.unsettled(lane)).collect();
                let mut settlements = Vec::new();
                for (pick, dies) in picks.into_iter().take(left.len()) {
                    let stored = left.swap_remove(pick.index(left.len()));
                    settlements.push(settlement(&stored, &outcome(dies)));
                }
                self.settle(settlements).await;
            }
            Step::SettleOldest { lane, percent, dies } => {
                let mut oldest = self.model.unsettled(lane);
                oldest.truncate((oldest.len() * percent).div_ceil(100));
                self.settle(oldest.iter().map(|stored| settlement(stored, &outcome(dies))).collect()).await;
            }
            Step::SettleAgain(picks) => {
                let settled = self.model.settled();
                let picks = picks.into_iter().filter(|_| !settled.is_empty());
                let again = picks.map(|pick| (*pick.get(&settled)).clone()).collect();
                self.settle(again).await;
            }
            Step::Wait(time) => self.clock.advance(time),
            Step::Reopen { refusing } => {
                self.close();
                self.opened(refusing).await;
            }
            Step::Crash { refusing } => {
                let left = tempfile::tempdir().unwrap();
                copy_at_rest(&self.home.path().join("queue"), &left.path().join("queue"));
                self.close();
                self.home = left;
                self.opened(refusing).await;
            }
            Step::Damage { file, at, bit } => {
                self.close();
                self.damage(file, at, bit);
                self.opened(false).await;
            }
        }
        for lane in Lane::ALL {
            self.model.check_depth(lane, self.queue().reader().depth(lane).events);
        }
    }

    async fn append(&mut self, lane: Lane, news: Vec<New>, together: usize) {
        let mut events: Vec<Envelope> = Vec::new();
        let now_ms = self.clock.unix_ms();
        for New { size, repeats } in news {
            let older: Vec<&Envelope> = self.model.appended().into_iter().chain(&events).collect();
            let repeats = repeats.filter(|_| !older.is_empty());
            let event = match repeats {
                Some(repeats) => Envelope { accepted_at_ms: now_ms, ..(*repeats.get(&older)).clone() },
                None => self.new_event(lane, size),
            };
            events.push(event);
        }
        let writer = self.queue().writer();
        let tickets: Vec<_> = events.chunks(together).map(|part| writer.submit(part.to_vec())).collect();
        let mut answers = Vec::new();
        for ticket in tickets {
            answers.extend(within("an append", ticket).await);
        }
        assert_eq!(answers.len(), events.len());
        for (event, answer) in events.into_iter().zip(&answers) {
            self.model.answered(event, answer, now_ms, self.refusing);
        }
    }

    fn new_event(&mut self, lane: Lane, size: usize) -> Envelope {
        self.made += 1;
        let mut event = event_with_id(lane, Uuid::from_u128(self.made), size, self.clock.unix_ms());
        if self.made.is_multiple_of(7) {
            event.array = Array::Extra("newerEvents".into());
        }
        event
    }

    async fn settle(&mut self, settlements: Vec<Settlement>) {
        within("a settlement", self.queue().reader().settle(settlements.clone())).await.unwrap();
        self.model.settle(&settlements);
    }

    /// Flips a bit of a byte that is not zero, or cuts the file there.
    fn damage(&mut self, file: Index, at: Index, bit: Option<u8>) {
        let lanes = self.home.path().join("queue/lanes");
        let mut candidates = files(&lanes);
        candidates.retain(|path| fs::metadata(path).unwrap().len() > 0);
        if candidates.is_empty() {
            return;
        }
        let path = file.get(&candidates);
        let mut raw = fs::read(path).unwrap();
        let used: Vec<usize> = (0..raw.len()).filter(|at| raw[*at] != 0).collect();
        let at = if used.is_empty() { at.index(raw.len()) } else { *at.get(&used) };
        match bit {
            Some(bit) => raw[at] ^= 1 << bit,
            None => raw.truncate(at),
        }
        fs::write(path, raw).unwrap();
        self.model.damaged(lane_of(path.strip_prefix(lanes).unwrap()));
    }

    async fn opened(&mut self, refusing: bool) {
        self.open(refusing);
        self.model.reopened();
        self.check_all().await;
    }

    async fn check_all(&mut self) {
        for lane in Lane::ALL {
            let read = read_by_pages(self.queue(), lane, 7).await;
            self.model.check_all(lane, &read);
        }
        self.model.check_letters(&letters(self.queue()));
    }
}

fn outcome(dies: bool) -> Outcome {
    if dies { dead("no such user") } else { Outcome::Delivered }
}

fn lane_of(path: &Path) -> Lane {
    Lane::ALL.into_iter().find(|lane| path.starts_with(lane.name())).unwrap()
}

async fn run_all(steps: Vec<OneLine>) {
    let mut run = Run::new();
    for OneLine(step) in steps {
        run.take(step).await;
    }
    run.check_all().await;
    run.close();
    run.opened(false).await;
    run.close();
}

proptest::proptest! {
    #![proptest_config(ProptestConfig {
        cases: CASES,
        max_shrink_iters: 300,
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("proptest-regressions"))),
        ..ProptestConfig::default()
    })]

    #[test]
    fn a_queue_holds_what_a_plain_model_holds(steps in vec(step(), 1..STEPS)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();

        runtime.block_on(run_all(steps));
    }
}
