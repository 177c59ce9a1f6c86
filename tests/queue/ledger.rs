//! How long the ledger tells what became of an event.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use trunkline::clock::Clock;
use trunkline::event::{Envelope, Lane};
use trunkline::metrics::Metrics;
use trunkline::queue::{Outcome, Queue, Stored};

use crate::kit::{append, close, event, files_named, read_all, settings, settle, until};

const HOUR: Duration = Duration::from_secs(3_600);

/// Keeps its ledger for an hour.
fn open(dir: &Path, clock: &Clock) -> Queue {
    let config = settings(dir, "keep_ledger = \"1h\"\n");
    Queue::open(&config, clock.clone(), Arc::new(Metrics::new())).unwrap()
}

async fn delivered(queue: &Queue, clock: &Clock) -> Stored {
    let event = Envelope { accepted_at_ms: clock.unix_ms(), ..event("{}") };
    let stored = append(queue, vec![event]).await;
    settle(queue, &stored, Outcome::Delivered).await;
    stored.into_iter().next().unwrap()
}

fn is_known(queue: &Queue, stored: &Stored) -> bool {
    !queue.ledger().find(&stored.event.event_id.to_string(), 1).entries.is_empty()
}

#[tokio::test]
async fn the_ledger_forgets_after_each_of_several_quiet_times() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Clock::manual(1_800_000_000_000);
    let queue = open(dir.path(), &clock);
    let mut last = delivered(&queue, &clock).await;

    for _ in 0..3 {
        clock.advance(2 * HOUR);
        // The committer looks after the ledger when something comes.
        let next = append(&queue, vec![event("{}")]).await;
        until("what is old is forgotten", || !is_known(&queue, &last)).await;
        settle(&queue, &next, Outcome::Delivered).await;
        last = next.into_iter().next().unwrap();
        assert!(is_known(&queue, &last));
    }
    close(queue).await;
}

#[tokio::test]
async fn a_ledger_that_was_closed_without_times_forgets_too() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Clock::manual(1_800_000_000_000);
    let queue = open(dir.path(), &clock);
    let old = delivered(&queue, &clock).await;
    let waiting = append(&queue, vec![event("{}")]).await;
    close(queue).await;
    // As earlier builds did: the least time at its greatest, the greatest at its least.
    for header in files_named(&dir.path().join("queue/ledger"), "header") {
        let mut raw = fs::read(&header).unwrap();
        raw[544..552].copy_from_slice(&i64::MIN.to_le_bytes());
        raw[552..560].copy_from_slice(&i64::MAX.to_le_bytes());
        let sum = crc32c::crc32c(&raw[512..568]);
        raw[568..572].copy_from_slice(&sum.to_le_bytes());
        fs::write(header, raw).unwrap();
    }

    let queue = open(dir.path(), &clock);
    let at_first = is_known(&queue, &old);
    clock.advance(2 * HOUR);
    append(&queue, vec![event("{}")]).await;

    assert!(at_first);
    until("what is old is forgotten", || !is_known(&queue, &old)).await;
    close(queue).await;
    let queue = open(dir.path(), &clock);
    let left = read_all(&queue, Lane::Conversations).await;
    assert!(left.len() == 2 && left[0] == waiting[0], "{} of 2", left.len());
    close(queue).await;
}
