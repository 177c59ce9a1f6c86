//! A queue on real files, and what tests do with it.

#![allow(dead_code, reason = "each test file uses a part of this")]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use trunkline::clock::Clock;
use trunkline::config;
use trunkline::event::{Catalogue, Door, Envelope, Key, Lane};
use trunkline::metrics::Metrics;
use trunkline::queue::{Appended, Backlog, DeadReason, OpenError, Outcome, Queue, Seq, Settlement, Stored};
use uuid::Uuid;

/// For what the keeping thread does in its own time; far above what it takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// The section `[queue]` with `dir/queue` as directory, and `more` lines.
pub(crate) fn settings(dir: &Path, more: &str) -> config::Queue {
    let text = format!(
        "[upstream]\nregion = \"eu-central-1\"\nclient_id = \"c\"\nclient_secret = \"s\"\n[queue]\ndir = \"queue\"\n\
         min_free_disk = \"1MiB\"\n{more}"
    );
    config::from_toml_str(&text, dir, std::iter::empty()).unwrap().config.queue
}

/// Segments so small that a few dozen events fill one.
pub(crate) fn small_segments(dir: &Path) -> config::Queue {
    config::Queue { segment_bytes: 64 * 1024, ..settings(dir, "") }
}

pub(crate) fn try_open(config: &config::Queue) -> Result<Queue, OpenError> {
    Queue::open(config, Clock::system(), Arc::new(Metrics::new()))
}

pub(crate) fn open(dir: &Path) -> Queue {
    try_open(&settings(dir, "")).unwrap()
}

pub(crate) async fn close(queue: Queue) {
    tokio::task::spawn_blocking(move || queue.close()).await.unwrap();
}

pub(crate) fn event_in(lane: Lane, body: impl Into<Bytes>) -> Envelope {
    let event_id = Uuid::new_v4();
    Envelope {
        lane,
        array: Catalogue::new(&[]).find("holdUpdatedEvents").unwrap().array(),
        event_id,
        key: Key::alone(event_id),
        event_time_ms: 7,
        accepted_at_ms: Clock::system().unix_ms(),
        door: Door::Stream,
        uid: 1000,
        body: body.into(),
    }
}

pub(crate) fn event(body: &str) -> Envelope {
    event_in(Lane::Conversations, Bytes::copy_from_slice(body.as_bytes()))
}

/// Appends, and gives the events with the numbers that they got.
pub(crate) async fn append(queue: &Queue, events: Vec<Envelope>) -> Vec<Stored> {
    let results = queue.writer().submit(events.clone()).await;
    let seq = |result| match result {
        Ok(Appended::Stored(seq)) => seq,
        other => panic!("not stored: {other:?}"),
    };
    results.into_iter().zip(events).map(|(result, event)| Stored { seq: seq(result), event }).collect()
}

pub(crate) async fn read_all(queue: &Queue, lane: Lane) -> Vec<Stored> {
    let (mut from, mut all): (Seq, Vec<Stored>) = (1, Vec::new());
    loop {
        let page = queue.reader().read(lane, from, 7, 1 << 20).await.unwrap();
        assert!(page.at_end || page.next > from, "a page without progress at {from}");
        from = page.next;
        all.extend(page.events);
        if page.at_end {
            return all;
        }
    }
}

pub(crate) fn settlements(stored: &[Stored], outcome: &Outcome) -> Vec<Settlement> {
    let settlement = |stored: &Stored| Settlement {
        stored: stored.clone(),
        outcome: outcome.clone(),
        attempts: 3,
        status: Some(400),
        correlation_id: Some("c-1".into()),
    };
    stored.iter().map(settlement).collect()
}

pub(crate) async fn settle(queue: &Queue, stored: &[Stored], outcome: Outcome) {
    queue.reader().settle(settlements(stored, &outcome)).await.unwrap();
}

pub(crate) fn dead(message: &str) -> Outcome {
    Outcome::Dead { reason: DeadReason::Rejected, message: message.to_owned() }
}

/// All files below `dir`, sorted.
pub(crate) fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

/// All files of that name below `dir`.
pub(crate) fn files_named(dir: &Path, name: &str) -> Vec<PathBuf> {
    files(dir).into_iter().filter(|path| path.ends_with(name)).collect()
}

/// Copies a queue's files as a kill would leave them; without what holds no data.
pub(crate) fn copy(from: &Path, to: &Path) {
    for path in files(from).iter().filter(|path| !path.ends_with("reserve") && !path.ends_with("lock")) {
        let target = to.join(path.strip_prefix(from).unwrap());
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(path, target).unwrap();
    }
}

/// Allocated bytes under `dir`, without the reserve.
pub(crate) fn allocated(dir: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let size = |path: &PathBuf| fs::metadata(path).map_or(0, |meta| meta.blocks() * 512);
    files(dir).iter().filter(|path| !path.ends_with("reserve")).map(size).sum()
}

/// Waits until `is_so`; for what happens in its own time.
pub(crate) async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let clock = Clock::system();
    let began = clock.mono();
    while !is_so() {
        assert!(clock.mono().since(began) < PATIENCE, "not within {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
