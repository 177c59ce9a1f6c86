//! What the queue remembers of ids over its openings.

use std::path::Path;
use std::time::Duration;

use trunkline::clock::Clock;
use trunkline::event::{Envelope, Lane};
use trunkline::queue::{AppendError, Appended, Queue};
use uuid::Uuid;

use crate::kit::{event_with_id, settings, try_open_at, within};

const WINDOW: &str = "dedupe_window = \"15m\"\n";

fn open(home: &Path, clock: &Clock) -> Queue {
    try_open_at(&settings(home, WINDOW), clock.clone()).unwrap()
}

fn new_event(lane: Lane, clock: &Clock) -> Envelope {
    event_with_id(lane, Uuid::new_v4(), 100, clock.unix_ms())
}

async fn append(queue: &Queue, event: &Envelope) -> Result<Appended, AppendError> {
    within("an append", queue.writer().submit(vec![event.clone()])).await.remove(0)
}

#[tokio::test]
async fn a_repeat_is_a_duplicate_after_any_number_of_openings() {
    let home = tempfile::tempdir().unwrap();
    let clock = Clock::manual(1_750_000_000_000);
    let first = new_event(Lane::Presence, &clock);
    let queue = open(home.path(), &clock);
    append(&queue, &first).await.unwrap();
    queue.close();

    for _ in 0..3 {
        let queue = open(home.path(), &clock);
        append(&queue, &new_event(Lane::Presence, &clock)).await.unwrap();
        queue.close();
    }
    let queue = open(home.path(), &clock);

    assert_eq!(append(&queue, &first).await, Ok(Appended::Duplicate));
    queue.close();
}

#[tokio::test]
async fn what_is_older_than_the_window_is_no_duplicate_whatever_was_learnt_first_at_the_opening() {
    let home = tempfile::tempdir().unwrap();
    let clock = Clock::manual(1_750_000_000_000);
    let old = new_event(Lane::CustomKpi, &clock);
    let queue = open(home.path(), &clock);
    append(&queue, &old).await.unwrap();
    clock.advance(Duration::from_secs(14 * 60));
    append(&queue, &new_event(Lane::Conversations, &clock)).await.unwrap();
    queue.close();

    let queue = open(home.path(), &clock);
    clock.advance(Duration::from_secs(2 * 60));

    assert!(matches!(append(&queue, &old).await, Ok(Appended::Stored(_))));
    queue.close();
}
