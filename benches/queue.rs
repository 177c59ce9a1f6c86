//! Accepted events a second, beside the disk's own limit: a bare file with the same bytes in the same
//! groups, appended and synced. Run with `cargo bench --bench queue`.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench fails by panicking and tells on stdout"
)]

use std::collections::VecDeque;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use trunkline::clock::Clock;
use trunkline::config;
use trunkline::event::{Array, Catalogue, Door, Envelope, Key, Lane};
use trunkline::metrics::Metrics;
use trunkline::queue::{AppendError, Appended, Backlog, Outcome, Queue, Settlement};
use uuid::Uuid;

const RUNS: usize = 5;
const BODY_BYTES: usize = 600;
/// Events of a run by group: enough for about a second.
const PLAN: &[(usize, usize)] = &[(1, 500), (64, 19_200), (256, 51_200), (1024, 102_400)];

fn event(array: &Array) -> Envelope {
    let event_id = Uuid::new_v4();
    Envelope {
        lane: Lane::Conversations,
        array: array.clone(),
        event_id,
        key: Key::alone(event_id),
        event_time_ms: 0,
        accepted_at_ms: 0,
        door: Door::Stream,
        uid: 0,
        body: Bytes::from(vec![b'x'; BODY_BYTES]),
    }
}

fn bare(group: usize, events: usize) -> f64 {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let mut file = std::fs::File::create(dir.path().join("log")).unwrap();
    let bytes = vec![b'x'; (BODY_BYTES + 52) * group];
    let clock = Clock::system();
    let began = clock.mono();
    for _ in 0..events / group {
        file.write_all(&bytes).unwrap();
        file.sync_data().unwrap();
    }
    rate(events, clock.mono().since(began))
}

fn settings(dir: &std::path::Path) -> config::Queue {
    let text = format!(
        "[upstream]\nregion = \"eu-central-1\"\nclient_id = \"bench\"\nclient_secret = \"bench\"\n[queue]\ndir = {:?}\n\
         dedupe_window = \"0s\"\nmin_free_disk = \"1MiB\"\n",
        dir.join("queue")
    );
    config::from_toml_str(&text, dir, std::iter::empty()).unwrap().config.queue
}

fn all_stored(results: Vec<Result<Appended, AppendError>>) {
    assert!(results.iter().all(|result| matches!(result, Ok(Appended::Stored(_)))));
}

/// Accepted and drained events a second.
async fn queued(group: usize, events: usize) -> (f64, f64) {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let clock = Clock::system();
    let queue = Queue::open(&settings(dir.path()), clock.clone(), Arc::new(Metrics::new())).unwrap();
    let array = Catalogue::new(&[]).find("holdUpdatedEvents").unwrap().array();
    let prepared: Vec<Vec<Envelope>> =
        (0..events / group).map(|_| (0..group).map(|_| event(&array)).collect()).collect();
    let writer = queue.writer();
    let began = clock.mono();
    // The next group waits while one is committed, as with more than one producer: a commit still is
    // one group.
    let mut waiting = VecDeque::new();
    for part in prepared {
        waiting.push_back(writer.submit(part));
        if waiting.len() > 1 {
            all_stored(waiting.pop_front().unwrap().await);
        }
    }
    for ticket in waiting {
        all_stored(ticket.await);
    }
    let accepted = rate(events, clock.mono().since(began));
    let reader = queue.reader();
    let began = clock.mono();
    let (mut from, mut drained) = (1, 0);
    while drained < events {
        let page = reader.read(Lane::Conversations, from, 2_000, 2 << 20).await.unwrap();
        from = page.next;
        drained += page.events.len();
        let settlements = page.events.into_iter().map(|stored| Settlement {
            stored,
            outcome: Outcome::Delivered,
            attempts: 1,
            status: Some(200),
            correlation_id: None,
        });
        reader.settle(settlements.collect()).await.unwrap();
    }
    let drain = rate(events, clock.mono().since(began));
    tokio::task::spawn_blocking(move || queue.close()).await.unwrap();
    (accepted, drain)
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn rate(events: usize, took: Duration) -> f64 {
    events as f64 / took.as_secs_f64()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() {
    // `cargo test --benches` only wants to know that it builds.
    if std::env::args().any(|arg| arg == "--test") {
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    println!("{:>6} {:>14} {:>14} {:>7} {:>14}", "group", "bare file/s", "accepted/s", "ratio", "drained/s");
    for &(group, events) in PLAN {
        let (mut bares, mut accepts, mut drains) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..RUNS {
            bares.push(bare(group, events));
            let (accepted, drained) = runtime.block_on(queued(group, events));
            accepts.push(accepted);
            drains.push(drained);
        }
        let (bare, accepted) = (median(bares), median(accepts));
        println!(
            "{group:>6} {bare:>14.0} {accepted:>14.0} {:>7.2} {:>14.0}",
            accepted / bare,
            median(drains)
        );
    }
}
