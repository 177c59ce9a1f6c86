//! A queue on real files, and what tests do with it: settings, events, reading, settling, files.

#![allow(dead_code, reason = "each test binary uses its own part of this")]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use trunkline::clock::Clock;
use trunkline::config;
use trunkline::event::{Catalogue, Door, Envelope, Key, Lane};
use trunkline::metrics::Metrics;
use trunkline::queue::{
    Appended, Backlog, DeadLetter, DeadReason, OpenError, Outcome, Queue, QueueError, Seq, Settlement, Stored,
};
use uuid::Uuid;

/// How long a condition may take on a busy machine before the test says that it never came.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks at a condition.
const PAUSE: Duration = Duration::from_millis(20);

/// The section `[queue]` with `dir/queue` as directory, and `more` lines.
pub(crate) fn settings(dir: &Path, more: &str) -> config::QueueConfig {
    let text = format!(
        "[upstream]\nregion = \"eu-central-1\"\nclient_id = \"c\"\nclient_secret = \"s\"\n[queue]\ndir = \"queue\"\n\
         min_free_disk = \"1MiB\"\n{more}"
    );
    config::from_toml_str(&text, dir, std::iter::empty()).unwrap().config.queue
}

/// Segments so small that a few dozen events fill one.
pub(crate) fn small_segments(dir: &Path) -> config::QueueConfig {
    config::QueueConfig { segment_bytes: 64 * 1024, ..settings(dir, "") }
}

pub(crate) fn try_open(config: &config::QueueConfig) -> Result<Queue, OpenError> {
    try_open_at(config, Clock::system())
}

pub(crate) fn try_open_at(config: &config::QueueConfig, clock: Clock) -> Result<Queue, OpenError> {
    Queue::open(config, clock, Arc::new(Metrics::new()))
}

pub(crate) fn open(dir: &Path) -> Queue {
    try_open(&settings(dir, "")).unwrap()
}

pub(crate) async fn close(queue: Queue) {
    tokio::task::spawn_blocking(move || queue.close()).await.unwrap();
}

pub(crate) fn event_in(lane: Lane, body: impl Into<Bytes>) -> Envelope {
    envelope(lane, Uuid::new_v4(), Clock::system().unix_ms(), body.into())
}

/// An event with the body that belongs to its id (see [`body_of`]).
pub(crate) fn event_with_id(lane: Lane, event_id: Uuid, size: usize, accepted_at_ms: i64) -> Envelope {
    envelope(lane, event_id, accepted_at_ms, body_of(event_id, size).into())
}

fn envelope(lane: Lane, event_id: Uuid, accepted_at_ms: i64, body: Bytes) -> Envelope {
    Envelope {
        lane,
        array: Catalogue::new(&[]).find("holdUpdatedEvents").unwrap().array(),
        event_id,
        key: Key::alone(event_id),
        event_time_ms: 7,
        accepted_at_ms,
        door: Door::Stream,
        uid: 1000,
        body,
    }
}

/// The body that belongs to this id: whoever reads it can tell whether it is whole.
pub(crate) fn body_of(event_id: Uuid, size: usize) -> Vec<u8> {
    let mut random = StdRng::seed_from_u64(event_id.as_u64_pair().1);
    (0..size).map(|_| random.random_range(1..=u8::MAX)).collect()
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

/// All that the lane gives.
pub(crate) async fn read_all(queue: &Queue, lane: Lane) -> Vec<Stored> {
    read_by_pages(queue, lane, 7).await
}

/// All that the lane gives, by pages of `max_events`.
pub(crate) async fn read_by_pages(queue: &Queue, lane: Lane, max_events: usize) -> Vec<Stored> {
    let (mut from, mut all): (Seq, Vec<Stored>) = (1, Vec::new());
    loop {
        let page = within("a read", queue.reader().read(lane, from, max_events, 1 << 20)).await.unwrap();
        assert!(page.at_end || page.next > from, "{lane}: a page without progress at {from}");
        from = page.next;
        all.extend(page.events);
        if page.at_end {
            return all;
        }
    }
}

pub(crate) fn settlement(stored: &Stored, outcome: &Outcome) -> Settlement {
    Settlement {
        stored: stored.clone(),
        outcome: outcome.clone(),
        attempts: 3,
        status: Some(400),
        correlation_id: Some("c-1".into()),
    }
}

pub(crate) fn settlements(stored: &[Stored], outcome: &Outcome) -> Vec<Settlement> {
    stored.iter().map(|stored| settlement(stored, outcome)).collect()
}

pub(crate) async fn settle(queue: &Queue, stored: &[Stored], outcome: Outcome) {
    queue.reader().settle(settlements(stored, &outcome)).await.unwrap();
}

pub(crate) fn dead(message: &str) -> Outcome {
    Outcome::Dead { reason: DeadReason::Rejected, message: message.to_owned() }
}

/// All dead letters, in order of death.
pub(crate) fn letters(queue: &Queue) -> Vec<DeadLetter> {
    try_letters(queue).unwrap()
}

pub(crate) fn try_letters(queue: &Queue) -> Result<Vec<DeadLetter>, QueueError> {
    let mut found: Vec<DeadLetter> = Vec::new();
    while let Some(letter) = queue.dead_letters().next(found.last().map_or(0, |last| last.number))? {
        found.push(letter);
    }
    Ok(found)
}

/// All files below `dir`, sorted.
pub(crate) fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
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
    try_copy(from, to).unwrap();
}

fn try_copy(from: &Path, to: &Path) -> std::io::Result<()> {
    for path in files(from).iter().filter(|path| !path.ends_with("reserve") && !path.ends_with("lock")) {
        let target = to.join(path.strip_prefix(from).expect("found below it"));
        fs::create_dir_all(target.parent().expect("it lies in a directory"))?;
        fs::copy(path, target)?;
    }
    Ok(())
}

/// The same while a queue holds the files: copies until a copy is of one moment.
pub(crate) fn copy_at_rest(from: &Path, to: &Path) {
    for _ in 0..PATIENCE.as_millis() / PAUSE.as_millis() {
        let before = looks(from);
        if try_copy(from, to).is_ok() && looks(from) == before {
            return;
        }
        // The first file may have gone before anything was copied.
        if to.exists() {
            fs::remove_dir_all(to).unwrap();
        }
        std::thread::park_timeout(PAUSE);
    }
    panic!("{} is never at rest", from.display());
}

fn looks(dir: &Path) -> Vec<(PathBuf, u64, SystemTime)> {
    let look = |path: PathBuf| {
        let meta = fs::metadata(&path).ok()?;
        Some((path, meta.len(), meta.modified().ok()?))
    };
    files(dir).into_iter().filter_map(look).collect()
}

/// Allocated bytes under `dir`, without the reserve.
pub(crate) fn allocated(dir: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let size = |path: &PathBuf| fs::metadata(path).map_or(0, |meta| meta.blocks() * 512);
    files(dir).iter().filter(|path| !path.ends_with("reserve")).map(size).sum()
}

/// The answer, or a panic that says what hangs.
pub(crate) async fn within<T>(what: &str, answer: impl Future<Output = T>) -> T {
    let Ok(answer) = tokio::time::timeout(PATIENCE, answer).await else { panic!("hangs: {what}") };
    answer
}

/// Asks again until there is an answer; `None` when the patience is at its end.
pub(crate) async fn eventually<T>(mut ask: impl AsyncFnMut() -> Option<T>) -> Option<T> {
    for _ in 0..PATIENCE.as_millis() / PAUSE.as_millis() {
        if let Some(answer) = ask().await {
            return Some(answer);
        }
        tokio::time::sleep(PAUSE).await;
    }
    None
}

/// Waits until `is_so`; for what happens in its own time.
pub(crate) async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let came = eventually(async || is_so().then_some(())).await;
    assert!(came.is_some(), "not within {PATIENCE:?}: {what}");
}
