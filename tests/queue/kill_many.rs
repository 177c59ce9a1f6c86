//! SIGKILL at any moment, many of them in the opening itself: the queue opens every time, with all that was
//! answered and nothing that was settled.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Stdout, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use trunkline::clock::Clock;
use trunkline::event::Lane;
use trunkline::queue::{Appended, Backlog, Outcome, Queue, Seq, Stored};
use uuid::Uuid;

use crate::kit::{
    body_of, dead, event_with_id, files_named, letters, read_by_pages, settlement, small_segments, try_open,
    within,
};

const CHILD_HOME: &str = "TRUNKLINE_TEST_KILLED_QUEUE";
/// Kills come within so many milliseconds after the start, or after the child's first words.
const KILL_WITHIN_MS: u64 = 120;
/// Events that stay in a lane after a round: more of them make openings too long to get past.
const KEPT: usize = 60;

type Id = (Lane, Seq);

fn open(home: &Path) -> Queue {
    try_open(&small_segments(home)).unwrap()
}

/// Appends to all lanes at once, and tells what was answered.
async fn append_group(queue: &Queue, random: &mut StdRng, out: &mut Stdout) -> Vec<Stored> {
    let mut events = Vec::new();
    for nth in 0..random.random_range(4..40) {
        let size = random.random_range(50..5_000);
        events.push(event_with_id(
            Lane::ALL[nth % Lane::ALL.len()],
            Uuid::new_v4(),
            size,
            Clock::system().unix_ms(),
        ));
    }
    let answers = within("an append", queue.writer().submit(events.clone())).await;
    let mut all = Vec::new();
    for (event, answer) in events.into_iter().zip(answers) {
        let Ok(Appended::Stored(seq)) = answer else { panic!("not stored: {answer:?}") };
        writeln!(out, "answered {} {seq} {}", event.lane, event.event_id).unwrap();
        all.push(Stored { seq, event });
    }
    all
}

/// Settles, and tells before and after.
async fn settle_some(queue: &Queue, stored: &[Stored], outcome: &Outcome, out: &mut Stdout) {
    let mut tell = |what: &str| {
        for Stored { seq, event } in stored {
            writeln!(out, "{what} {} {seq} {}", event.lane, event.event_id).unwrap();
        }
    };
    tell("settling");
    let settlements = stored.iter().map(|stored| settlement(stored, outcome)).collect();
    within("a settlement", queue.reader().settle(settlements)).await.unwrap();
    tell(if *outcome == Outcome::Delivered { "delivered" } else { "buried" });
}

/// Not a test of its own: the process that is killed.
#[tokio::test]
#[ignore = "run by the tests below, as a process to be killed"]
async fn child_that_works_until_it_is_killed() {
    let Some(home) = std::env::var_os(CHILD_HOME) else { return };
    let mut random = StdRng::from_rng(&mut rand::rng());
    let mut out = std::io::stdout();
    // The harness may have left its line open.
    writeln!(out).unwrap();
    let queue = open(Path::new(&home));
    writeln!(out, "opened").unwrap();
    loop {
        let mut stored = append_group(&queue, &mut random, &mut out).await;
        let mut some = |stored: &mut Vec<Stored>, percent: usize| {
            let count = stored.len() * random.random_range(0..=percent) / 100;
            (0..count).map(|_| stored.swap_remove(random.random_range(0..stored.len()))).collect::<Vec<_>>()
        };
        let (delivered, buried) = (some(&mut stored, 100), some(&mut stored, 20));
        settle_some(&queue, &delivered, &Outcome::Delivered, &mut out).await;
        settle_some(&queue, &buried, &dead("no such user"), &mut out).await;
    }
}

/// Starts a child and kills it; gives its lines. The time counts from the line that begins with `word`, if there is one.
fn lines_until_killed(home: &Path, after: Duration, word: Option<&str>) -> Vec<String> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "kill_many::child_that_works_until_it_is_killed", "--ignored", "--nocapture"])
        .env(CHILD_HOME, home)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let (mut lines, mut line) = (Vec::new(), String::new());
    while word.is_some_and(|word| !line.starts_with(word)) {
        line.clear();
        assert!(out.read_line(&mut line).unwrap() > 0, "the child ended before it said {word:?}");
        lines.extend(line.strip_suffix('\n').map(str::to_owned));
    }
    // No condition: the moment is what is tried.
    std::thread::sleep(after);
    child.kill().unwrap();
    line.clear();
    while out.read_line(&mut line).unwrap() > 0 {
        lines.extend(line.strip_suffix('\n').map(str::to_owned));
        line.clear();
    }
    let ended = child.wait().unwrap();
    assert!(ended.code().is_none(), "the child ended by itself: {}", lines.join("\n"));
    lines
}

/// What the queue owes after all rounds so far.
#[derive(Default)]
struct Ledger {
    /// Must be there: answered, or read after a kill, and not settled.
    owed: BTreeMap<Id, Uuid>,
    /// May be there: their settlement was under way.
    settling: BTreeSet<Id>,
    /// Must not be there.
    settled: BTreeSet<Id>,
    buried: BTreeSet<Id>,
    /// The highest number that was seen in each lane.
    highest: BTreeMap<Lane, Seq>,
    answered: usize,
}

impl Ledger {
    /// Notes what a child told.
    fn hear(&mut self, lines: &[String]) {
        for line in lines {
            let [what, lane, seq, id] = line.split(' ').collect::<Vec<_>>()[..] else { continue };
            let Some(lane) = Lane::ALL.into_iter().find(|known| known.name() == lane) else { continue };
            let (at, event_id): (Id, Uuid) = ((lane, seq.parse().unwrap()), id.parse().unwrap());
            match what {
                "answered" => {
                    self.see_new(at);
                    self.owed.insert(at, event_id);
                    self.answered += 1;
                }
                "settling" => {
                    self.owed.remove(&at);
                    self.settling.insert(at);
                }
                "delivered" | "buried" => {
                    self.settling.remove(&at);
                    self.settled.insert(at);
                    if what == "buried" {
                        self.buried.insert(at);
                    }
                }
                _ => {}
            }
        }
    }

    fn see_new(&mut self, (lane, seq): Id) {
        let highest = self.highest.entry(lane).or_default();
        assert!(seq > *highest, "{lane}: {seq} is used again, {highest} was seen");
        *highest = seq;
    }

    /// Opens the queue in this process, checks it, and leaves it small.
    async fn check(&mut self, home: &Path) {
        let queue = open(home);
        let lie_dead: BTreeSet<Id> =
            letters(&queue).iter().map(|letter| (letter.stored.event.lane, letter.stored.seq)).collect();
        assert!(self.buried.is_subset(&lie_dead), "a dead letter is gone");
        for lane in Lane::ALL {
            let read = read_by_pages(&queue, lane, 64).await;
            assert!(read.is_sorted_by(|a, b| a.seq < b.seq), "{lane}: out of order");
            assert_eq!(queue.reader().depth(lane).events, read.len() as u64, "{lane}: depth");
            let found: BTreeMap<Id, Uuid> =
                read.iter().map(|stored| ((lane, stored.seq), stored.event.event_id)).collect();
            for (at, event_id) in self.owed.iter().filter(|((of, _), _)| *of == lane) {
                assert_eq!(found.get(at), Some(event_id), "{at:?} was answered and is gone");
            }
            for Stored { seq, event } in &read {
                let at = (lane, *seq);
                assert!(!self.settled.contains(&at), "{at:?} was settled and comes back");
                let whole = event.body == body_of(event.event_id, event.body.len());
                assert!(whole && event.lane == lane, "{at:?} is not what was appended");
                if !self.owed.contains_key(&at) && !self.settling.remove(&at) {
                    // The child was killed before it told.
                    self.see_new(at);
                }
            }
            self.owed.extend(found);
            let old = &read[..read.len().saturating_sub(KEPT)];
            let settlements = old.iter().map(|stored| settlement(stored, &Outcome::Delivered)).collect();
            within("a settlement", queue.reader().settle(settlements)).await.unwrap();
            for stored in old {
                self.owed.remove(&(lane, stored.seq));
                self.settled.insert((lane, stored.seq));
            }
        }
        // Those that did not come back were settled, and stay so.
        self.settled.append(&mut self.settling);
        queue.close();
        // A kill that comes in the middle of a write may cut it: of that, which nobody was answered for, a copy is kept.
        let whys = files_named(&home.join("queue/quarantine"), "why.txt");
        for why in whys.iter().map(|path| std::fs::read_to_string(path).unwrap()) {
            assert!(why.contains("are incomplete: never acknowledged"), "a kill is taken for damage: {why}");
        }
    }
}

async fn kill(rounds: u64) {
    let home = tempfile::tempdir().unwrap();
    let mut ledger = Ledger::default();
    for round in 0..rounds {
        let after = StdRng::seed_from_u64(round).random_range(0..=KILL_WITHIN_MS * 1_000);
        // On a slow machine too some children get as far as an opening, and some as far as a settlement.
        let word = match round % 4 {
            1 => Some("opened"),
            3 => Some("delivered"),
            _ => None,
        };
        let lines = lines_until_killed(home.path(), Duration::from_micros(after), word);
        ledger.hear(&lines);
        ledger.check(home.path()).await;
    }
    assert!(ledger.answered > 0 && !ledger.settled.is_empty(), "no child got as far as an answer");
}

#[tokio::test]
async fn twenty_kills_and_none_refuses_to_open() {
    kill(20).await;
}

#[tokio::test]
#[ignore = "takes minutes"]
async fn two_hundred_kills_and_none_refuses_to_open() {
    kill(200).await;
}
