//! Ages while the wall clock is wrong, is set, or was wrong at a start.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::kit::{append, close, dead, event_with_id, letters, settings, settle, until};
use trunkline::clock::Clock;
use trunkline::event::{Envelope, Lane};
use trunkline::metrics::Metrics;
use trunkline::queue::{Appended, Outcome, Queue, Stored};
use uuid::Uuid;

const LANE: Lane = Lane::Presence;
/// 2027-01-15.
const NOW_MS: i64 = 1_800_000_000_000;
const DAY: Duration = Duration::from_secs(86_400);
const DAY_MS: i64 = 86_400_000;

/// Letters for 30 days, the ledger for 72 hours, repeats for 15 minutes: the defaults.
fn open(dir: &Path, clock: &Clock) -> Queue {
    Queue::open(&settings(dir, ""), clock.clone(), Arc::new(Metrics::new())).unwrap()
}

fn new_event(clock: &Clock) -> Envelope {
    event_with_id(LANE, Uuid::new_v4(), 50, clock.unix_ms())
}

async fn accepted(queue: &Queue, clock: &Clock) -> Stored {
    append(queue, vec![new_event(clock)]).await.remove(0)
}

async fn died(queue: &Queue, clock: &Clock) -> Stored {
    let stored = accepted(queue, clock).await;
    settle(queue, std::slice::from_ref(&stored), dead("no")).await;
    stored
}

async fn is_repeat(queue: &Queue, event: &Envelope) -> bool {
    queue.writer().submit(vec![event.clone()]).await == [Ok(Appended::Duplicate)]
}

fn is_in_ledger(queue: &Queue, stored: &Stored) -> bool {
    !queue.ledger().find(&stored.event.event_id.to_string(), 1).entries.is_empty()
}

/// Waits until what goes by age was looked at after now: an old letter `witness` shows it by its end.
async fn until_gone(queue: &Queue, witness: &Stored) {
    let is_there = || letters(queue).iter().any(|letter| letter.stored.event == witness.event);
    until("the old letter is discarded", || !is_there()).await;
}

#[tokio::test]
async fn a_clock_that_is_set_a_month_ahead_ends_only_what_is_a_month_old() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Clock::manual(NOW_MS);
    let queue = open(dir.path(), &clock);
    let old = died(&queue, &clock).await;
    clock.advance(30 * DAY - Duration::from_secs(60));
    let young = died(&queue, &clock).await;
    let delivered = accepted(&queue, &clock).await;
    settle(&queue, std::slice::from_ref(&delivered), Outcome::Delivered).await;

    clock.set_wall(31 * DAY_MS);
    let later = accepted(&queue, &clock).await;
    clock.advance(Duration::from_secs(120));
    accepted(&queue, &clock).await;
    until_gone(&queue, &old).await;

    assert_eq!(letters(&queue).len(), 1);
    assert_eq!(letters(&queue)[0].stored, young);
    assert!(is_in_ledger(&queue, &delivered));
    assert!(is_repeat(&queue, &delivered.event).await && is_repeat(&queue, &later.event).await);
    close(queue).await;
}

#[tokio::test]
async fn what_a_clock_a_month_ahead_stamped_ages_nothing_after_a_restart_either() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Clock::manual(NOW_MS);
    let queue = open(dir.path(), &clock);
    let old = died(&queue, &clock).await;
    clock.advance(30 * DAY - Duration::from_secs(90));
    died(&queue, &clock).await;

    clock.set_wall(31 * DAY_MS);
    let ahead = accepted(&queue, &clock).await;
    close(queue).await;
    let clock = clock.of_next_process();
    let queue = open(dir.path(), &clock);
    let there = letters(&queue).len();
    clock.advance(Duration::from_secs(120));
    accepted(&queue, &clock).await;
    until_gone(&queue, &old).await;

    assert_eq!((there, letters(&queue).len()), (2, 1));
    assert!(is_repeat(&queue, &ahead.event).await);
    close(queue).await;
}

#[tokio::test]
async fn without_its_notes_of_the_clock_a_start_ages_nothing_by_stamps() {
    for damaged in [&b"{"[..], br#"{"boot":"x"}"#] {
        let dir = tempfile::tempdir().unwrap();
        let clock = Clock::manual(NOW_MS);
        let queue = open(dir.path(), &clock);
        died(&queue, &clock).await;
        clock.set_wall(31 * DAY_MS);
        accepted(&queue, &clock).await;
        close(queue).await;
        std::fs::write(dir.path().join("queue/clock"), damaged).unwrap();

        let queue = open(dir.path(), &clock.of_next_process());
        accepted(&queue, &clock).await;
        let there = letters(&queue).len();
        close(queue).await;
        let queue = open(dir.path(), &clock.of_next_process());

        assert_eq!((there, letters(&queue).len()), (1, 1));
        close(queue).await;
    }
}

#[tokio::test]
async fn a_correction_that_lasts_stops_no_age_for_good() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Clock::manual(NOW_MS + 400 * DAY_MS);
    let queue = open(dir.path(), &clock);
    let before = died(&queue, &clock).await;

    clock.set_wall(-400 * DAY_MS);
    let after = died(&queue, &clock).await;
    clock.advance(30 * DAY + Duration::from_secs(60));
    accepted(&queue, &clock).await;

    until_gone(&queue, &before).await;
    until_gone(&queue, &after).await;
    close(queue).await;
}

#[tokio::test]
async fn a_start_with_a_clock_ahead_ends_nothing_until_the_api_confirms_it() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Clock::manual(NOW_MS);
    let queue = open(dir.path(), &clock);
    let letter = died(&queue, &clock).await;
    let delivered = accepted(&queue, &clock).await;
    settle(&queue, std::slice::from_ref(&delivered), Outcome::Delivered).await;
    close(queue).await;

    // Another boot.
    let clock = Clock::manual(NOW_MS + 31 * DAY_MS);
    let queue = open(dir.path(), &clock);
    let is_known = is_repeat(&queue, &delivered.event).await;
    close(queue).await;
    let queue = open(dir.path(), &clock);
    let kept = letters(&queue).len();

    assert!(is_known && is_in_ledger(&queue, &delivered));
    assert_eq!(kept, 1);
    // It was right: the daemon had been stopped for a month.
    clock.confirm(clock.unix_ms() - 1_000);
    clock.advance(Duration::from_secs(61));
    accepted(&queue, &clock).await;
    until_gone(&queue, &letter).await;
    close(queue).await;
}

#[tokio::test]
async fn what_was_stored_before_the_first_time_sync_is_not_old_after_it() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Clock::manual(5_000);
    let queue = open(dir.path(), &clock);
    let letter = died(&queue, &clock).await;
    let delivered = accepted(&queue, &clock).await;
    settle(&queue, std::slice::from_ref(&delivered), Outcome::Delivered).await;

    clock.set_wall(NOW_MS);
    clock.advance(Duration::from_secs(120));
    let is_known = is_repeat(&queue, &delivered.event).await;
    close(queue).await;
    let clock = clock.of_next_process();
    clock.confirm(clock.unix_ms());
    let queue = open(dir.path(), &clock);

    assert!(is_known && is_repeat(&queue, &delivered.event).await);
    assert_eq!(letters(&queue)[0].stored, letter);
    assert!(is_in_ledger(&queue, &delivered));
    close(queue).await;
}
