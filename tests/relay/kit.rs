//! The relay between a backlog in memory and an API that answers as a closure says. Time is paused.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use trunkline::clock::Clock;
use trunkline::config;
use trunkline::event::{Array, Door, Envelope, Key, Lane};
use trunkline::metrics::Metrics;
use trunkline::queue::{Backlog, DeadReason, LaneDepth, Outcome, Page, QueueError, Seq, Settlement, Stored};
use trunkline::relay::{Command, Deps, LaneStatus, Pacer, RelayStatus, run};
use trunkline::shutdown::Shutdown;
use trunkline::upstream::{Answer, EventError, Outbound, Upstream, Verdict};
use uuid::Uuid;

/// Wall time at the start of each test.
pub(crate) const START_MS: i64 = 1_800_000_000_000;
/// Virtual time after which a test gives up waiting.
const PATIENCE: Duration = Duration::from_secs(48 * 3600);
/// Real time after which a loop that never rests is taken for one.
const STUCK: Duration = Duration::from_secs(600);
/// Reads after which the backlog answers no more.
const READS_MAX: usize = 20_000;

/// What happened, in order.
#[derive(Clone, Debug)]
pub(crate) enum Entry {
    Started { number: usize, ids: Vec<u128> },
    Ended { number: usize },
    Settled { ids: Vec<u128> },
}

/// A request, as the API saw it.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) number: usize,
    pub(crate) lane: Lane,
    pub(crate) ids: Vec<u128>,
    pub(crate) start: Duration,
}

type Script = Arc<dyn Fn(&Sent) -> (Duration, Answer) + Send + Sync>;

struct World {
    zero: Instant,
    stored: Mutex<[Vec<Envelope>; 4]>,
    changed: watch::Sender<u64>,
    reads: Mutex<usize>,
    settled: watch::Sender<Vec<Settlement>>,
    settle_faults: Mutex<usize>,
    dead_letters_full: AtomicBool,
    sent: watch::Sender<Vec<Sent>>,
    log: Mutex<Vec<Entry>>,
    tried_now: AtomicUsize,
    script: Script,
}

#[derive(Clone)]
struct FakeBacklog(Arc<World>);

#[derive(Clone)]
struct FakeUpstream(Arc<World>);

impl Backlog for FakeBacklog {
    async fn read(
        &self,
        lane: Lane,
        from: Seq,
        max_events: usize,
        _max_bytes: usize,
    ) -> Result<Page, QueueError> {
        let reads = {
            let mut reads = self.0.reads.lock().unwrap();
            *reads += 1;
            *reads
        };
        if reads > READS_MAX {
            std::future::pending::<()>().await;
        }
        let settled: Vec<Uuid> =
            self.0.settled.borrow().iter().map(|settlement| settlement.stored.event.event_id).collect();
        let stored = self.0.stored.lock().unwrap();
        let all = &stored[lane.index()];
        let mut page = Page { events: Vec::new(), next: from.max(1), at_end: false };
        for (event, seq) in all.iter().zip(1..) {
            if seq >= from && page.events.len() < max_events {
                page.next = seq + 1;
                if !settled.contains(&event.event_id) {
                    page.events.push(Stored { seq, event: event.clone() });
                }
            }
        }
        page.at_end = page.next > all.len() as Seq;
        Ok(page)
    }

    async fn settle(&self, settlements: Vec<Settlement>) -> Result<(), QueueError> {
        tokio::time::sleep(Duration::from_millis(2)).await;
        let faults = std::mem::take(&mut *self.0.settle_faults.lock().unwrap());
        if faults > 0 {
            *self.0.settle_faults.lock().unwrap() = faults - 1;
            return Err(QueueError::Storage("disk on fire".into()));
        }
        let has_dead =
            settlements.iter().any(|settlement| matches!(settlement.outcome, Outcome::Dead { .. }));
        if has_dead && self.0.dead_letters_full.load(Ordering::SeqCst) {
            return Err(QueueError::DeadLettersFull);
        }
        let ids = settlements.iter().map(|settlement| settlement.stored.event.event_id.as_u128()).collect();
        self.0.log.lock().unwrap().push(Entry::Settled { ids });
        self.0.settled.send_modify(|settled| settled.extend(settlements));
        Ok(())
    }

    async fn wait_for(&self, lane: Lane, from: Seq) {
        let mut changed = self.0.changed.subscribe();
        changed.wait_for(|_| self.0.stored.lock().unwrap()[lane.index()].len() as Seq >= from).await.unwrap();
    }

    fn depth(&self, _lane: Lane) -> LaneDepth {
        LaneDepth::default()
    }
}

impl Upstream for FakeUpstream {
    fn try_now(&self) {
        self.0.tried_now.fetch_add(1, Ordering::SeqCst);
    }

    async fn send(&self, request: Outbound) -> Answer {
        let body: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(&request.body).unwrap();
        let events = body.values().flat_map(|array| array.as_array().unwrap());
        let ids: Vec<u128> = events
            .map(|event| Uuid::parse_str(event["eventId"].as_str().unwrap()).unwrap().as_u128())
            .collect();
        let number = self.0.sent.borrow().len();
        let sent = Sent { number, lane: request.lane, ids: ids.clone(), start: self.0.zero.elapsed() };
        self.0.log.lock().unwrap().push(Entry::Started { number, ids });
        self.0.sent.send_modify(|all| all.push(sent.clone()));
        let (delay, answer) = (self.0.script)(&sent);
        tokio::time::sleep(delay).await;
        self.0.log.lock().unwrap().push(Entry::Ended { number });
        answer
    }
}

/// The configuration that tests start from: fast enough that the pace stays out of the way.
pub(crate) fn config() -> config::RelayConfig {
    config::RelayConfig {
        batch_max_events: 100,
        batch_max_size: 500_000,
        batch_linger: Duration::from_secs(1),
        requests_per_minute: 60_000,
        burst: 1_000,
        max_in_flight: 8,
        one_per_key: false,
        retry_initial: Duration::from_millis(500),
        retry_max: Duration::from_secs(60),
        event_retry_for: Duration::from_secs(3600),
        event_max_age: [Duration::ZERO; 4],
    }
}

/// Event `id` of `key`, in array `a`, at the start of time.
pub(crate) fn event(id: u128, key: u64) -> Envelope {
    let id = Uuid::from_u128(id);
    Envelope {
        lane: Lane::Conversations,
        array: Array::Extra("a".into()),
        event_id: id,
        key: Key(key),
        event_time_ms: START_MS,
        accepted_at_ms: START_MS,
        door: Door::Stream,
        uid: 0,
        body: Bytes::from(format!(r#"{{"eventId":"{id}"}}"#)),
    }
}

pub(crate) fn answer(status: u16, verdict: Verdict) -> Answer {
    Answer {
        verdict,
        status: Some(status),
        correlation_id: None,
        retry_after: None,
        rate: None,
        by_api: true,
    }
}

/// 200 with these events listed, and whether they are retryable.
pub(crate) fn taken(errors: &[(u128, bool)]) -> Answer {
    let error = |(id, retryable): &(u128, bool)| EventError {
        event_id: Some(Uuid::from_u128(*id).to_string()),
        message: "no such thing".into(),
        retryable: *retryable,
    };
    answer(200, Verdict::Taken { errors: errors.iter().map(error).collect() })
}

pub(crate) fn invalid(message: &str) -> Answer {
    answer(400, Verdict::Invalid { code: String::new(), message: message.to_owned(), hints: Vec::new() })
}

pub(crate) fn unavailable(status: u16) -> Answer {
    answer(status, Verdict::Unavailable { reason: status.to_string(), maybe_taken: false })
}

/// The same without the API's marks, as from something on the way.
pub(crate) fn foreign(answer: Answer) -> Answer {
    Answer { by_api: false, ..answer }
}

pub(crate) fn forbidden() -> Answer {
    answer(403, Verdict::Forbidden { reason: "missing permission a:b:c".into() })
}

pub(crate) fn too_large() -> Answer {
    answer(413, Verdict::TooLarge { message: "big".into() })
}

/// An answer that takes 10 ms.
pub(crate) fn soon(answer: Answer) -> (Duration, Answer) {
    (Duration::from_millis(10), answer)
}

/// The relay with its fakes. Aborts the process if real time shows that a loop never rests.
pub(crate) struct Harness {
    world: Arc<World>,
    pub(crate) commands: mpsc::Sender<Command>,
    status: watch::Receiver<RelayStatus>,
    pub(crate) shutdown: Shutdown,
    pub(crate) clock: Clock,
    pub(crate) metrics: Arc<Metrics>,
    task: JoinHandle<()>,
    _alive: std::sync::mpsc::Sender<()>,
}

impl Harness {
    pub(crate) fn start(
        config: config::RelayConfig,
        events: impl IntoIterator<Item = Envelope>,
        script: impl Fn(&Sent) -> (Duration, Answer) + Send + Sync + 'static,
    ) -> Self {
        Self::start_withheld(None, config, events, script)
    }

    /// As `start`, with a reason why nothing may leave.
    pub(crate) fn start_withheld(
        withheld: Option<&str>,
        config: config::RelayConfig,
        events: impl IntoIterator<Item = Envelope>,
        script: impl Fn(&Sent) -> (Duration, Answer) + Send + Sync + 'static,
    ) -> Self {
        let world = Arc::new(World {
            zero: Instant::now(),
            stored: Mutex::default(),
            changed: watch::Sender::new(0),
            reads: Mutex::default(),
            settled: watch::Sender::default(),
            settle_faults: Mutex::default(),
            dead_letters_full: AtomicBool::default(),
            sent: watch::Sender::default(),
            log: Mutex::default(),
            tried_now: AtomicUsize::default(),
            script: Arc::new(script),
        });
        let (alive, dead) = channel::<()>();
        std::thread::spawn(move || {
            if dead.recv_timeout(STUCK) == Err(RecvTimeoutError::Timeout) {
                std::process::abort();
            }
        });
        let (status_tx, status) = watch::channel(RelayStatus::default());
        let (commands, commands_rx) = mpsc::channel(16);
        let (clock, pace) = (Clock::tokio(START_MS), config.clone());
        clock.confirm(START_MS);
        let (shutdown, metrics) = (Shutdown::default(), Arc::new(Metrics::new()));
        let task = tokio::spawn(run(Deps {
            backlog: FakeBacklog(world.clone()),
            upstream: FakeUpstream(world.clone()),
            config,
            pacer: Pacer::new(&pace, clock.clone()),
            clock: clock.clone(),
            metrics: metrics.clone(),
            status: status_tx,
            commands: commands_rx,
            paused: [false; 4],
            withheld: withheld.map(Arc::from),
            shutdown: shutdown.clone(),
            grace: Duration::from_secs(10),
            drain: Duration::ZERO,
        }));
        let harness = Self { world, commands, status, shutdown, clock, metrics, task, _alive: alive };
        events.into_iter().for_each(|event| harness.append(event));
        harness
    }

    pub(crate) fn append(&self, event: Envelope) {
        self.world.stored.lock().unwrap()[event.lane.index()].push(event);
        self.world.changed.send_modify(|changes| *changes += 1);
    }

    pub(crate) fn fail_settling(&self, times: usize) {
        *self.world.settle_faults.lock().unwrap() = times;
    }

    pub(crate) fn fill_dead_letters(&self, is_full: bool) {
        self.world.dead_letters_full.store(is_full, Ordering::SeqCst);
    }

    /// Returns when `count` events are settled.
    pub(crate) async fn settled(&self, count: usize) {
        let mut settled = self.world.settled.subscribe();
        let enough = settled.wait_for(|settled| settled.len() >= count);
        let done = tokio::time::timeout(PATIENCE, enough).await.is_ok();
        assert!(done, "{} of {count} settled: {:?}", self.outcomes().len(), self.status.borrow());
    }

    /// Returns when `count` requests have started.
    pub(crate) async fn started(&self, count: usize) {
        let mut sent = self.world.sent.subscribe();
        let enough = sent.wait_for(|sent| sent.len() >= count);
        assert!(tokio::time::timeout(PATIENCE, enough).await.is_ok(), "{:?}", self.sent());
    }

    /// Returns when the lane's status is as `wanted`.
    pub(crate) async fn status(&self, lane: Lane, wanted: impl Fn(&LaneStatus) -> bool) -> LaneStatus {
        let mut status = self.status.clone();
        let there = status.wait_for(|status| wanted(&status.lanes[lane.index()]));
        let found = tokio::time::timeout(PATIENCE, there).await.expect("the status comes").unwrap();
        found.lanes[lane.index()].clone()
    }

    pub(crate) async fn stop(self) -> Vec<Entry> {
        self.shutdown.stop.cancel();
        self.task.await.unwrap();
        self.world.log.lock().unwrap().clone()
    }

    /// Returns when a task of the relay has panicked and taken the relay with it.
    pub(crate) async fn panicked(self) -> bool {
        self.task.await.is_err_and(|error| error.is_panic())
    }

    pub(crate) fn sent(&self) -> Vec<Sent> {
        self.world.sent.borrow().clone()
    }

    /// Ids of each request.
    pub(crate) fn sent_ids(&self) -> Vec<Vec<u128>> {
        self.sent().into_iter().map(|sent| sent.ids).collect()
    }

    /// How often the API client was told to wait for nothing.
    pub(crate) fn tried_now(&self) -> usize {
        self.world.tried_now.load(Ordering::SeqCst)
    }

    pub(crate) fn starts(&self) -> Vec<Duration> {
        self.sent().into_iter().map(|sent| sent.start).collect()
    }

    pub(crate) fn reads(&self) -> usize {
        *self.world.reads.lock().unwrap()
    }

    /// Id and end of each settled event, by id.
    pub(crate) fn outcomes(&self) -> Vec<(u128, Option<DeadReason>)> {
        let end = |settlement: &Settlement| {
            let reason = match &settlement.outcome {
                Outcome::Delivered => None,
                Outcome::Dead { reason, .. } => Some(*reason),
            };
            (settlement.stored.event.event_id.as_u128(), reason)
        };
        let mut ends: Vec<_> = self.world.settled.borrow().iter().map(end).collect();
        ends.sort_by_key(|(id, _)| *id);
        ends
    }

    /// Ids of the dead, with why.
    pub(crate) fn dead(&self) -> Vec<(u128, DeadReason)> {
        self.outcomes().into_iter().filter_map(|(id, reason)| Some((id, reason?))).collect()
    }
}

/// An answer of every row of the table, by number; most are fine.
pub(crate) fn weather(code: u8, ids: &[u128]) -> Answer {
    let (first, last) = (ids[0], ids[ids.len() - 1]);
    match code {
        0 => taken(&[(first, false)]),
        1 => taken(&[(first, true)]),
        2 => taken(&[(last, true)]),
        3 => invalid("bad"),
        4 => answer(413, Verdict::TooLarge { message: "big".into() }),
        5 => answer(409, Verdict::Conflict { message: "busy".into() }),
        6 => unavailable(503),
        7 => unavailable(429),
        8 => answer(403, Verdict::Forbidden { reason: "403".into() }),
        9 => answer(401, Verdict::Unauthorized { reason: "401".into() }),
        10 => answer(200, Verdict::NotTheApi),
        11 => taken(&[(u128::MAX, false)]),
        12 => taken(&[(u128::MAX, true), (first, true)]),
        _ => taken(&[]),
    }
}

/// Walks the log and holds it against the order that is promised.
pub(crate) fn check_order(log: &[Entry], events: &HashMap<u128, Envelope>) {
    let mut flying: HashMap<usize, Vec<u128>> = HashMap::new();
    let mut settled: HashSet<u128> = HashSet::new();
    for entry in log {
        match entry {
            Entry::Ended { number } => drop(flying.remove(number)),
            Entry::Settled { ids } => ids.iter().for_each(|id| assert!(settled.insert(*id), "{id} twice")),
            Entry::Started { number, ids } => {
                for id in ids {
                    let event = &events[id];
                    assert!(!settled.contains(id), "{id} sent after its end");
                    let shares_key = flying.values().flatten().any(|other| events[other].key == event.key);
                    assert!(!shares_key, "request {number} shares a key with one in flight");
                    let is_earlier = |other: &&u128| **other < *id && events[*other].key == event.key;
                    for earlier in events.keys().filter(is_earlier).filter(|other| !settled.contains(other)) {
                        let before = &events[earlier];
                        let in_time = if before.array == event.array {
                            before.event_time_ms <= event.event_time_ms
                        } else {
                            before.event_time_ms < event.event_time_ms
                        };
                        assert!(ids.contains(earlier) && in_time, "{id} before {earlier}: {log:?}");
                    }
                }
                flying.insert(*number, ids.clone());
            }
        }
    }
    assert_eq!(settled.len(), events.len());
}
