//! The queue after damage: it opens, gives every chunk that is whole, and uses no number twice.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use trunkline::event::{Envelope, Lane};
use trunkline::queue::{OpenError, Outcome, Seq, Stored};
use uuid::Uuid;

use crate::kit::{
    append, copy, dead, event_in, files, files_named, open, read_all, settle, small_segments, try_open,
};

const LANE: Lane = Lane::Conversations;
const ROUNDS: u64 = 500;
/// Rounds at a time: one of them waits for the disk while the other computes.
const AT_ONCE: usize = 3;
/// An open of a small queue takes a moment; this is for a hang.
const PATIENCE: Duration = Duration::from_secs(60);
/// Of a chunk, `docs/queue-format.md`.
const MAGIC: [u8; 8] = [0xF5, b'T', b'R', b'K', b'C', b'H', b'K', 0xF6];

fn event(lane: Lane, size: usize) -> Envelope {
    let mut random = StdRng::seed_from_u64(Uuid::new_v4().as_u64_pair().1);
    event_in(lane, (0..size).map(|_| random.random_range(1..=u8::MAX)).collect::<Vec<u8>>())
}

/// Breaks the header of every segment of the lane, and its data too.
fn break_segments(dir: &Path) {
    for path in files(&dir.join("queue/lanes").join(LANE.name())) {
        fs::write(path, b"not at all what it was").unwrap();
    }
}

#[tokio::test]
async fn no_number_is_used_twice_when_the_only_segment_was_set_aside() {
    let home = tempfile::tempdir().unwrap();
    let queue = open(home.path());
    let before = append(&queue, vec![event(LANE, 100), event(LANE, 100)]).await;
    queue.close();
    break_segments(home.path());

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
        break_segments(home.path());
        open(home.path()).close();
    }

    assert_eq!(fs::read_dir(home.path().join("queue/quarantine")).unwrap().count(), 3);
}

#[tokio::test]
async fn a_segment_that_is_gone_is_missed_alone() {
    let home = tempfile::tempdir().unwrap();
    let config = small_segments(home.path());
    let queue = try_open(&config).unwrap();
    let mut all = Vec::new();
    for _ in 0..6 {
        all.extend(append(&queue, (0..10).map(|_| event(LANE, 4_000)).collect()).await);
    }
    settle(&queue, &all[..1], Outcome::Delivered).await;
    queue.close();
    let segments = files_named(&home.path().join("queue/lanes"), "header");
    fs::remove_dir_all(segments[1].parent().unwrap()).unwrap();

    let queue = try_open(&config).unwrap();

    let read = read_all(&queue, LANE).await;
    assert!(segments.len() >= 3 && read.len() >= 30 && read.len() < 59, "{} of {}", read.len(), all.len());
    assert!(read.iter().all(|stored| all.contains(stored)));
    let after = append(&queue, vec![event(LANE, 100)]).await;
    assert!(after[0].seq > all.last().unwrap().seq);
    queue.close();
}

/// What lies in the queue that is damaged: by lane, all that was appended, and what was settled.
struct Held {
    all: BTreeMap<Lane, Vec<Stored>>,
    settled: BTreeSet<(Lane, Seq)>,
}

/// Some segments in the first lane, one in the next two, dead letters, a ledger; killed, not closed.
async fn killed_queue(home: &Path, killed: &Path) -> Held {
    let queue = try_open(&small_segments(home)).unwrap();
    let mut held = Held { all: BTreeMap::new(), settled: BTreeSet::new() };
    for lane in [LANE, Lane::Presence, Lane::CustomKpi] {
        let size = if lane == LANE { 6_000 } else { 300 };
        let mut all = Vec::new();
        for nth in 0..32 {
            all.extend(append(&queue, (0..1 + nth % 3).map(|_| event(lane, size)).collect()).await);
        }
        settle(&queue, &all[2..5], Outcome::Delivered).await;
        settle(&queue, &all[14..15], dead("no")).await;
        held.settled.extend(all[2..5].iter().chain(&all[14..15]).map(|stored| (lane, stored.seq)));
        held.all.insert(lane, all);
    }
    copy(home, killed);
    queue.close();
    held
}

/// Flips bits where there is something, or cuts the file. Gives its path and what was done.
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

/// Numbers of the events whose chunk stands in `after` as it stood in `before`, somewhere.
fn whole_chunks(before: &[u8], after: &[u8]) -> Vec<Range<Seq>> {
    let number = |at: usize, length: usize| {
        let mut raw = [0; 8];
        raw[..length].copy_from_slice(&before[at..at + length]);
        u64::from_le_bytes(raw)
    };
    let starts = (0..before.len().saturating_sub(32)).filter(|at| before[*at..].starts_with(&MAGIC));
    starts
        .filter_map(|at| {
            let end = at + 32 + usize::try_from(number(at + 24, 4)).unwrap();
            let is_whole = before.get(at..end)? == after.get(at..end)?;
            is_whole.then(|| number(at + 16, 8)..number(at + 16, 8) + number(at + 12, 4))
        })
        .collect()
}

/// What was done to the copied queue.
struct Damage {
    lane: Option<Lane>,
    /// The ledger knows what was settled: without it, events are sent again.
    ledger: bool,
    /// Of the damaged file, the numbers that are whole; `None`: the file holds no events.
    whole: Option<Vec<Range<Seq>>>,
    /// First number of the damaged segment.
    first: Seq,
}

impl Damage {
    fn of(path: &Path, before: &Path) -> Self {
        let inside = |part: &str| path.components().any(|found| found.as_os_str() == part);
        let lane = Lane::ALL.into_iter().find(|lane| inside("lanes") && inside(lane.name()));
        let is_data = lane.is_some() && path.ends_with("db");
        let whole = is_data.then(|| whole_chunks(&fs::read(before).unwrap(), &fs::read(path).unwrap()));
        let name = path.parent().and_then(Path::file_name).and_then(|name| name.to_str());
        let first = name.and_then(|name| name.parse().ok()).unwrap_or(0);
        Self { lane, ledger: inside("ledger"), whole, first }
    }

    /// Whether the event must be there in spite of the damage.
    fn leaves(&self, lane: Lane, seq: Seq) -> bool {
        let is_elsewhere = self.lane != Some(lane) || !(self.first..self.first + (1 << 20)).contains(&seq);
        is_elsewhere || self.whole.as_ref().is_none_or(|whole| whole.iter().any(|range| range.contains(&seq)))
    }
}

async fn check(dir: &Path, held: &Held, damage: &Damage) {
    let config = small_segments(dir);
    let queue = match try_open(&config) {
        Ok(queue) => queue,
        Err(OpenError::Newer { .. }) => panic!("a flipped bit is taken for a newer version"),
        Err(error) => panic!("cannot open: {error}"),
    };
    let (mut new, mut before) = (Vec::new(), BTreeMap::new());
    for (&lane, all) in &held.all {
        let read = read_all(&queue, lane).await;
        assert!(read.is_sorted_by(|a, b| a.seq < b.seq));
        assert!(read.iter().all(|stored| all.contains(stored)), "{lane}: other than what was appended");
        for stored in all {
            let is_settled = held.settled.contains(&(lane, stored.seq));
            let is_read = read.contains(stored);
            assert!(
                is_read || is_settled || !damage.leaves(lane, stored.seq),
                "{lane}: {} is gone",
                stored.seq
            );
            assert!(!is_read || !is_settled || damage.ledger, "{lane}: {} comes again", stored.seq);
        }
        let stored = append(&queue, vec![event(lane, 100)]).await.remove(0);
        let last = all.last().unwrap().seq;
        assert!(stored.seq > last, "{lane}: {} is used again, {last} was the last", stored.seq);
        before.insert(lane, read);
        new.push(stored);
    }
    queue.close();
    let queue = try_open(&config).unwrap();
    for stored in new {
        let read = read_all(&queue, stored.event.lane).await;
        assert!(read.contains(&stored), "{}: what was answered after the damage is gone", stored.event.lane);
        let is_there = |old: &Stored| read.contains(old);
        assert!(before[&stored.event.lane].iter().all(is_there), "gone at the second opening");
    }
    queue.dead_letters().next(0).unwrap();
    queue.close();
}

/// One round; what went wrong, if anything.
fn round(seed: u64, home: &Path, held: &Arc<Held>) -> Option<String> {
    let copied = tempfile::tempdir().unwrap();
    copy(home, copied.path());
    let (path, what) = damage(copied.path(), &mut StdRng::seed_from_u64(seed));
    let short = path.strip_prefix(copied.path()).unwrap().to_path_buf();
    let damage = Damage::of(&path, &home.join(&short));
    let (held, dir) = (held.clone(), copied.path().to_path_buf());
    let (done, waiting) = mpsc::channel();
    let checking = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(check(&dir, &held, &damage));
        done.send(()).unwrap();
    });
    let why = match waiting.recv_timeout(PATIENCE) {
        Ok(()) => return None,
        Err(mpsc::RecvTimeoutError::Timeout) => "hangs".to_owned(),
        Err(mpsc::RecvTimeoutError::Disconnected) => {
            let why = checking.join().unwrap_err();
            why.downcast_ref::<String>().cloned().unwrap_or_default()
        }
    };
    Some(format!("{seed}: {why}; {} {what}", short.display()))
}

#[tokio::test]
async fn after_any_damage_every_whole_chunk_is_delivered() {
    let (home, killed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let held = Arc::new(killed_queue(home.path(), killed.path()).await);
    let failures = Mutex::new(Vec::new());
    let next = AtomicU64::new(0);

    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let seed = next.fetch_add(1, Ordering::Relaxed)
                    && seed < ROUNDS
                {
                    failures.lock().unwrap().extend(round(seed, killed.path(), &held));
                }
            });
        }
    });

    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "{} rounds failed:\n{}", failures.len(), failures.join("\n"));
}

#[tokio::test]
async fn the_part_of_a_torn_last_append_that_is_missing_is_not_reported_as_lost() {
    let (home, killed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let queue = open(home.path());
    let before = append(&queue, vec![event(LANE, 100)]).await;
    // More than one chunk.
    let group = append(&queue, (0..20).map(|_| event(LANE, 4_000)).collect()).await;
    copy(home.path(), killed.path());
    queue.close();
    let db = files_named(&killed.path().join("queue/lanes").join(LANE.name()), "db").remove(0);
    let mut raw = fs::read(&db).unwrap();
    for at in (0..raw.len() - 32).filter(|at| raw[*at..].starts_with(&MAGIC)).collect::<Vec<_>>() {
        if raw[at + 16..at + 24] == group[0].seq.to_le_bytes() {
            raw[at + 40..at + 400].fill(0);
        }
    }
    fs::write(&db, raw).unwrap();

    for _ in 0..2 {
        let queue = open(killed.path());
        let read = read_all(&queue, LANE).await;
        queue.close();

        let rest = group.iter().position(|stored| *stored == read[1]).unwrap();
        assert!((1..20).contains(&rest), "{rest}");
        assert!(read == [&before[..], &group[rest..]].concat(), "{} read", read.len());
        let why = files_named(&killed.path().join("queue/quarantine"), "why.txt").remove(0);
        let numbers = format!("numbers {} to {} are incomplete", group[0].seq, group[rest].seq - 1);
        assert_eq!(fs::read_to_string(why).unwrap(), format!("{numbers}: never acknowledged, or damaged\n"));
    }
}

#[tokio::test]
async fn a_chunk_that_this_build_does_not_understand_is_set_aside_and_the_rest_is_delivered() {
    let home = tempfile::tempdir().unwrap();
    let queue = open(home.path());
    let before = append(&queue, vec![event(LANE, 100)]).await;
    append(&queue, vec![event(LANE, 200)]).await;
    let after = append(&queue, vec![event(LANE, 300)]).await;
    queue.close();
    let db = files(&home.path().join("queue/lanes").join(LANE.name()))
        .into_iter()
        .find(|path| path.ends_with("db"));
    let mut raw = fs::read(db.as_ref().unwrap()).unwrap();
    // The second chunk's event is of an array that no build knows; its sum is right all the same.
    for at in (0..raw.len() - 32).filter(|at| raw[*at..].starts_with(&MAGIC)).collect::<Vec<_>>() {
        let length = u32::from_le_bytes(raw[at + 24..at + 28].try_into().unwrap()) as usize;
        if raw[at + 16..at + 24] == (before[0].seq + 1).to_le_bytes() {
            raw[at + 32 + 40..at + 32 + 42].copy_from_slice(&60_000_u16.to_le_bytes());
            let sum =
                crc32c::crc32c_append(crc32c::crc32c(&raw[at..at + 28]), &raw[at + 32..at + 32 + length]);
            raw[at + 28..at + 32].copy_from_slice(&sum.to_le_bytes());
        }
    }
    fs::write(db.unwrap(), raw).unwrap();

    let queue = open(home.path());

    let read = read_all(&queue, LANE).await;
    assert!(read == [before, after].concat(), "{} of 2", read.len());
    assert_eq!(fs::read_dir(home.path().join("queue/quarantine")).unwrap().count(), 1);
    queue.close();
}

#[tokio::test]
async fn a_torn_chunk_without_a_header_goes_to_quarantine() {
    let (home, killed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let queue = open(home.path());
    append(&queue, vec![event(LANE, 1_000)]).await;
    copy(home.path(), killed.path());
    queue.close();
    let lane = killed.path().join("queue/lanes").join(LANE.name());
    let db = lane.join("00000000000001048576/db");
    let mut raw = fs::read(&db).unwrap();
    for at in (0..raw.len() - 32).filter(|at| raw[*at..].starts_with(&MAGIC)).collect::<Vec<_>>() {
        raw[at + 200..at + 400].fill(0);
    }
    fs::write(&db, &raw).unwrap();
    fs::remove_file(db.with_file_name("header")).unwrap();

    let queue = open(killed.path());

    let kept = files_named(&killed.path().join("queue/quarantine"), "db");
    assert_eq!(kept.iter().map(|db| fs::read(db).unwrap() == raw).collect::<Vec<_>>(), [true]);
    assert!(!db.exists());
    queue.close();
}
