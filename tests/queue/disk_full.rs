//! A disk that is really full: what is refused is refused, what was answered stays, and the queue goes on
//! by itself when there is room again.
//!
//! Each test runs a part of itself again as a process with a small file system of its own.

use std::collections::{BTreeMap, HashSet};
use std::fs::{self, File};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use trunkline::clock::Clock;
use trunkline::config;
use trunkline::event::{Envelope, Lane};
use trunkline::queue::{AppendError, Appended, Backlog, Outcome, Queue, Seq, Stored};
use uuid::Uuid;

use crate::kit::{
    PATIENCE, dead, event_with_id, eventually, letters, read_by_pages, settlement, small_segments, try_open,
    within,
};

const LANE: Lane = Lane::Conversations;
const CHILD_HOME: &str = "TRUNKLINE_TEST_SMALL_DISK";
const DISK: &str = "size=48m";
/// A disk with room for bytes, but not for files.
const FEW_INODES: &str = "size=256m,nr_inodes=220";
/// A child waits for several things; each has its own patience.
const CHILD_PATIENCE: u32 = 5;
/// Batches of 40 events of 10 kB: no 48 MiB hold as many.
const BATCHES: usize = 200;
/// Lines of a child's log that are shown.
const TAIL: usize = 80;
/// Events that stay unsettled to the end.
const KEPT: usize = 30;

/// What was told to the producer, and what is settled of it.
#[derive(Default)]
struct Ledger {
    unsettled: BTreeMap<(Lane, Seq), Envelope>,
    refused: HashSet<Uuid>,
}

impl Ledger {
    /// Appends new events; false if any was refused.
    async fn append(&mut self, queue: &Queue, lane: Lane, count: usize, size: usize) -> bool {
        let new = |_| event_with_id(lane, Uuid::new_v4(), size, Clock::system().unix_ms());
        let events: Vec<Envelope> = (0..count).map(new).collect();
        let answers = within("an append", queue.writer().submit(events.clone())).await;
        let mut all_stored = true;
        for (event, answer) in events.into_iter().zip(answers) {
            match answer {
                Ok(Appended::Stored(seq)) => {
                    self.unsettled.insert((lane, seq), event);
                }
                Err(AppendError::Storage(_) | AppendError::Full { .. } | AppendError::DiskLow { .. }) => {
                    self.refused.insert(event.event_id);
                    all_stored = false;
                }
                other => panic!("{other:?} on a full disk"),
            }
        }
        all_stored
    }

    async fn append_until_refused(&mut self, queue: &Queue) {
        for _ in 0..BATCHES {
            if !self.append(queue, LANE, 40, 10_000).await {
                return;
            }
        }
        panic!("a full disk refuses nothing");
    }

    /// Settles; an error may come as long as the disk is full, and leaves everything as it was.
    async fn settle(&mut self, queue: &Queue, stored: &[Stored], outcome: &Outcome) -> Result<(), String> {
        let settlements = stored.iter().map(|stored| settlement(stored, outcome)).collect();
        let settled = within("a settlement", queue.reader().settle(settlements)).await;
        settled.map_err(|error| error.to_string())?;
        for stored in stored {
            self.unsettled.remove(&(stored.event.lane, stored.seq));
        }
        Ok(())
    }

    async fn settle_patiently(&mut self, queue: &Queue, stored: &[Stored], outcome: &Outcome) {
        let mut last = String::new();
        let settled = eventually(async || match self.settle(queue, stored, outcome).await {
            Ok(()) => Some(()),
            Err(error) => {
                last = error;
                None
            }
        });
        let settled = settled.await;
        assert!(settled.is_some(), "not settled however often it is repeated: {last}");
    }

    async fn append_patiently(&mut self, queue: &Queue, lane: Lane) {
        let stored = eventually(async || self.append(queue, lane, 1, 1_000).await.then_some(())).await;
        assert!(stored.is_some(), "{lane}: there is room, and appends are refused for ever");
    }

    fn stored(&self, lane: Lane) -> Vec<Stored> {
        let of_lane = self.unsettled.iter().filter(|((of, _), _)| *of == lane);
        of_lane.map(|((_, seq), event)| Stored { seq: *seq, event: event.clone() }).collect()
    }

    async fn check(&self, queue: &Queue) {
        for lane in Lane::ALL {
            let read = read_by_pages(queue, lane, 50).await;
            let came_back = |stored: &Stored| self.refused.contains(&stored.event.event_id);
            assert!(!read.iter().any(came_back), "{lane}: what was refused came back");
            let expected = self.stored(lane);
            let missing = expected.iter().filter(|stored| !read.contains(stored));
            assert_eq!(missing.count(), 0, "{lane}: answered, not settled and gone");
            let surplus = read.iter().filter(|stored| !expected.contains(stored));
            assert_eq!(surplus.count(), 0, "{lane}: settled or never answered, and there");
            assert!(read == expected, "{lane}: out of order");
        }
    }
}

/// What somebody else wrote on the same disk.
struct Ballast(PathBuf);

impl Ballast {
    /// Takes all that is left.
    fn drop_into(home: &Path) -> Self {
        let path = home.join("ballast");
        let mut file = File::options().create(true).append(true).open(&path).unwrap();
        for size in [64 * 1024, 4 * 1024, 1] {
            let part = vec![0xAA; size];
            while file.write_all(&part).is_ok() {}
        }
        Self(path)
    }

    /// Takes all but so many bytes.
    fn all_but(home: &Path, bytes: u64) -> Self {
        let ballast = Self::drop_into(home);
        let file = File::options().write(true).open(&ballast.0).unwrap();
        file.set_len(file.metadata().unwrap().len() - bytes).unwrap();
        ballast
    }

    fn throw_off(self) {
        fs::remove_file(self.0).unwrap();
    }
}

fn open(home: &Path) -> Queue {
    let config = config::QueueConfig { min_free_disk: 0, ..small_segments(home) };
    try_open(&config).unwrap()
}

/// Where the child works, if it is one.
fn small_disk() -> Option<PathBuf> {
    let home = std::env::var_os(CHILD_HOME)?;
    tracing_subscriber::fmt().with_writer(counted_stderr).with_ansi(false).init();
    Some(home.into())
}

/// Lines that were logged.
static LINES: AtomicUsize = AtomicUsize::new(0);

fn counted_stderr() -> std::io::Stderr {
    LINES.fetch_add(1, Ordering::Relaxed);
    std::io::stderr()
}

/// `unshare` with what it takes to mount here, or why that is not to be had.
fn unshare(home: &Path, disk: &str) -> Result<Command, String> {
    let mut why = String::new();
    for flags in ["-m", "-rm"] {
        let mut command = Command::new("unshare");
        command.args([
            flags,
            "sh",
            "-c",
            "mount -t tmpfs -o \"$0\" tmpfs \"$1\" && shift && exec \"$@\"",
            disk,
        ]);
        command.arg(home);
        let mut probe = Command::new("unshare");
        probe.args(command.get_args()).arg("true");
        match probe.output() {
            Ok(output) if output.status.success() => return Ok(command),
            Ok(output) => why = String::from_utf8_lossy(&output.stderr).trim().to_owned(),
            Err(error) => why = error.to_string(),
        }
    }
    Err(why)
}

fn on_a_small_disk(child: &str) {
    on_a_disk(DISK, child);
}

/// Runs the ignored test `child` on a disk of its own; it must end well, and in time.
fn on_a_disk(disk: &str, child: &str) {
    let home = tempfile::tempdir().unwrap();
    let mut log = tempfile::tempfile().unwrap();
    let mut command = match unshare(home.path(), disk) {
        Ok(command) => command,
        Err(why) => {
            // Not by a macro whose words the harness keeps back.
            let mut stderr = std::io::stderr();
            writeln!(stderr, "skipped: {child}: no small disk to be had: {why}").unwrap();
            return;
        }
    };
    command
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", &format!("disk_full::{child}"), "--ignored", "--nocapture"])
        .env(CHILD_HOME, home.path())
        .stdout(Stdio::from(log.try_clone().unwrap()))
        .stderr(Stdio::from(log.try_clone().unwrap()));
    let mut child = command.spawn().unwrap();
    let pause = Duration::from_millis(20);
    let mut ended = None;
    for _ in 0..(PATIENCE * CHILD_PATIENCE).as_millis() / pause.as_millis() {
        ended = child.try_wait().unwrap();
        if ended.is_some() {
            break;
        }
        std::thread::park_timeout(pause);
    }
    if ended.is_none() {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let mut told = Vec::new();
    log.rewind().unwrap();
    log.read_to_end(&mut told).unwrap();
    let told = String::from_utf8_lossy(&told);
    let passed = told.contains("1 passed");
    let told = told.lines().skip(told.lines().count().saturating_sub(TAIL)).collect::<Vec<_>>().join("\n");
    let ended = ended.unwrap_or_else(|| panic!("the child hangs:\n{told}"));
    assert!(ended.success() && passed, "the child failed:\n{told}");
}

#[tokio::test]
#[ignore = "run by a test below, on a small disk"]
async fn child_that_fills_the_disk_and_drains_it() {
    let Some(home) = small_disk() else { return };
    let queue = open(&home);
    let mut ledger = Ledger::default();
    ledger.append_until_refused(&queue).await;
    for _ in 0..10 {
        ledger.append(&queue, LANE, 1, 100).await;
        ledger.append(&queue, Lane::Presence, 1, 100).await;
    }

    while ledger.stored(LANE).len() > KEPT {
        let most = (ledger.stored(LANE).len() - KEPT).min(50);
        let reading = queue.reader();
        let read = eventually(async || reading.read(LANE, 1, most, 1 << 20).await.ok()).await;
        let page = read.expect("a lane is read on a full disk").events;
        assert!(!page.is_empty() && ledger.stored(LANE).starts_with(&page), "other than the oldest");
        ledger.settle_patiently(&queue, &page, &Outcome::Delivered).await;
    }
    for lane in Lane::ALL {
        ledger.append_patiently(&queue, lane).await;
    }

    ledger.check(&queue).await;
    queue.close();
    let queue = open(&home);
    ledger.check(&queue).await;
    queue.close();
}

#[test]
fn a_disk_that_the_queue_filled_is_drained_and_takes_events_again_without_a_new_opening() {
    on_a_small_disk("child_that_fills_the_disk_and_drains_it");
}

/// A queue with some events on a disk that somebody else filled.
async fn crowded(home: &Path) -> (Queue, Ledger, Ballast) {
    let queue = open(home);
    let mut ledger = Ledger::default();
    for lane in [LANE, Lane::Presence, LANE] {
        assert!(ledger.append(&queue, lane, 100, 1_000).await);
    }
    Ballast::drop_into(home);
    ledger.append_until_refused(&queue).await;
    // Giving up may have freed something.
    let ballast = Ballast::drop_into(home);
    (queue, ledger, ballast)
}

/// Settles the oldest of two lanes: first without room, for some tries, then with.
async fn settle_when_crowded(home: &Path, outcome: &Outcome) {
    let (queue, mut ledger, ballast) = crowded(home).await;
    let oldest = |lane| ledger.stored(lane).into_iter().take(10);
    let oldest: Vec<Stored> = oldest(LANE).chain(oldest(Lane::Presence)).collect();
    let mut settled = Err(String::new());
    for _ in 0..5 {
        settled = ledger.settle(&queue, &oldest, outcome).await;
        ledger.append(&queue, Lane::Presence, 1, 1_000).await;
    }

    ballast.throw_off();
    for lane in Lane::ALL {
        ledger.append_patiently(&queue, lane).await;
    }
    if settled.is_err() {
        ledger.settle_patiently(&queue, &oldest, outcome).await;
    }

    let buried = if *outcome == Outcome::Delivered { Vec::new() } else { oldest };
    let lie_buried =
        |queue: &Queue| letters(queue).into_iter().map(|letter| letter.stored).collect::<Vec<_>>() == buried;
    ledger.check(&queue).await;
    assert!(lie_buried(&queue), "other dead letters than were settled");
    queue.close();
    let queue = open(home);
    ledger.check(&queue).await;
    assert!(lie_buried(&queue), "other dead letters than were settled, after an opening");
    queue.close();
}

#[tokio::test]
#[ignore = "run by a test below, on a small disk"]
async fn child_that_settles_on_a_crowded_disk() {
    let Some(home) = small_disk() else { return };
    settle_when_crowded(&home, &Outcome::Delivered).await;
}

#[test]
fn a_disk_that_others_filled_costs_nothing_and_events_are_taken_when_they_leave() {
    on_a_small_disk("child_that_settles_on_a_crowded_disk");
}

#[tokio::test]
#[ignore = "run by a test below, on a small disk"]
async fn child_that_buries_on_a_crowded_disk() {
    let Some(home) = small_disk() else { return };
    settle_when_crowded(&home, &dead("no such user")).await;
}

#[test]
fn a_dead_letter_that_found_the_disk_full_is_there_when_there_is_room() {
    on_a_small_disk("child_that_buries_on_a_crowded_disk");
}

#[tokio::test]
#[ignore = "run by a test below, on a small disk"]
async fn child_that_opens_on_a_crowded_disk() {
    let Some(home) = small_disk() else { return };
    let (queue, ledger, _) = crowded(&home).await;
    queue.close();
    let ballast = Ballast::drop_into(&home);
    let config = config::QueueConfig { min_free_disk: 0, ..small_segments(&home) };

    for _ in 0..3 {
        // It may refuse, and say so, or open.
        if let Ok(queue) = try_open(&config) {
            queue.close();
        }
    }
    ballast.throw_off();
    let queue = open(&home);

    ledger.check(&queue).await;
    queue.close();
}

#[test]
fn an_opening_on_a_full_disk_loses_nothing() {
    on_a_small_disk("child_that_opens_on_a_crowded_disk");
}

/// Events come and are delivered at once; the ledger of them is larger than the disk.
async fn deliver_more_than_the_ledger_can_hold(home: &Path, rounds: usize) {
    let queue = open(home);
    let mut ledger = Ledger::default();
    for round in 0..rounds {
        let lane = Lane::ALL[round % Lane::ALL.len()];
        assert!(ledger.append(&queue, lane, 500, 40).await, "round {round}: refused, and nothing is queued");
        let stored = ledger.stored(lane);
        ledger.settle_patiently(&queue, &stored, &Outcome::Delivered).await;
    }
    queue.close();
}

#[tokio::test]
#[ignore = "run by a test below, on a small disk"]
async fn child_whose_ledger_fills_the_disk() {
    let Some(home) = small_disk() else { return };
    // Opened and closed, so that the reserve is there.
    open(&home).close();
    assert!(home.join("queue/reserve").exists());
    Ballast::all_but(&home, 5 << 20);
    deliver_more_than_the_ledger_can_hold(&home, 200).await;
}

#[test]
fn a_ledger_that_fills_the_disk_gives_way_before_an_event_is_refused() {
    on_a_small_disk("child_whose_ledger_fills_the_disk");
}

#[tokio::test]
#[ignore = "run by a test below, on a disk with few inodes"]
async fn child_whose_ledger_takes_all_inodes() {
    let Some(home) = small_disk() else { return };
    deliver_more_than_the_ledger_can_hold(&home, 100).await;
}

#[test]
fn a_ledger_that_takes_all_inodes_gives_way_before_an_event_is_refused() {
    on_a_disk(FEW_INODES, "child_whose_ledger_takes_all_inodes");
}

#[tokio::test]
#[ignore = "run by a test below, on a small disk"]
async fn child_that_is_told_of_a_full_disk() {
    let Some(home) = small_disk() else { return };
    let (queue, mut ledger, _) = crowded(&home).await;
    let oldest = ledger.stored(LANE).into_iter().take(10).collect::<Vec<_>>();
    let before = LINES.load(Ordering::Relaxed);

    for _ in 0..100 {
        for lane in Lane::ALL {
            ledger.append(&queue, lane, 1, 1_000).await;
        }
        // It may be done or not; what counts is what is told.
        let settlements = oldest.iter().map(|stored| settlement(stored, &dead("no"))).collect();
        drop(within("a settlement", queue.reader().settle(settlements)).await);
    }

    let lines = LINES.load(Ordering::Relaxed) - before;
    assert!(lines < 20, "{lines} lines for 500 failures");
    queue.close();
}

#[test]
fn a_full_disk_is_told_once_and_then_by_a_schedule() {
    on_a_small_disk("child_that_is_told_of_a_full_disk");
}
