//! The queue on real files: what it promises over a close and a new opening.

use std::os::unix::fs::FileExt;
use std::sync::Arc;

use trunkline::clock::Clock;
use trunkline::event::{Array, Door, Envelope, Lane};
use trunkline::metrics::Metrics;
use trunkline::queue::{AppendError, Appended, Backlog, DeadReason, OpenError, Outcome, Queue, Seq, Stored};

use crate::kit::{allocated, close, event, files_named, open, settings, until};
use crate::kit::{append as append_stored, read_all as read_lane, settle as settle_stored};

const LANE: Lane = Lane::Conversations;

async fn append(queue: &Queue, events: Vec<Envelope>) -> Vec<Seq> {
    append_stored(queue, events).await.into_iter().map(|stored| stored.seq).collect()
}

async fn read_all(queue: &Queue) -> Vec<Stored> {
    read_lane(queue, LANE).await
}

async fn settle(queue: &Queue, stored: Vec<Stored>, outcome: Outcome) {
    settle_stored(queue, &stored, outcome).await;
}

#[tokio::test]
async fn events_are_read_again_as_they_were_after_a_new_opening() {
    let dir = tempfile::tempdir().unwrap();
    let queue = open(dir.path());
    let mut events: Vec<Envelope> = (0..20).map(|nth| event(&format!("{{\"n\":{nth}}}"))).collect();
    events[3].array = Array::Extra("newerEvents".into());
    append(&queue, events.clone()).await;

    close(queue).await;
    let queue = open(dir.path());

    let read: Vec<Envelope> = read_all(&queue).await.into_iter().map(|stored| stored.event).collect();
    assert_eq!(read, events);
    assert_eq!(queue.reader().depth(LANE).events, 20);
    close(queue).await;
}

#[tokio::test]
async fn settled_events_stay_settled_and_the_others_come_again_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let queue = open(dir.path());
    append(&queue, (0..30).map(|_| event("{}")).collect()).await;
    let (even, odd): (Vec<Stored>, Vec<Stored>) =
        read_all(&queue).await.into_iter().partition(|stored| stored.seq.is_multiple_of(2));

    settle(&queue, even.clone(), Outcome::Delivered).await;
    settle(&queue, even, Outcome::Delivered).await;
    close(queue).await;
    let queue = open(dir.path());

    assert_eq!(read_all(&queue).await, odd);
    assert_eq!(queue.reader().depth(LANE).events, 15);
    close(queue).await;
}

#[tokio::test]
async fn numbers_rise_for_ever_even_when_nothing_is_left() {
    let dir = tempfile::tempdir().unwrap();
    let mut last = 0;

    for _ in 0..4 {
        let queue = open(dir.path());
        let seqs = append(&queue, (0..5).map(|_| event("{}")).collect()).await;
        assert!(seqs[0] > last, "{seqs:?} after {last}");
        last = seqs[4];
        settle(&queue, read_all(&queue).await, Outcome::Delivered).await;
        close(queue).await;
    }
}

#[tokio::test]
async fn a_settled_backlog_gives_its_space_back() {
    let dir = tempfile::tempdir().unwrap();
    let queue = open(dir.path());
    let body = "x".repeat(2_000);
    for _ in 0..16 {
        append(&queue, (0..1_000).map(|_| event(&body)).collect()).await;
    }
    let full = allocated(dir.path());

    settle(&queue, read_all(&queue).await, Outcome::Delivered).await;

    assert!(full > 32_000_000, "{full}");
    until("bodies leave the disk", || allocated(dir.path()) < full / 2).await;
    assert_eq!(queue.reader().depth(LANE).events, 0);
    close(queue).await;
}

#[tokio::test]
async fn a_dead_letter_keeps_its_event_and_its_reason_until_it_is_discarded() {
    let dir = tempfile::tempdir().unwrap();
    let queue = open(dir.path());
    append(&queue, vec![event("{\"a\":1}"), event("{\"b\":2}")]).await;
    let stored = read_all(&queue).await;
    let outcome = Outcome::Dead { reason: DeadReason::Rejected, message: "no such user".to_owned() };

    settle(&queue, stored.clone(), outcome).await;
    close(queue).await;
    let queue = open(dir.path());

    let first = queue.dead_letters().next(0).unwrap().unwrap();
    let second = queue.dead_letters().next(first.number).unwrap().unwrap();
    assert_eq!([&first.stored, &second.stored], [&stored[0], &stored[1]]);
    assert_eq!((first.reason, first.message.as_str()), (DeadReason::Rejected, "no such user"));
    assert_eq!((first.status, first.attempts, first.correlation_id.as_deref()), (Some(400), 3, Some("c-1")));
    assert!(read_all(&queue).await.is_empty());
    queue.dead_letters().discard(vec![first]).unwrap();
    assert_eq!(queue.dead_letters().next(0).unwrap(), Some(second));
    close(queue).await;
}

#[tokio::test]
async fn the_same_event_again_is_a_duplicate_also_after_a_new_opening() {
    let dir = tempfile::tempdir().unwrap();
    let queue = open(dir.path());
    let event = event("{}");

    let together = queue.writer().submit(vec![event.clone(), event.clone()]).await;
    close(queue).await;
    let queue = open(dir.path());
    let later = queue.writer().submit(vec![event]).await;

    assert_eq!(together[1], Ok(Appended::Duplicate));
    assert_eq!(later, [Ok(Appended::Duplicate)]);
    assert_eq!(read_all(&queue).await.len(), 1);
    close(queue).await;
}

#[tokio::test]
async fn a_directory_in_use_or_of_a_newer_format_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let queue = open(dir.path());
    append(&queue, vec![event("{}")]).await;
    let again = || Queue::open(&settings(dir.path(), ""), Clock::system(), Arc::new(Metrics::new()));

    assert!(matches!(again(), Err(OpenError::InUse { .. })));
    close(queue).await;
    let header = files_named(dir.path(), "header").remove(0);
    let mut raw = std::fs::read(&header).unwrap();
    raw[8] = 9;
    let crc = crc32c::crc32c(&raw[..32]);
    raw[32..36].copy_from_slice(&crc.to_le_bytes());
    std::fs::write(header, raw).unwrap();
    assert!(matches!(again(), Err(OpenError::Newer { version: 9, .. })));
}

#[tokio::test]
async fn a_flipped_bit_in_a_version_is_damage_and_no_refusal() {
    let dir = tempfile::tempdir().unwrap();
    let queue = open(dir.path());
    append(&queue, vec![event("{}")]).await;
    close(queue).await;
    let header = files_named(dir.path(), "header").remove(0);
    std::fs::File::options().write(true).open(header).unwrap().write_all_at(&[9], 8).unwrap();

    let queue = open(dir.path());

    assert_eq!(std::fs::read_dir(dir.path().join("queue/quarantine")).unwrap().count(), 1);
    close(queue).await;
}

#[tokio::test]
async fn a_part_of_what_is_settled_may_be_settled_again() {
    let dir = tempfile::tempdir().unwrap();
    let queue = open(dir.path());
    append(&queue, (0..12).map(|_| event("{}")).collect()).await;
    let mut stored = read_all(&queue).await;
    let left = stored.split_off(8);

    settle(&queue, stored.clone(), Outcome::Delivered).await;
    settle(&queue, stored[..1].to_vec(), Outcome::Delivered).await;
    close(queue).await;
    let queue = open(dir.path());
    settle(&queue, stored[..2].to_vec(), Outcome::Delivered).await;
    close(queue).await;
    let queue = open(dir.path());

    assert_eq!(read_all(&queue).await, left);
    close(queue).await;
}

#[tokio::test]
async fn a_dead_letter_may_come_again_and_a_replay_always() {
    let dir = tempfile::tempdir().unwrap();
    let queue = open(dir.path());
    let event = event("{}");
    append(&queue, vec![event.clone()]).await;
    let outcome = Outcome::Dead { reason: DeadReason::Rejected, message: String::new() };
    settle(&queue, read_all(&queue).await, outcome).await;

    let again = queue.writer().submit(vec![event.clone()]).await;
    let replay = queue.writer().submit(vec![Envelope { door: Door::Replay, ..event.clone() }]).await;
    let repeat = queue.writer().submit(vec![event]).await;

    assert!(matches!(again[0], Ok(Appended::Stored(_))));
    assert!(matches!(replay[0], Ok(Appended::Stored(_))));
    assert_eq!(repeat, [Ok(Appended::Duplicate)]);
    close(queue).await;
}

#[tokio::test]
async fn a_full_queue_refuses_and_takes_again_when_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(dir.path(), "max_size = \"256MiB\"\nlane_reserve = \"0%\"\n");
    let queue = Queue::open(&settings, Clock::system(), Arc::new(Metrics::new())).unwrap();
    let body = "x".repeat(30_000);

    let refused = loop {
        let results = queue.writer().submit((0..500).map(|_| event(&body)).collect()).await;
        if let Some(Err(error)) = results.into_iter().next_back() {
            break error;
        }
    };
    assert_eq!(refused, AppendError::Full { max_bytes: 256 << 20 });
    let used = allocated(dir.path());
    assert!(used <= 256 << 20, "{used}");
    settle(&queue, read_all(&queue).await, Outcome::Delivered).await;

    let mut again = queue.writer().submit(vec![event("{}")]).await;
    while again[0].is_err() {
        again = queue.writer().submit(vec![event("{}")]).await;
    }
    close(queue).await;
}

#[tokio::test]
async fn a_segment_whose_header_is_damaged_is_delivered_all_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let queue = open(dir.path());
    let body = "x".repeat(2_000);
    for _ in 0..8 {
        append(&queue, (0..1_000).map(|_| event(&body)).collect()).await;
    }
    close(queue).await;
    let mut headers = files_named(dir.path(), "header");
    headers.sort();
    std::fs::write(&headers[0], b"not a header at all").unwrap();

    let queue = open(dir.path());

    let read = read_all(&queue).await;
    assert_eq!(read.len(), 8_000);
    assert!(read.iter().map(|stored| stored.seq).is_sorted());
    assert_eq!(std::fs::read_dir(dir.path().join("queue/quarantine")).unwrap().count(), 1);
    let seqs = append(&queue, vec![event("{}")]).await;
    assert!(seqs[0] > read.last().unwrap().seq);
    close(queue).await;
}
