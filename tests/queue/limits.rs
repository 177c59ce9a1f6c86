//! The queue's bounds: what is refused, what gives way, and what goes on.

use std::path::Path;

use trunkline::config;
use trunkline::event::{Envelope, Lane};
use trunkline::queue::{AppendError, Appended, Backlog, Outcome, Queue, QueueError, Stored};

use crate::kit::{
    allocated, append, close, dead, event, event_in, eventually, files_named, read_all, settings, settle,
    settlements, small_segments, try_open, until, within,
};

const MIB: u64 = 1 << 20;
const LANE: Lane = Lane::Conversations;

/// Of `max_size`, 32 MiB are for settling and for what is estimated.
fn sized(dir: &Path, events_mib: u64) -> config::QueueConfig {
    config::QueueConfig { max_size: (events_mib + 32) * MIB, segment_bytes: MIB, ..settings(dir, "") }
}

fn some(lane: Lane, count: usize) -> Vec<Envelope> {
    (0..count).map(|_| event_in(lane, vec![b'x'; 8_000])).collect()
}

/// Appends to the lane until it is refused, and gives why.
async fn fill(queue: &Queue, lane: Lane) -> AppendError {
    for _ in 0..1_000 {
        let results = queue.writer().submit(some(lane, 20)).await;
        if let Some(Err(error)) = results.into_iter().find(Result::is_err) {
            return error;
        }
    }
    panic!("{lane} is never full");
}

#[tokio::test]
async fn a_lane_that_has_filled_its_part_is_refused_alone() {
    let dir = tempfile::tempdir().unwrap();
    let config = config::QueueConfig { lane_reserve: 0.1, ..sized(dir.path(), 40) };
    let queue = try_open(&config).unwrap();

    let refused = fill(&queue, LANE).await;

    assert_eq!(refused, AppendError::LaneFull { lane: LANE });
    for lane in [Lane::Presence, Lane::RoutingStatus, Lane::CustomKpi] {
        append(&queue, some(lane, 100)).await;
    }
    close(queue).await;
}

#[tokio::test]
async fn all_under_the_directory_stays_below_max_size() {
    let dir = tempfile::tempdir().unwrap();
    let config = sized(dir.path(), 24);
    let queue = try_open(&config).unwrap();

    for lane in Lane::ALL {
        fill(&queue, lane).await;
    }

    let used = allocated(dir.path()) + 16 * MIB;
    assert!(used <= config.max_size && used > config.max_size / 2, "{used} of {}", config.max_size);
    settle(&queue, &read_all(&queue, LANE).await, Outcome::Delivered).await;
    let writer = queue.writer();
    let taken = async { while writer.submit(some(LANE, 1)).await[0].is_err() {} };
    within("there is room again", taken).await;
    close(queue).await;
}

#[tokio::test]
async fn below_min_free_disk_events_are_refused_and_settling_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let queue = try_open(&small_segments(dir.path())).unwrap();
    let stored = append(&queue, some(LANE, 30)).await;
    close(queue).await;
    let config = config::QueueConfig { min_free_disk: 1 << 60, ..small_segments(dir.path()) };
    let queue = try_open(&config).unwrap();

    let refused = queue.writer().submit(some(LANE, 1)).await;
    settle(&queue, &stored[..29], Outcome::Delivered).await;

    assert!(
        matches!(refused[0], Err(AppendError::DiskLow { min_bytes: 0x1000_0000_0000_0000, .. })),
        "{refused:?}"
    );
    assert_eq!(queue.reader().depth(LANE).events, 1);
    until("settled bodies leave the disk", || {
        files_named(&dir.path().join("queue/lanes/conversations"), "header").len() <= 2
    })
    .await;
    close(queue).await;
}

#[tokio::test]
async fn where_space_is_short_the_ledger_gives_way_before_anything_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let config = sized(dir.path(), 48);
    let queue = try_open(&config).unwrap();
    let small = || event("{\"conversationId\":\"a conversation\"}");
    while allocated(&dir.path().join("queue/ledger")) < 6 * MIB {
        let stored = append(&queue, (0..2_000).map(|_| small()).collect()).await;
        settle(&queue, &stored, Outcome::Delivered).await;
    }

    let mut refused = None;
    let mut ledger = u64::MAX;
    for lane in Lane::ALL.into_iter().cycle() {
        let results = queue.writer().submit(some(lane, 20)).await;
        refused = results.into_iter().find_map(Result::err);
        if refused.is_some() {
            break;
        }
        ledger = allocated(&dir.path().join("queue/ledger"));
    }

    assert!(matches!(refused, Some(AppendError::Full { .. } | AppendError::LaneFull { .. })), "{refused:?}");
    assert!(ledger < 3 * MIB, "the ledger has {ledger}");
    close(queue).await;
}

/// Those of the events that the queue has room for; `None` if it has for none.
async fn what_is_stored(queue: &Queue, events: Vec<Envelope>) -> Option<Vec<Stored>> {
    let answers = queue.writer().submit(events.clone()).await;
    let stored = events.into_iter().zip(answers).filter_map(|(event, answer)| match answer {
        Ok(Appended::Stored(seq)) => Some(Stored { seq, event }),
        _ => None,
    });
    let stored: Vec<Stored> = stored.collect();
    (!stored.is_empty()).then_some(stored)
}

#[tokio::test]
async fn dead_letters_above_their_part_are_refused_until_some_are_gone() {
    let dir = tempfile::tempdir().unwrap();
    let config = sized(dir.path(), 24);
    let queue = try_open(&config).unwrap();
    let stored = append(&queue, some(Lane::Presence, 10)).await;
    let mut full = Ok(());
    for _ in 0..200 {
        // On a busy disk what was settled is not deleted yet, and the lane is full for a while.
        let stored = eventually(async || what_is_stored(&queue, some(LANE, 20)).await).await.unwrap();
        full = queue.reader().settle(settlements(&stored, &dead("no"))).await;
        if full.is_err() {
            break;
        }
    }

    let others = queue.reader().settle(settlements(&stored, &Outcome::Delivered)).await;
    let mut letters = Vec::new();
    while let Some(letter) = queue
        .dead_letters()
        .next(letters.last().map_or(0, |last: &trunkline::queue::DeadLetter| last.number))
        .unwrap()
    {
        letters.push(letter);
    }
    queue.dead_letters().discard(letters).unwrap();
    let unsettled = read_all(&queue, LANE).await;

    assert!(matches!(full, Err(QueueError::DeadLettersFull)), "{full:?}");
    assert!(others.is_ok());
    let reader = queue.reader();
    let settled = eventually(async || reader.settle(settlements(&unsettled, &dead("no"))).await.ok()).await;
    assert!(settled.is_some(), "there is no room again");
    close(queue).await;
}

#[tokio::test]
async fn an_event_far_larger_than_a_chunk_is_kept_like_any_other() {
    let dir = tempfile::tempdir().unwrap();
    let queue = try_open(&settings(dir.path(), "")).unwrap();
    let events: Vec<Envelope> =
        [100, 300_000, 2_500_000, 100].map(|size| event_in(LANE, vec![b'x'; size])).to_vec();
    let stored = append(&queue, events).await;
    let live = read_all(&queue, LANE).await;

    close(queue).await;
    let queue = try_open(&settings(dir.path(), "")).unwrap();

    assert!(live == stored, "not as appended");
    assert!(read_all(&queue, LANE).await == stored, "not as appended after a restart");
    let blobs =
        crate::kit::files(dir.path()).into_iter().filter(|path| path.parent().unwrap().ends_with("blobs"));
    assert_eq!(blobs.count(), 0);
    let too_large = queue.writer().submit(vec![event_in(LANE, vec![b'x'; 5_000_000])]).await;
    assert!(matches!(too_large[0], Err(AppendError::TooLarge { .. })), "{too_large:?}");
    assert!(matches!(queue.writer().submit(some(LANE, 1)).await[0], Ok(Appended::Stored(_))));
    close(queue).await;
}
