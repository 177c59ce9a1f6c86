//! Every kind of fault at random from a seed, with the sandbox as a process: the sums come out even
//! and no key is ever in two requests.

use std::collections::HashSet;

use serde_json::{Value, json};
use trunkline::daemon::{Daemon, Start};
use trunkline::event::Lane;
use trunkline::metrics::{LaneLabel, LaneReason, Metrics};
use trunkline::queue::DeadReason;
use trunkline::shutdown::Shutdown;
use uuid::Uuid;

use crate::common::{Home, PATIENCE, Producer, Sandbox, accepted, eventually, hold_event};

const CONVERSATIONS: usize = 40;
const EVENTS: u64 = 2_000;

/// The weather changes while it runs; each is a state that the real API, a proxy or a network shows.
fn weathers() -> Vec<Value> {
    vec![
        json!({"fail_rate": 0.4, "status": 500, "reject_event_rate": 0.02, "retry_event_rate": 0.05}),
        json!({"fail_rate": 0.4, "status": 503, "reset_rate": 0.1}),
        json!({"fail_rate": 0.3, "status": 429, "retry_after_seconds": 1}),
        json!({"html_rate": 0.3, "lost_answer_rate": 0.2, "reject_event_rate": 0.02}),
        json!({"reset_rate": 0.3, "retry_event_rate": 0.2}),
    ]
}

/// No fault at all.
fn fair() -> Value {
    json!({"status": null, "fail_rate": null, "reset_rate": null, "html_rate": null, "lost_answer_rate": null,
        "reject_event_rate": null, "retry_event_rate": null, "retry_after_seconds": null})
}

fn delivered(metrics: &Metrics) -> u64 {
    metrics.events_delivered.get_or_create(&LaneLabel { lane: Lane::Conversations.name() }).get()
}

fn dead(metrics: &Metrics) -> u64 {
    DeadReason::ALL
        .into_iter()
        .map(|reason| {
            let labels = LaneReason { lane: Lane::Conversations.name(), reason: reason.code() };
            metrics.events_dead.get_or_create(&labels).get()
        })
        .sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn delivered_plus_dead_equals_accepted_in_every_weather() {
    let sandbox = Sandbox::start(&["--seed", "42", "--requests-per-minute", "1000000", "--latency", "2ms"]);
    let home = Home::new(&sandbox.addr, "batch_max_events = 20\none_per_key = true\n");
    let config = trunkline::config::load(Some(&home.config())).unwrap();
    let shutdown = Shutdown::default();
    let daemon = Daemon::start(Start::fixed(config, shutdown.clone())).await.unwrap();
    let metrics = daemon.metrics();
    let socket = home.socket();
    let producing = tokio::task::spawn_blocking(move || {
        let conversations: Vec<Uuid> = (0..CONVERSATIONS).map(|_| Uuid::new_v4()).collect();
        let mut producer = Producer::connect(&socket);
        let mut ids = HashSet::new();
        for nth in 0..EVENTS {
            let (id, line) = hold_event(conversations[nth as usize % CONVERSATIONS], nth);
            assert_eq!(producer.ask(&line), accepted());
            ids.insert(id.to_string());
        }
        ids
    });

    let checking = tokio::task::spawn_blocking(move || {
        for weather in weathers() {
            let requests = sandbox.stat("requests");
            sandbox.set_faults(&fair());
            sandbox.set_faults(&weather);
            eventually("twenty requests in this weather, or nothing left to send", || {
                sandbox.stat("requests") >= requests + 20 || delivered(&metrics) + dead(&metrics) == EVENTS
            });
        }
        sandbox.set_faults(&fair());
        eventually("all is settled", || delivered(&metrics) + dead(&metrics) == EVENTS);
        (sandbox, metrics)
    });
    let ids = producing.await.unwrap();
    let (sandbox, metrics) = checking.await.unwrap();
    shutdown.stop.cancel();
    tokio::time::timeout(PATIENCE, daemon.finished()).await.expect("it stops").unwrap();

    tokio::task::spawn_blocking(move || {
        let taken: HashSet<String> = sandbox.taken_ids().into_iter().collect();
        assert_eq!(ids.len() as u64, EVENTS);
        assert!(taken.is_subset(&ids));
        assert_eq!(taken.len() as u64 + dead(&metrics), EVENTS);
        assert_eq!(delivered(&metrics), taken.len() as u64);
        assert!(dead(&metrics) > 0, "the seed must reject some");
        assert_eq!(sandbox.stat("same_key_in_flight"), 0);
        // With one event of a key a request, not even the API can break its order.
        assert_eq!(sandbox.stat("order_violations"), 0);
        assert_eq!(reordered(&metrics), 0);
    })
    .await
    .unwrap();
}

fn reordered(metrics: &Metrics) -> u64 {
    metrics.events_reordered.get_or_create(&LaneLabel { lane: Lane::Conversations.name() }).get()
}
