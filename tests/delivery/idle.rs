//! Idle is idle: a daemon with nothing to do uses next to no processor and no more memory than before.

use std::time::Duration;

use crate::common::{Home, Sandbox, accepted, eventually, hold_event};
use uuid::Uuid;

/// Clock ticks of processor time, user and system, all threads.
fn ticks(pid: i32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

fn resident_kb(pid: i32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// A minute of wall time is what is measured here: nothing can be awaited in its place.
#[test]
fn a_minute_of_quiet_costs_at_most_a_thousandth_of_a_core_and_no_memory() {
    let sandbox = Sandbox::start(&["--requests-per-minute", "1000000", "--token-life", "30s"]);
    let home = Home::new(&sandbox.addr, "");
    let daemon = home.run();
    let mut producer = home.producer();
    for nth in 0..200 {
        assert_eq!(producer.ask(&hold_event(Uuid::new_v4(), nth).1), accepted());
    }
    eventually("all is delivered", || sandbox.stat("distinct") == 200);
    // What follows the last event, such as bodies that leave the disk, is over after a few seconds.
    std::thread::park_timeout(Duration::from_secs(10));
    let before = (ticks(daemon.pid()), resident_kb(daemon.pid()));

    std::thread::park_timeout(Duration::from_secs(60));

    let after = (ticks(daemon.pid()), resident_kb(daemon.pid()));
    // It was renewed twice meanwhile: an event that comes now finds a token that holds.
    assert!(home.status()["token_expiry_seconds"].as_u64().is_some_and(|left| left > 0), "{}", home.status());
    // A tick is a hundredth of a second: 0.1 % of a minute are six.
    assert!(after.0 - before.0 <= 6, "{} ticks in a minute", after.0 - before.0);
    assert!(after.1 <= before.1 + 512, "resident: {} kB before, {} kB after", before.1, after.1);
}
