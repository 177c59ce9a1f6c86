//! Parts of the tests that hold a queue to its promises: settings, events, reading, files.

#![allow(dead_code, reason = "each test binary uses its own part of this")]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use trunkline::clock::Clock;
use trunkline::config;
use trunkline::event::{Catalogue, Door, Envelope, Key, Lane};
use trunkline::metrics::Metrics;
use trunkline::queue::{Backlog, DeadLetter, DeadReason, OpenError, Outcome, Queue, Settlement, Stored};
use uuid::Uuid;

/// Each of the queue's answers takes some commits; this is for a hang.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks at a condition.
const PAUSE: Duration = Duration::from_millis(20);

/// Many segments from few events.
pub(crate) fn small_segments(config: &mut config::Queue) {
    config.segment_bytes = 64 * 1024;
}

/// `[queue]` with `more` in it, in `home/queue`.
pub(crate) fn settings(home: &Path, more: &str) -> config::Queue {
    let text = format!(
        "[upstream]\nregion = \"eu-central-1\"\nclient_id = \"c\"\nclient_secret = \"s\"\n[queue]\ndir = {:?}\n{more}",
        home.join("queue")
    );
    config::from_toml_str(&text, home, std::iter::empty()).unwrap().config.queue
}

pub(crate) fn try_open(config: &config::Queue, clock: Clock) -> Result<Queue, OpenError> {
    Queue::open(config, clock, Arc::new(Metrics::new()))
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

/// The body that belongs to this id: whoever reads it can tell whether it is whole.
pub(crate) fn body_of(event_id: Uuid, size: usize) -> Vec<u8> {
    let mut random = StdRng::seed_from_u64(event_id.as_u64_pair().1);
    (0..size).map(|_| random.random_range(1..=u8::MAX)).collect()
}

pub(crate) fn event(lane: Lane, event_id: Uuid, size: usize, accepted_at_ms: i64) -> Envelope {
    Envelope {
        lane,
        array: Catalogue::new(&[]).find("holdUpdatedEvents").unwrap().array(),
        event_id,
        key: Key::alone(event_id),
        event_time_ms: 7,
        accepted_at_ms,
        door: Door::Stream,
        uid: 1000,
        body: body_of(event_id, size).into(),
    }
}

pub(crate) fn dead() -> Outcome {
    Outcome::Dead { reason: DeadReason::Rejected, message: "no such user".to_owned() }
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

/// All that the lane gives, by pages of `max_events`.
pub(crate) async fn read_all(queue: &Queue, lane: Lane, max_events: usize) -> Vec<Stored> {
    let (mut from, mut all) = (1, Vec::new());
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

pub(crate) fn letters(queue: &Queue) -> Vec<DeadLetter> {
    let (mut all, mut after) = (Vec::new(), 0);
    while let Some(letter) = queue.dead_letters().next(after).unwrap() {
        after = letter.number;
        all.push(letter);
    }
    all
}

/// Files under `dir`, sorted.
pub(crate) fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

/// Copies what a SIGKILL would leave: the files at one moment, while the queue that holds them rests.
pub(crate) fn copy_at_rest(from: &Path, to: &Path) {
    for _ in 0..PATIENCE.as_millis() / PAUSE.as_millis() {
        let before = looks(from);
        if copy(from, to).is_ok() && looks(from) == before {
            return;
        }
        fs::remove_dir_all(to).unwrap();
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

fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let path = entry?.path();
        let target = to.join(path.file_name().expect("an entry has a name"));
        if path.is_dir() {
            copy(&path, &target)?;
        } else {
            fs::copy(&path, target)?;
        }
    }
    Ok(())
}
