//! The queue after damage and kills: it opens, gives what is readable, and uses no number twice.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use trunkline::clock::Clock;
use trunkline::config;
use trunkline::event::{Catalogue, Door, Envelope, Key, Lane};
use trunkline::metrics::Metrics;
use trunkline::queue::{Appended, Backlog, DeadReason, OpenError, Outcome, Queue, Seq, Settlement, Stored};
use uuid::Uuid;

const LANE: Lane = Lane::Conversations;
const ROUNDS: u64 = 60;
const KILLS: usize = 10;
const ANSWERS_A_ROUND: usize = 120;
const CHILD_DIR: &str = "TRUNKLINE_TEST_QUEUE_DIR";
/// An open of a small queue takes a moment; this is for a hang.
const PATIENCE: Duration = Duration::from_secs(60);

fn try_open(dir: &Path) -> Result<Queue, OpenError> {
    let text = format!(
        "[upstream]\nregion = \"eu-central-1\"\nclient_id = \"c\"\nclient_secret = \"s\"\n[queue]\ndir = {:?}\n\
         min_free_disk = \"1MiB\"\n",
        dir.join("queue")
    );
    let config = config::from_toml_str(&text, dir, std::iter::empty()).unwrap().config.queue;
    Queue::open(&config, Clock::system(), Arc::new(Metrics::new()))
}

fn open(dir: &Path) -> Queue {
    try_open(dir).unwrap()
}

fn event(lane: Lane, size: usize) -> Envelope {
    let event_id = Uuid::new_v4();
    let mut random = StdRng::seed_from_u64(event_id.as_u64_pair().1);
    Envelope {
        lane,
        array: Catalogue::new(&[]).find("holdUpdatedEvents").unwrap().array(),
        event_id,
        key: Key::alone(event_id),
        event_time_ms: 7,
        accepted_at_ms: Clock::system().unix_ms(),
        door: Door::Stream,
        uid: 1000,
        body: (0..size).map(|_| random.random_range(1..=u8::MAX)).collect::<Vec<u8>>().into(),
    }
}

async fn append(queue: &Queue, events: Vec<Envelope>) -> Vec<Stored> {
    let results = queue.writer().submit(events.clone()).await;
    let seq = |result| match result {
        Ok(Appended::Stored(seq)) => seq,
        other => panic!("not stored: {other:?}"),
    };
    results.into_iter().zip(events).map(|(result, event)| Stored { seq: seq(result), event }).collect()
}

async fn read_all(queue: &Queue, lane: Lane) -> Vec<Stored> {
    let (mut from, mut all) = (1, Vec::new());
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

async fn settle(queue: &Queue, stored: &[Stored], outcome: Outcome) {
    let settlements = stored.iter().map(|stored| Settlement {
        stored: stored.clone(),
        outcome: outcome.clone(),
        attempts: 1,
        status: Some(200),
        correlation_id: None,
    });
    queue.reader().settle(settlements.collect()).await.unwrap();
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

fn lane_dir(dir: &Path) -> PathBuf {
    dir.join("queue/lanes").join(LANE.name())
}

/// Breaks the header of every segment of the lane.
fn break_headers(dir: &Path) {
    for path in files(&lane_dir(dir)).iter().filter(|path| path.ends_with("header")) {
        fs::write(path, b"not a header at all").unwrap();
    }
}

#[tokio::test]
async fn no_number_is_used_twice_when_the_only_segment_was_set_aside() {
    let home = tempfile::tempdir().unwrap();
    let queue = open(home.path());
    let before = append(&queue, vec![event(LANE, 100), event(LANE, 100)]).await;
    queue.close();
    break_headers(home.path());

    open(home.path()).close();
    let queue = open(home.path());
    let after = append(&queue, vec![event(LANE, 100)]).await;

    assert!(after[0].seq > before[1].seq, "{} after {}", after[0].seq, before[1].seq);
    queue.close();
}

#[tokio::test]
async fn segments_can_be_set_aside_again_and_again() {
    let home = tempfile::tempdir().unwrap();

    for _ in 0..3 {
        let queue = open(home.path());
        append(&queue, vec![event(LANE, 100)]).await;
        queue.close();
        break_headers(home.path());
        open(home.path()).close();
    }

    assert_eq!(fs::read_dir(home.path().join("queue/quarantine")).unwrap().count(), 3);
}

/// What lies in the small queue: by lane, all that was appended, and what of it was settled.
struct Held {
    all: BTreeMap<Lane, Vec<Stored>>,
    settled: BTreeSet<(Lane, Seq)>,
}

/// Two segments in the first lane, one in the next two, a dead letter.
async fn small_queue(dir: &Path) -> Held {
    let queue = open(dir);
    let mut held = Held { all: BTreeMap::new(), settled: BTreeSet::new() };
    for lane in [LANE, Lane::Presence, Lane::CustomKpi] {
        let size = if lane == LANE { 600_000 } else { 300 };
        let mut all = Vec::new();
        for _ in 0..16 {
            all.extend(append(&queue, vec![event(lane, size)]).await);
        }
        settle(&queue, &all[2..5], Outcome::Delivered).await;
        let dead = Outcome::Dead { reason: DeadReason::Rejected, message: "no".to_owned() };
        settle(&queue, &all[14..15], dead).await;
        held.settled.extend(all[2..5].iter().chain(&all[14..15]).map(|stored| (lane, stored.seq)));
        held.all.insert(lane, all);
    }
    queue.close();
    held
}

fn copy(from: &Path, to: &Path) {
    for path in files(from) {
        let target = to.join(path.strip_prefix(from).unwrap());
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(path, target).unwrap();
    }
}

/// Flips bits where there is something, or cuts the file. Says what it did.
fn damage(dir: &Path, random: &mut StdRng) -> (PathBuf, String) {
    let candidates: Vec<PathBuf> =
        files(dir).into_iter().filter(|path| fs::metadata(path).unwrap().len() > 0).collect();
    let path = candidates[random.random_range(0..candidates.len())].clone();
    let mut raw = fs::read(&path).unwrap();
    let used: Vec<usize> = (0..raw.len()).filter(|at| raw[*at] != 0).collect();
    let what = if random.random_range(0..3) == 0 {
        let length = random.random_range(0..raw.len());
        raw.truncate(length);
        format!("cut to {length}")
    } else {
        let places: Vec<usize> = (0..random.random_range(1..9))
            .map(|_| used.get(random.random_range(0..used.len().max(1))).copied().unwrap_or(0))
            .collect();
        for at in &places {
            raw[*at] ^= 1 << random.random_range(0..8);
        }
        format!("flipped at {places:?}")
    };
    fs::write(&path, raw).unwrap();
    (path, what)
}

async fn check(dir: &Path, held: &Held, touched: Option<Lane>) {
    let queue = match try_open(dir) {
        Ok(queue) => queue,
        Err(OpenError::Newer { .. }) => return,
        Err(error) => panic!("cannot open: {error}"),
    };
    let (mut new, mut before) = (Vec::new(), BTreeMap::new());
    for (&lane, all) in &held.all {
        let read = read_all(&queue, lane).await;
        assert!(read.is_sorted_by(|a, b| a.seq < b.seq));
        assert!(read.iter().all(|stored| all.contains(stored)), "{lane}: other than what was appended");
        let unsettled = all.iter().filter(|stored| !held.settled.contains(&(lane, stored.seq))).count();
        assert!(touched == Some(lane) || read.len() == unsettled, "{lane}: {} of {unsettled}", read.len());
        let stored = append(&queue, vec![event(lane, 100)]).await.remove(0);
        let last = all.last().unwrap().seq;
        assert!(stored.seq > last, "{lane}: {} is used again, {last} was the last", stored.seq);
        before.insert(lane, read);
        new.push(stored);
    }
    queue.close();
    let queue = open(dir);
    for stored in new {
        let read = read_all(&queue, stored.event.lane).await;
        assert!(read.contains(&stored), "{}: what was answered after the damage is gone", stored.event.lane);
        assert!(
            before[&stored.event.lane].iter().all(|old| read.contains(old)),
            "gone at the second opening"
        );
    }
    queue.dead_letters().next(None).unwrap();
    queue.close();
}

#[tokio::test]
async fn any_damage_leaves_a_queue_that_opens_and_gives_what_is_readable() {
    let home = tempfile::tempdir().unwrap();
    let held = Arc::new(small_queue(home.path()).await);
    let mut failures = Vec::new();

    for seed in 0..ROUNDS {
        let copied = tempfile::tempdir().unwrap();
        copy(home.path(), copied.path());
        let (path, what) = damage(copied.path(), &mut StdRng::seed_from_u64(seed));
        let short = path.strip_prefix(copied.path()).unwrap().display().to_string();
        let touched = Lane::ALL.into_iter().find(|lane| short.contains(&format!("lanes/{}/", lane.name())));
        let (held, dir) = (held.clone(), copied.path().to_path_buf());
        let (done, waiting) = mpsc::channel();
        let checking = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(check(&dir, &held, touched));
            done.send(()).unwrap();
        });
        match waiting.recv_timeout(PATIENCE) {
            Ok(()) => {}
            Err(mpsc::RecvTimeoutError::Timeout) => failures.push(format!("{seed}: hangs; {short} {what}")),
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                let why = checking.join().unwrap_err();
                let why = why.downcast_ref::<String>().cloned().unwrap_or_default();
                failures.push(format!("{seed}: {why}; {short} {what}"));
            }
        }
    }

    assert!(failures.is_empty(), "{} rounds failed:\n{}", failures.len(), failures.join("\n"));
}

/// Not a test of its own: the process that is killed.
#[tokio::test]
#[ignore = "run by the test below, as a process to be killed"]
async fn child_that_appends_until_it_is_killed() {
    let Some(dir) = std::env::var_os(CHILD_DIR) else { return };
    let queue = open(Path::new(&dir));
    let mut out = std::io::stdout();
    loop {
        let stored = append(&queue, (0..5).map(|_| event(LANE, 400)).collect()).await;
        for stored in &stored {
            writeln!(out, "answered {} {}", stored.seq, stored.event.event_id).unwrap();
        }
        settle(&queue, &stored[..1], Outcome::Delivered).await;
        writeln!(out, "settled {} {}", stored[0].seq, stored[0].event.event_id).unwrap();
        out.flush().unwrap();
    }
}

/// Lets the child work for some answers, kills it, and gives all that it told.
fn run_and_kill(dir: &Path) -> Vec<(String, Seq, Uuid)> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_that_appends_until_it_is_killed", "--ignored", "--nocapture"])
        .env(CHILD_DIR, dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let (mut told, mut line, mut killed) = (Vec::new(), String::new(), false);
    while out.read_line(&mut line).unwrap() > 0 {
        let words: Vec<&str> = line.trim_end().split(' ').collect();
        if line.ends_with('\n')
            && let [what @ ("answered" | "settled"), seq, id] = words[..]
        {
            told.push((what.to_owned(), seq.parse().unwrap(), id.parse().unwrap()));
        }
        line.clear();
        if !killed && told.len() >= ANSWERS_A_ROUND {
            child.kill().unwrap();
            killed = true;
        }
    }
    child.wait().unwrap();
    assert!(killed, "the child ended by itself after {} lines", told.len());
    told
}

#[tokio::test]
async fn what_was_answered_is_there_after_every_kill() {
    let home = tempfile::tempdir().unwrap();
    let (mut answered, mut settled) = (BTreeMap::new(), BTreeSet::new());

    for _ in 0..KILLS {
        let highest = answered.last_key_value().map_or(0, |(seq, _)| *seq);
        for (what, seq, id) in run_and_kill(home.path()) {
            if what == "settled" {
                settled.insert(seq);
            } else {
                assert!(seq > highest, "{seq} is used again");
                assert_eq!(answered.insert(seq, id), None);
            }
        }
        let queue = open(home.path());
        let read: BTreeMap<Seq, Uuid> =
            read_all(&queue, LANE).await.iter().map(|stored| (stored.seq, stored.event.event_id)).collect();
        queue.close();

        for (seq, id) in &answered {
            // The settlement after the last line told may be done and not told.
            let gone = read.get(seq) != Some(id);
            assert!(gone || !settled.contains(seq), "{seq} was settled and comes back");
            let may_be_settled = settled.contains(seq) || answered.range(seq..).count() <= 5;
            assert!(!gone || may_be_settled, "{seq} was answered and is gone");
        }
    }
}
