//! Random weather: faults of the API, kills, restarts, reloads, pauses, replays and lost tokens while producers go on.
//! What was accepted is delivered or dead, in the order of its conversation; no key is in two requests at once, and no
//! 60 seconds have more requests than configured.
//!
//! Ignored: it takes ten minutes. `cargo test --test delivery weather -- --ignored --nocapture`;
//! `TRUNKLINE_TEST_SEED` and `TRUNKLINE_TEST_MINUTES` make another one.

use std::collections::{HashMap, HashSet};
use std::io::Write;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use trunkline::clock::Clock;
use uuid::Uuid;

use crate::common::{Home, Producer, Running, Sandbox, accepted, eventually, hold_event, http, within};

const PRODUCERS: usize = 4;
/// Conversations that a producer has open at a time.
const OPEN: usize = 12;
/// Between two events of a producer.
const PAUSE: Duration = Duration::from_millis(40);
const REQUESTS_PER_MINUTE: u64 = 120;
/// Everything that was held up must drain through the same pace.
const DRAIN: Duration = Duration::from_secs(600);

/// What producers were told.
#[derive(Default)]
struct Told {
    /// Ids answered as accepted, by conversation in the order of writing.
    accepted: Mutex<HashMap<Uuid, Vec<String>>>,
    /// Conversations of which a line got no answer: it may be taken or not.
    unsure: Mutex<HashSet<Uuid>>,
    stop: AtomicBool,
}

/// Hands over events of some conversations, one at a time.
fn produce(socket: PathBuf, told: &Told, seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let mut open: Vec<Uuid> = (0..OPEN).map(|_| Uuid::new_v4()).collect();
    let (mut producer, mut nth): (Option<Producer>, u64) = (None, 0);
    while !told.stop.load(Ordering::SeqCst) {
        std::thread::sleep(PAUSE);
        let Some(connected) = producer.as_mut() else {
            producer = Producer::try_connect(&socket).ok();
            continue;
        };
        let at = random.random_range(0..OPEN);
        nth += 1;
        let (id, line) = hold_event(open[at], nth);
        let answer = connected.line(&line).and_then(|()| connected.answer());
        match answer {
            Ok(Some(answer)) if answer == accepted() => {
                let mut accepted = told.accepted.lock().unwrap();
                accepted.entry(open[at]).or_default().push(id.to_string());
            }
            _ => {
                told.unsure.lock().unwrap().insert(open[at]);
                open[at] = Uuid::new_v4();
                producer = None;
            }
        }
        if random.random_ratio(1, 200) {
            open[at] = Uuid::new_v4();
        }
    }
}

/// What happened, for the figures.
#[derive(Debug, Default)]
struct Events {
    kills: usize,
    restarts: usize,
    reloads: usize,
    pauses: usize,
    replays: usize,
    faults: usize,
}

struct Weather {
    home: Home,
    sandbox: Sandbox,
    daemon: Option<Running>,
    random: StdRng,
    events: Events,
}

impl Weather {
    fn turn(&mut self) {
        match self.random.random_range(0..12) {
            0 => {
                self.daemon.take().expect("it runs").sigkill();
                self.daemon = Some(self.home.run());
                self.events.kills += 1;
            }
            1 => {
                let daemon = self.daemon.take().expect("it runs");
                daemon.sigterm();
                assert!(daemon.wait().success(), "{}", self.home.log());
                self.daemon = Some(self.home.run());
                self.events.restarts += 1;
            }
            2 => {
                let linger = ["50ms", "200ms", "1s"].choose(&mut self.random).unwrap();
                let config = std::fs::read_to_string(self.home.config()).unwrap();
                let line = config.lines().find(|line| line.starts_with("batch_linger")).unwrap();
                self.home.reconfigure(line, &format!("batch_linger = \"{linger}\""));
                self.home.say(&["reload"]);
                self.events.reloads += 1;
            }
            3 => {
                let command = ["pause", "resume"].choose(&mut self.random).unwrap();
                self.home.say(&[command]);
                self.events.pauses += 1;
            }
            4 => {
                self.replay();
                self.events.replays += 1;
            }
            _ => {
                let faults = self.faults();
                self.sandbox.set_faults(&faults);
                self.events.faults += 1;
            }
        }
    }

    fn replay(&self) {
        let said = self.home.cli(&["dead-letters", "replay", "--all"]);
        assert!(said.status.code().is_some(), "{said:?}");
    }

    /// All faults there are, each with or without force.
    fn faults(&mut self) -> Value {
        let mut rate =
            |odds: u32, rate: f64| if self.random.random_ratio(1, odds) { json!(rate) } else { json!(0.0) };
        let (reset, lost, html, reject) = (rate(3, 0.2), rate(3, 0.2), rate(6, 0.3), rate(4, 0.01));
        let status =
            [None, None, Some(503), Some(500), Some(429), Some(408)].choose(&mut self.random).unwrap();
        let fail_rate = [1.0, 0.4].choose(&mut self.random).unwrap();
        let latency_ms = [0, 0, 300, 2_000].choose(&mut self.random).unwrap();
        json!({
            "status": status,
            "fail_rate": status.map(|_| fail_rate),
            "retry_after_seconds": status.map(|_| self.random.random_range(1..5)),
            "latency_ms": latency_ms,
            "reset_rate": reset,
            "lost_answer_rate": lost,
            "html_rate": html,
            "reject_event_rate": reject,
            "unauthorized": self.random.random_ratio(1, 8),
            "refuse_login": self.random.random_ratio(1, 12),
            "date_offset_seconds": if self.random.random_ratio(1, 8) { 120 } else { 0 },
        })
    }

    fn clear(&self) {
        let clear = json!({
            "status": null, "fail_rate": null, "retry_after_seconds": null, "latency_ms": 0, "reset_rate": 0.0,
            "lost_answer_rate": 0.0, "html_rate": 0.0, "reject_event_rate": 0.0, "unauthorized": false,
            "refuse_login": false, "date_offset_seconds": 0,
        });
        self.sandbox.set_faults(&clear);
    }

    /// Ids that the API has refused at some time. They may have been taken at another, after what came later: when they
    /// were replayed, or when nobody heard the refusal.
    fn refused(&self) -> HashSet<String> {
        let (_, ids) = http(&self.sandbox.addr, "GET", "/sandbox/rejected", "");
        String::from_utf8(ids).unwrap().lines().map(str::to_owned).collect()
    }
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().unwrap())
}

#[test]
#[ignore = "takes ten minutes"]
fn random_weather_loses_nothing_and_keeps_order_and_pace() {
    let seed = number("TRUNKLINE_TEST_SEED", 1);
    let minutes = number("TRUNKLINE_TEST_MINUTES", 10);
    let sandbox = Sandbox::start(&["--requests-per-minute", "100000", "--token-life", "90s"]);
    let home = Home::new(&sandbox.addr, "");
    home.reconfigure(
        "requests_per_minute = 60000\nburst = 100",
        &format!("requests_per_minute = {REQUESTS_PER_MINUTE}\nburst = 10"),
    );
    let daemon = Some(home.run());
    let mut weather =
        Weather { home, sandbox, daemon, random: StdRng::seed_from_u64(seed), events: Events::default() };
    let told = Arc::new(Told::default());
    let producers: Vec<_> = (0..PRODUCERS as u64)
        .map(|nth| {
            let (socket, told) = (weather.home.socket(), told.clone());
            std::thread::spawn(move || produce(socket, &told, seed ^ nth))
        })
        .collect();
    let clock = Clock::system();
    let began = clock.mono();

    while clock.mono().since(began) < Duration::from_secs(60 * minutes) {
        std::thread::sleep(Duration::from_millis(weather.random.random_range(500..4_000)));
        weather.turn();
    }
    told.stop.store(true, Ordering::SeqCst);
    producers.into_iter().for_each(|producer| producer.join().unwrap());
    weather.clear();
    weather.home.say(&["resume"]);
    within(DRAIN, "the queue is empty", || weather.home.status()["queue_events"] == 0);
    weather.replay();
    eventually("no dead letter is left", || weather.home.status()["dead_letters"] == 0);
    within(DRAIN, "the queue is empty again", || weather.home.status()["queue_events"] == 0);

    let refused = weather.refused();
    let mut place = HashMap::new();
    for (at, id) in weather.sandbox.taken_ids().into_iter().enumerate() {
        place.entry(id).or_insert(at);
    }
    let (all, unsure) = (told.accepted.lock().unwrap(), told.unsure.lock().unwrap());
    let lost: Vec<&String> = all.values().flatten().filter(|id| !place.contains_key(*id)).collect();
    let is_in_order = |ids: &&Vec<String>| {
        let places: Vec<usize> = ids.iter().filter_map(|id| place.get(id)).copied().collect();
        ids.iter().any(|id| refused.contains(id)) || places.is_sorted()
    };
    let disordered = all.values().filter(|ids| !is_in_order(ids)).count();
    let stats = weather.sandbox.stats();
    let accepted = all.values().map(Vec::len).sum::<usize>();
    let figures = format!(
        "seed {seed}, {minutes} min: {accepted} accepted in {} conversations ({} unsure), {} refused at first; {:?}; {stats}",
        all.len(),
        unsure.len(),
        refused.len(),
        weather.events
    );
    writeln!(std::io::stderr(), "{figures}").unwrap();

    assert!(lost.is_empty(), "{} lost: {:?}", lost.len(), &lost[..lost.len().min(5)]);
    assert_eq!(disordered, 0, "conversations out of order");
    assert_eq!(weather.sandbox.stat("same_key_in_flight"), 0, "{stats}");
    assert!(weather.sandbox.stat("max_requests_in_60s") <= REQUESTS_PER_MINUTE, "{stats}");
}
