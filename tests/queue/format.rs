//! A directory that the first version wrote, killed while it ran: every later version reads it.

use std::path::{Path, PathBuf};

use trunkline::config;
use trunkline::event::{Array, Catalogue, Door, Envelope, Key, Lane, catalogue};
use trunkline::queue::{Fate, Inspection, Outcome, Queue};
use uuid::Uuid;

use crate::kit::{append, close, copy, dead, read_all, settings, settle, try_open};

const ACCEPTED_AT_MS: i64 = 1_790_000_000_000;

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/queue-format-1")
}

/// Nothing in it may go by age.
fn ageless(dir: &Path) -> config::QueueConfig {
    settings(dir, "dead_letters_max_age = \"0s\"\nkeep_ledger = \"87600h\"\n")
}

fn event(nth: u128, lane: Lane) -> Envelope {
    let of_lane = catalogue::types().iter().find(|known| known.lane == lane).unwrap();
    let known = Catalogue::new(&[]).find(of_lane.array).unwrap().array();
    let array = if nth == 2 { Array::Extra(format!("newer-{lane}-Events").into()) } else { known };
    Envelope {
        lane,
        array,
        event_id: Uuid::from_u128(0x1000_0000_0000_4000_8000_0000_0000_0000 + nth),
        key: Key(u64::try_from(nth).unwrap()),
        event_time_ms: ACCEPTED_AT_MS - 5,
        accepted_at_ms: ACCEPTED_AT_MS,
        door: Door::Http,
        uid: 1234,
        body: format!("{{\"conversationId\":\"conversation-{nth}\"}}").into(),
    }
}

/// Six events a lane: 1 delivered, 2 dead, the others unsettled.
#[tokio::test]
#[ignore = "writes a fixture into TRUNKLINE_TEST_FIXTURE; only for a new format version"]
async fn write_the_fixture() {
    let Some(into) = std::env::var_os("TRUNKLINE_TEST_FIXTURE").map(PathBuf::from) else { return };
    let live = tempfile::tempdir().unwrap();
    let queue = try_open(&ageless(live.path())).unwrap();
    for lane in Lane::ALL {
        let stored = append(&queue, (1..=6).map(|nth| event(nth, lane)).collect()).await;
        settle(&queue, &stored[..1], Outcome::Delivered).await;
        settle(&queue, &stored[1..2], dead("the API's words")).await;
    }
    copy(live.path(), &into);
    close(queue).await;
}

async fn check(queue: &Queue) {
    for lane in Lane::ALL {
        let read: Vec<Envelope> =
            read_all(queue, lane).await.into_iter().map(|stored| stored.event).collect();
        assert_eq!(read, (3..=6).map(|nth| event(nth, lane)).collect::<Vec<_>>());
        assert_eq!(queue.dead_letters().count(lane), 1);
    }
    let letter = queue.dead_letters().next(0).unwrap().unwrap();
    assert_eq!(
        (letter.stored.event, letter.message.as_str()),
        (event(2, Lane::Conversations), "the API's words")
    );
    let entries = queue.ledger().find("conversation-1", 10).entries;
    assert_eq!(entries.len(), 4);
    assert!(entries.iter().all(|entry| entry.fate == Fate::Delivered && entry.uid == 1234));
}

#[tokio::test]
async fn a_directory_of_format_1_is_read_whole() {
    let dir = tempfile::tempdir().unwrap();
    copy(&fixture(), dir.path());
    let inspected = Inspection::of(&dir.path().join("queue")).unwrap();
    let faults = [inspected.damaged(), inspected.unread()].concat();
    drop(inspected);

    for _ in 0..2 {
        let queue = try_open(&ageless(dir.path())).unwrap();
        check(&queue).await;
        close(queue).await;
    }

    assert!(faults.is_empty(), "{faults:?}");
}
