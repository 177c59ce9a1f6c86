//! Idle is idle: a daemon with nothing to do sleeps, and uses no more memory than before.
//!
//! Wake-ups are counted: a busy machine wakes nobody more often. Processor time has a wide limit, for a loop that never
//! sleeps.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use trunkline::clock::Clock;
use uuid::Uuid;

use crate::common::{Home, Sandbox, accepted, eventually, hold_event};

/// How long the daemon is watched: long enough for two renewals of the token.
const WATCHED: Duration = Duration::from_secs(40);
/// How long nothing happens before it counts as rest.
const REST: Duration = Duration::from_secs(3);
/// Most wake-ups in a second, all threads together. It is about 8: one of each thread of sled, few others.
const WAKE_UPS_MAX: f64 = 25.0;
/// Most of a core, for a loop that spins and never sleeps. An idle daemon uses a hundredth of this.
const CORE_MAX: f64 = 0.1;

/// How often each thread has gone to sleep since it began.
fn sleeps(pid: i32) -> BTreeMap<PathBuf, u64> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten().map(|thread| thread.path());
    threads.map(|thread| (thread.clone(), field(thread.join("status"), "voluntary_ctxt_switches:"))).collect()
}

/// How often all threads together have gone to sleep since then. Threads come and go.
fn slept(pid: i32, before: &BTreeMap<PathBuf, u64>) -> u64 {
    sleeps(pid).iter().map(|(thread, count)| count.saturating_sub(*before.get(thread).unwrap_or(&0))).sum()
}

/// Seconds of processor time, user and system, all threads.
fn processor_seconds(pid: i32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
}

/// A number of a `status` file; 0 when the thread has ended meanwhile.
fn field(path: PathBuf, name: &str) -> u64 {
    let status = fs::read_to_string(path).unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with(name));
    line.map_or(0, |line| line.split_whitespace().nth(1).unwrap().parse().unwrap())
}

/// Whether next to nothing happens for some seconds: what follows the last event, such as bodies that leave the
/// disk, is over.
fn rests(pid: i32) -> bool {
    let before = sleeps(pid);
    std::thread::park_timeout(REST);
    slept(pid, &before) < 50
}

fn resident_kb(pid: i32) -> u64 {
    field(format!("/proc/{pid}/status").into(), "VmRSS:")
}

#[test]
fn a_quiet_daemon_sleeps_and_takes_no_memory() {
    let sandbox = Sandbox::start(&["--requests-per-minute", "1000000", "--token-life", "30s"]);
    let home = Home::new(&sandbox.addr, "");
    let daemon = home.run();
    let mut producer = home.producer();
    for nth in 0..200 {
        assert_eq!(producer.ask(&hold_event(Uuid::new_v4(), nth).1), accepted());
    }
    eventually("all is delivered", || sandbox.stat("distinct") == 200);
    assert!((0..30).any(|_| rests(daemon.pid())), "it never comes to rest");
    let clock = Clock::system();
    let (began, before) = (clock.mono(), (sleeps(daemon.pid()), processor_seconds(daemon.pid())));
    let resident = resident_kb(daemon.pid());

    // Nothing is awaited: that nothing happens is what is tried.
    std::thread::park_timeout(WATCHED);

    let seconds = clock.mono().since(began).as_secs_f64();
    let woken = slept(daemon.pid(), &before.0) as f64 / seconds;
    let used = (processor_seconds(daemon.pid()) - before.1) / seconds;
    let now = resident_kb(daemon.pid());
    // It was renewed meanwhile: an event that comes now finds a token that holds.
    assert!(home.status()["token_expiry_seconds"].as_u64().is_some_and(|left| left > 0), "{}", home.status());
    assert!(woken <= WAKE_UPS_MAX, "woken {woken} times a second");
    assert!(used <= CORE_MAX, "{used} of a core");
    assert!(now <= resident + 512, "resident: {resident} kB before, {now} kB after");
}
