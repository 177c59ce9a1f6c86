//! Accepted events a second, beside the disk's own limit: a bare file with the same bytes in the same
//! groups, appended and synced. Run with `cargo bench --bench queue`.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a bench fails by panicking and tells on stdout; its numbers are far below 2^52"
)]

use std::collections::VecDeque;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use trunkline::clock::Clock;
use trunkline::config;
use trunkline::event::{Array, Catalogue, Door, Envelope, Key, Lane};
use trunkline::metrics::Metrics;
use trunkline::queue::{AppendError, Appended, Backlog, Outcome, Queue, Settlement, Stored};
use uuid::Uuid;

mod syncs {
    //! Counts the syncs of this process, by standing in for libc's functions.
    #![expect(unsafe_code, reason = "the one way to count them where sled makes them")]

    use std::sync::atomic::{AtomicU64, Ordering};

    static SYNCS: AtomicU64 = AtomicU64::new(0);

    pub(crate) fn count() -> u64 {
        SYNCS.load(Ordering::Relaxed)
    }

    #[unsafe(no_mangle)]
    extern "C" fn fsync(fd: i32) -> i32 {
        SYNCS.fetch_add(1, Ordering::Relaxed);
        unsafe { libc::syscall(libc::SYS_fsync, fd) as i32 }
    }

    #[unsafe(no_mangle)]
    extern "C" fn fdatasync(fd: i32) -> i32 {
        SYNCS.fetch_add(1, Ordering::Relaxed);
        unsafe { libc::syscall(libc::SYS_fdatasync, fd) as i32 }
    }
}

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

fn settings(dir: &Path) -> config::QueueConfig {
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
async fn queued(group: usize, events: usize, ahead: usize) -> (f64, f64) {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let clock = Clock::system();
    let queue = Queue::open(&settings(dir.path()), clock.clone(), Arc::new(Metrics::new())).unwrap();
    let array = Catalogue::new(&[]).find("holdUpdatedEvents").unwrap().array();
    let prepared: Vec<Vec<Envelope>> =
        (0..events / group).map(|_| (0..group).map(|_| event(&array)).collect()).collect();
    let writer = queue.writer();
    let began = clock.mono();
    // With a group ahead, as from a second producer, the committer never waits for us; it may take two
    // groups at once, so only without one is the ratio to the bare file a fair one.
    let mut waiting = VecDeque::new();
    for part in prepared {
        waiting.push_back(writer.submit(part));
        if waiting.len() > ahead {
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
        reader.settle(delivered(page.events)).await.unwrap();
    }
    let drain = rate(events, clock.mono().since(began));
    tokio::task::spawn_blocking(move || queue.close()).await.unwrap();
    (accepted, drain)
}

fn rate(events: usize, took: Duration) -> f64 {
    events as f64 / took.as_secs_f64()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// A field of `/proc/self/<file>`, such as `VmRSS:` in kB or `write_bytes:` in bytes.
fn proc(file: &str, field: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/self/{file}")).unwrap();
    let line = text.lines().find(|line| line.starts_with(field)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Appends `events` in groups of 1,024, over the lanes in turn.
async fn fill(queue: &Queue, events: usize) {
    let array = Catalogue::new(&[]).find("holdUpdatedEvents").unwrap().array();
    let writer = queue.writer();
    for nth in 0..events / 1024 {
        let lane = Lane::ALL[nth % Lane::ALL.len()];
        all_stored(writer.submit((0..1024).map(|_| Envelope { lane, ..event(&array) }).collect()).await);
    }
}

/// A fresh process opens the directory, reads the first page of each lane and tells what it took.
fn start(dir: &Path) {
    let clock = Clock::system();
    let began = clock.mono();
    let queue = Queue::open(&settings(dir), clock.clone(), Arc::new(Metrics::new())).unwrap();
    let opened = clock.mono().since(began);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let reader = queue.reader();
    for lane in Lane::ALL {
        runtime.block_on(reader.read(lane, 1, 2_000, 1 << 20)).unwrap();
    }
    let read = clock.mono().since(began);
    let depth: u64 = Lane::ALL.into_iter().map(|lane| reader.depth(lane).events).sum();
    println!(
        "  {depth:>9} queued: open {:>4} ms, first pages {:>4} ms, resident {:>3} MB",
        opened.as_millis(),
        read.as_millis(),
        proc("status", "VmRSS:") / 1024
    );
    // As a kill would, with segments half full: the next start finds no closing.
    runtime.block_on(fill(&queue, 4 * 1024 * Lane::ALL.len()));
    std::process::abort();
}

fn in_a_fresh_process(what: &str, dir: &Path) {
    let status =
        std::process::Command::new(std::env::current_exe().unwrap()).arg(what).arg(dir).status().unwrap();
    // `start` ends by SIGABRT.
    assert!(status.success() || what == "start", "{what} failed");
}

fn starts() {
    println!("\nstart in a fresh process, after a stop and after a kill");
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let mut queued = 0;
    for events in [0, 1_000_000, 5_000_000] {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let queue = Queue::open(&settings(dir.path()), Clock::system(), Arc::new(Metrics::new())).unwrap();
        runtime.block_on(fill(&queue, events - queued));
        queued = events;
        queue.close();
        for _ in 0..3 {
            in_a_fresh_process("start", dir.path());
        }
    }
}

/// All four lanes written and drained at once with deduplication full; tells the most that was resident.
fn busy(dir: &Path) {
    let config = config::QueueConfig { dedupe_window: Duration::from_secs(86_400), ..settings(dir) };
    let queue = Queue::open(&config, Clock::system(), Arc::new(Metrics::new())).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let before = proc("io", "write_bytes:");
    let events = 2_000_000;
    runtime.block_on(async {
        let mut tasks = tokio::task::JoinSet::new();
        for lane in Lane::ALL {
            let (writer, reader) = (queue.writer(), queue.reader());
            tasks.spawn(async move {
                let array = Catalogue::new(&[]).find("holdUpdatedEvents").unwrap().array();
                let now_ms = Clock::system().unix_ms();
                for _ in 0..events / 4 / 500 {
                    let group = (0..500).map(|_| Envelope { lane, accepted_at_ms: now_ms, ..event(&array) });
                    all_stored(writer.submit(group.collect()).await);
                }
            });
            tasks.spawn(async move {
                let (mut from, mut drained) = (1, 0);
                while drained < events / 4 / 500 * 500 {
                    reader.wait_for(lane, from).await;
                    let page = reader.read(lane, from, 500, 1 << 20).await.unwrap();
                    from = page.next;
                    drained += page.events.len();
                    reader.settle(delivered(page.events)).await.unwrap();
                }
            });
        }
        while let Some(done) = tasks.join_next().await {
            done.unwrap();
        }
    });
    let bytes = (events * BODY_BYTES) as f64;
    println!(
        "  {events} events: most resident {} MB, after it {} MB, {:.2} bytes written a byte of event",
        proc("status", "VmHWM:") / 1024,
        proc("status", "VmRSS:") / 1024,
        (proc("io", "write_bytes:") - before) as f64 / bytes
    );
    queue.close();
}

fn delivered(events: Vec<Stored>) -> Vec<Settlement> {
    let settlement = |stored| Settlement {
        stored,
        outcome: Outcome::Delivered,
        attempts: 1,
        status: Some(200),
        correlation_id: None,
    };
    events.into_iter().map(settlement).collect()
}

fn rates() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    println!(
        "{:>6} {:>13} {:>13} {:>6} {:>17} {:>13}",
        "group", "bare file/s", "accepted/s", "ratio", "a group ahead/s", "drained/s"
    );
    for &(group, events) in PLAN {
        let (mut bares, mut accepts, mut aheads) = (Vec::new(), Vec::new(), Vec::new());
        let (mut drains, mut ratios) = (Vec::new(), Vec::new());
        for _ in 0..RUNS {
            let bare = bare(group, events);
            let (accepted, drained) = runtime.block_on(queued(group, events, 0));
            aheads.push(runtime.block_on(queued(group, events, 1)).0);
            bares.push(bare);
            accepts.push(accepted);
            drains.push(drained);
            // Of a pair that ran side by side: the disk is shared with others.
            ratios.push(accepted / bare);
        }
        println!(
            "{group:>6} {:>13.0} {:>13.0} {:>6.2} {:>17.0} {:>13.0}",
            median(bares),
            median(accepts),
            median(ratios),
            median(aheads),
            median(drains)
        );
    }
}

/// How fast events come one by one in `costs`, and how many: the first come so far apart that the queue is
/// at rest in between.
const COSTS: &[(&str, Duration, usize)] = &[
    ("every 5 s", Duration::from_secs(5), 24),
    ("1/s", Duration::from_secs(1), 60),
    ("10/s", Duration::from_millis(100), 300),
    ("1,000/s", Duration::from_millis(1), 10_000),
];

/// Syncs and bytes written for each event, delivered as soon as it is there, with all that follows.
fn costs() {
    println!("\nan event of {BODY_BYTES} bytes at a time, delivered at once");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    for &(name, apart, events) in COSTS {
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let config = config::QueueConfig { dedupe_window: Duration::from_secs(900), ..settings(dir.path()) };
        let queue = Queue::open(&config, Clock::system(), Arc::new(Metrics::new())).unwrap();
        let array = Catalogue::new(&[]).find("holdUpdatedEvents").unwrap().array();
        let (writer, reader) = (queue.writer(), queue.reader());
        let cost = runtime.block_on(async {
            // What a start makes is none of the events'.
            tokio::time::sleep(Duration::from_secs(3)).await;
            let (syncs, bytes) = (syncs::count(), proc("io", "write_bytes:"));
            let mut ticks = tokio::time::interval(apart);
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            let mut from = 1;
            for _ in 0..events {
                ticks.tick().await;
                let accepted_at_ms = Clock::system().unix_ms();
                all_stored(writer.submit(vec![Envelope { accepted_at_ms, ..event(&array) }]).await);
                let page = reader.read(Lane::Conversations, from, 10, 1 << 20).await.unwrap();
                from = page.next;
                reader.settle(delivered(page.events)).await.unwrap();
            }
            tokio::time::sleep(Duration::from_secs(3)).await;
            (syncs::count() - syncs, proc("io", "write_bytes:") - bytes)
        });
        let each = |total: u64| total as f64 / events as f64;
        println!("  {name:>10}: {:>6.2} syncs, {:>8.0} bytes written an event", each(cost.0), each(cost.1));
        queue.close();
    }
}

fn main() {
    trunkline::memory::keep_small();
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        // `cargo test --benches` only wants to know that it builds.
        ["--test", ..] => {}
        ["start", dir] => start(Path::new(dir)),
        ["busy", dir] => busy(Path::new(dir)),
        ["rates"] => rates(),
        ["starts"] => starts(),
        ["costs"] => costs(),
        _ => {
            rates();
            println!("\nall lanes written and drained at once, deduplication full");
            let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
            in_a_fresh_process("busy", dir.path());
            starts();
            costs();
        }
    }
}
