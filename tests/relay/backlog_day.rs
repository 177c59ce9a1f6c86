//! Hours in seconds: an outage, the drain after it, and what full batches cost. Paused time, a backlog in
//! memory, an API that takes all it is sent.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use trunkline::clock::Clock;
use trunkline::config;
use trunkline::event::{Array, Door, Envelope, Key, Lane};
use trunkline::metrics::Metrics;
use trunkline::queue::{Backlog, LaneDepth, Page, QueueError, Seq, Settlement, Stored};
use trunkline::relay::{Deps, Pacer, RelayStatus, run};
use trunkline::shutdown::Shutdown;
use trunkline::upstream::{Answer, Outbound, Upstream, Verdict};
use uuid::Uuid;

const START_MS: i64 = 1_800_000_000_000;
const SECOND: Duration = Duration::from_secs(1);
/// As long as a request to the API takes.
const LATENCY: Duration = Duration::from_millis(150);

/// A lane's events: when each was appended and settled.
#[derive(Default)]
struct Row {
    events: Vec<Envelope>,
    appended: Vec<Instant>,
    settled: Vec<Option<Instant>>,
    unsettled: usize,
}

struct World {
    clock: Clock,
    rows: [Mutex<Row>; 4],
    ends: [watch::Sender<usize>; 4],
    is_down: AtomicBool,
    /// Requests that the API takes in 60 s; more are answered with 429.
    allowed: AtomicUsize,
    limited: Mutex<Vec<Instant>>,
    requests: Mutex<Vec<(Lane, Instant, usize)>>,
}

#[derive(Clone)]
struct Fake(Arc<World>);

impl Fake {
    fn new() -> Self {
        Self(Arc::new(World {
            clock: Clock::tokio(START_MS),
            rows: Default::default(),
            ends: Default::default(),
            is_down: AtomicBool::default(),
            allowed: AtomicUsize::new(usize::MAX),
            limited: Mutex::default(),
            requests: Mutex::default(),
        }))
    }

    fn append(&self, lane: Lane, count: usize, keys: u64) {
        let mut row = self.0.rows[lane.index()].lock().unwrap();
        for _ in 0..count {
            let nth = row.events.len() as u64;
            let event_id = Uuid::from_u128((u128::from(lane as u8) << 64) + u128::from(nth) + 1);
            row.events.push(Envelope {
                lane,
                array: Array::Extra("a".into()),
                event_id,
                key: Key(nth % keys),
                event_time_ms: START_MS + nth.cast_signed(),
                accepted_at_ms: self.0.clock.unix_ms(),
                door: Door::Stream,
                uid: 0,
                body: Bytes::from_static(b"{}"),
            });
            row.appended.push(Instant::now());
            row.settled.push(None);
            row.unsettled += 1;
        }
        let end = row.events.len();
        drop(row);
        self.0.ends[lane.index()].send_replace(end);
    }

    fn unsettled(&self, lane: Lane) -> usize {
        self.0.rows[lane.index()].lock().unwrap().unsettled
    }

    /// Times from append to settlement of what was appended since `since`, sorted.
    fn lags(&self, lane: Lane, since: Instant) -> Vec<Duration> {
        let row = self.0.rows[lane.index()].lock().unwrap();
        let times = row.appended.iter().zip(&row.settled).filter(|(appended, _)| **appended >= since);
        let mut lags: Vec<Duration> = times.map(|(appended, settled)| settled.unwrap() - *appended).collect();
        lags.sort();
        lags
    }

    /// Requests and events of the lane between two instants.
    fn sent(&self, lane: Lane, from: Instant, to: Instant) -> (usize, usize) {
        let requests = self.0.requests.lock().unwrap();
        let sent = requests.iter().filter(|(of, at, _)| *of == lane && (from..to).contains(at));
        sent.fold((0, 0), |(requests, events), (.., count)| (requests + 1, events + count))
    }
}

impl Backlog for Fake {
    async fn read(&self, lane: Lane, from: Seq, max_events: usize, _: usize) -> Result<Page, QueueError> {
        let row = self.0.rows[lane.index()].lock().unwrap();
        let mut page = Page { next: from.max(1), ..Page::default() };
        while let Some(event) = row.events.get(usize::try_from(page.next).unwrap() - 1)
            && page.events.len() < max_events
        {
            if row.settled[usize::try_from(page.next).unwrap() - 1].is_none() {
                page.events.push(Stored { seq: page.next, event: event.clone() });
            }
            page.next += 1;
        }
        page.at_end = page.next > row.events.len() as Seq;
        Ok(page)
    }

    async fn settle(&self, settlements: Vec<Settlement>) -> Result<(), QueueError> {
        for settlement in settlements {
            let mut row = self.0.rows[settlement.stored.event.lane.index()].lock().unwrap();
            let at = usize::try_from(settlement.stored.seq).unwrap() - 1;
            assert!(row.settled[at].replace(Instant::now()).is_none(), "settled twice");
            row.unsettled -= 1;
        }
        Ok(())
    }

    async fn wait_for(&self, lane: Lane, from: Seq) {
        let mut end = self.0.ends[lane.index()].subscribe();
        end.wait_for(|end| *end as Seq >= from).await.unwrap();
    }

    fn depth(&self, _: Lane) -> LaneDepth {
        LaneDepth::default()
    }
}

impl Upstream for Fake {
    async fn send(&self, request: Outbound) -> Answer {
        let events = request.body.iter().filter(|byte| **byte == b'}').count() - 1;
        let now = Instant::now();
        let in_window = {
            let mut requests = self.0.requests.lock().unwrap();
            requests.push((request.lane, now, events));
            requests.iter().rev().take_while(|(_, at, _)| now - *at < Duration::from_secs(60)).count()
        };
        tokio::time::sleep(LATENCY).await;
        if in_window > self.0.allowed.load(Ordering::SeqCst) {
            self.0.limited.lock().unwrap().push(now);
            return Answer {
                verdict: Verdict::Unavailable { reason: "429".to_owned(), maybe_taken: false },
                status: Some(429),
                correlation_id: None,
                retry_after: Some(Duration::from_secs(10)),
                rate: None,
                by_api: true,
            };
        }
        let (status, verdict) = if self.0.is_down.load(Ordering::SeqCst) {
            (503, Verdict::Unavailable { reason: "503".to_owned(), maybe_taken: false })
        } else {
            (200, Verdict::Taken { errors: Vec::new() })
        };
        Answer {
            verdict,
            status: Some(status),
            correlation_id: None,
            retry_after: None,
            rate: None,
            by_api: true,
        }
    }
}

fn config() -> config::RelayConfig {
    let text = "[upstream]\nregion = \"eu-central-1\"\nclient_id = \"c\"\nclient_secret = \"s\"\n";
    config::from_toml_str(text, std::path::Path::new("/"), std::iter::empty()).unwrap().config.relay
}

/// The relay over the fake, with the defaults of the configuration.
fn start(fake: &Fake) -> (Shutdown, mpsc::Sender<trunkline::relay::Command>, tokio::task::JoinHandle<()>) {
    let (status, _) = watch::channel(RelayStatus::default());
    let (commands_tx, commands) = mpsc::channel(1);
    let shutdown = Shutdown::default();
    let clock = fake.0.clock.clone();
    let task = tokio::spawn(run(Deps {
        backlog: fake.clone(),
        upstream: fake.clone(),
        config: config(),
        pacer: Pacer::new(&config(), clock.clone()),
        clock,
        metrics: Arc::new(Metrics::new()),
        status,
        commands,
        withheld: None,
        paused: Default::default(),
        shutdown: shutdown.clone(),
        grace: SECOND,
        drain: Duration::ZERO,
    }));
    (shutdown, commands_tx, task)
}

/// Appends `per_second` events each second, spread over it, for as long as the future lives.
async fn arrive(fake: Fake, lane: Lane, per_second: u32, keys: u64) {
    let mut ticks = tokio::time::interval(SECOND / per_second.min(20));
    loop {
        ticks.tick().await;
        fake.append(lane, usize::try_from(per_second.div_ceil(20)).unwrap(), keys);
    }
}

fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    sorted[(sorted.len() * percent / 100).min(sorted.len() - 1)]
}

/// An outage of two hours and the drain after it. Gives presence's lag at the 99th percentile.
async fn outage() -> Duration {
    let fake = Fake::new();
    fake.0.is_down.store(true, Ordering::SeqCst);
    let relay = start(&fake);
    let calls = tokio::spawn(arrive(fake.clone(), Lane::Conversations, 40, 5_000));
    tokio::time::sleep(Duration::from_secs(2 * 3600)).await;

    fake.0.is_down.store(false, Ordering::SeqCst);
    let back = Instant::now();
    let agents = tokio::spawn(arrive(fake.clone(), Lane::Presence, 1, 500));
    let backlog = fake.unsettled(Lane::Conversations);
    while fake.unsettled(Lane::Conversations) > 200 {
        tokio::time::sleep(SECOND).await;
        assert!(back.elapsed() < Duration::from_secs(3 * 3600), "it never drains");
    }
    let drained = Instant::now();
    agents.abort();
    tokio::time::sleep(Duration::from_secs(5)).await;

    let took = (drained - back).as_secs_f64();
    let presence = fake.sent(Lane::Presence, back, drained);
    // What is left of 300 requests a minute once presence has had its own, full, less what still arrives.
    let requests_left = 5.0 - presence.0 as f64 / took;
    let theory = backlog as f64 / (requests_left * 100.0 - 40.0);
    let (requests, events) = fake.sent(Lane::Conversations, back, drained);
    let lags = fake.lags(Lane::Presence, back);
    // Up to a minute may pass before the probe that finds the API well.
    assert!(took < theory * 1.05 + 60.0, "{took:.0} s of {theory:.0} s");
    assert!(events as f64 >= requests as f64 * 99.0, "{events} events in {requests} requests");
    calls.abort();
    relay.0.stop.cancel();
    relay.2.await.unwrap();
    percentile(&lags, 99)
}

#[tokio::test(start_paused = true)]
async fn after_an_outage_of_two_hours_the_backlog_drains_as_fast_as_the_api_allows() {
    let lag = outage().await;

    assert!(lag < 2 * SECOND, "presence lags by {lag:?}");
}

#[tokio::test(start_paused = true)]
async fn ninety_two_events_a_second_over_three_lanes_take_at_most_180_requests_a_minute() {
    let fake = Fake::new();
    let relay = start(&fake);
    let lanes = [(Lane::Conversations, 60), (Lane::Presence, 20), (Lane::RoutingStatus, 12)];
    let arriving: Vec<_> =
        lanes.map(|(lane, rate)| tokio::spawn(arrive(fake.clone(), lane, rate, 2_000))).into();
    tokio::time::sleep(Duration::from_secs(60)).await;
    let from = Instant::now();

    tokio::time::sleep(Duration::from_secs(600)).await;

    let to = Instant::now();
    let requests: usize = lanes.iter().map(|(lane, _)| fake.sent(*lane, from, to).0).sum();
    assert!(requests <= 180 * 10, "{} a minute", requests / 10);
    for (lane, _) in lanes {
        assert!(fake.unsettled(lane) < 200, "{lane} falls behind");
    }
    arriving.iter().for_each(tokio::task::JoinHandle::abort);
    relay.0.stop.cancel();
    relay.2.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_api_that_takes_half_of_the_configured_rate_says_429_at_most_twice_a_minute() {
    let fake = Fake::new();
    fake.0.allowed.store(150, Ordering::SeqCst);
    fake.append(Lane::Conversations, 400_000, 20_000);
    let relay = start(&fake);
    // The first minutes are for finding out.
    tokio::time::sleep(Duration::from_secs(180)).await;
    let from = Instant::now();

    tokio::time::sleep(Duration::from_secs(1_800)).await;

    let limited: Vec<Instant> =
        fake.0.limited.lock().unwrap().iter().copied().filter(|at| *at >= from).collect();
    for window in limited.windows(3) {
        assert!(
            window[2] - window[0] > Duration::from_secs(60),
            "three 429 within {:?}",
            window[2] - window[0]
        );
    }
    let (requests, _) = fake.sent(Lane::Conversations, from, Instant::now());
    assert!(requests > 30 * 90, "only {} requests a minute", requests / 30);
    relay.0.stop.cancel();
    relay.2.await.unwrap();
}
