//! Dead letters, ledger and deduplication over restarts; what the directory tells from outside.

use std::path::Path;
use std::sync::Arc;

use trunkline::clock::Clock;
use trunkline::config;
use trunkline::event::{Door, Envelope, Lane};
use trunkline::metrics::Metrics;
use trunkline::queue::{Appended, Backlog, DeadLetter, Fate, Outcome, Queue, ReplayError, Stored};

use crate::kit::{
    append, close, copy, dead, event, event_in, eventually, files, open, read_all, settings, settle,
    settlements, small_segments, try_open, until,
};

const LANE: Lane = Lane::Conversations;

fn letters(queue: &Queue) -> Vec<DeadLetter> {
    let mut found: Vec<DeadLetter> = Vec::new();
    while let Some(letter) = queue.dead_letters().next(found.last().map_or(0, |last| last.number)).unwrap() {
        found.push(letter);
    }
    found
}

fn bodies(stored: &[Stored]) -> Vec<&[u8]> {
    stored.iter().map(|stored| stored.event.body.as_ref()).collect()
}

/// A queue with these events, all dead.
async fn with_dead(dir: &Path, bodies: &[&str]) -> (Queue, Vec<Stored>) {
    let queue = open(dir);
    let stored = append(&queue, bodies.iter().map(|body| event(body)).collect()).await;
    settle(&queue, &stored, dead("disconnectType is wrong")).await;
    (queue, stored)
}

async fn replay(queue: &Queue, letter: DeadLetter, event: Envelope) -> Result<u64, ReplayError> {
    let dead_letters = queue.dead_letters();
    tokio::task::spawn_blocking(move || dead_letters.replay(letter, event)).await.unwrap()
}

#[tokio::test]
async fn dead_letters_are_listed_in_order_of_death_also_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let (queue, stored) = with_dead(dir.path(), &["{\"n\":1}", "{\"n\":2}", "{\"n\":3}"]).await;
    let before = letters(&queue);
    let second = before[1].clone();
    queue.dead_letters().discard(vec![second]).unwrap();

    close(queue).await;
    let queue = open(dir.path());

    let after = letters(&queue);
    assert_eq!(
        before.iter().map(|letter| &letter.stored).collect::<Vec<_>>(),
        stored.iter().collect::<Vec<_>>()
    );
    assert_eq!(after, [before[0].clone(), before[2].clone()]);
    assert_eq!((queue.dead_letters().count(LANE), queue.dead_letters().count(Lane::Presence)), (2, 0));
    close(queue).await;
}

#[tokio::test]
async fn a_new_event_of_the_same_id_supersedes_its_dead_letter() {
    let dir = tempfile::tempdir().unwrap();
    let (queue, stored) = with_dead(dir.path(), &["{\"wrong\":1}", "{\"n\":2}"]).await;
    let mended = Envelope { body: "{\"right\":1}".into(), ..stored[0].event.clone() };

    append(&queue, vec![mended]).await;

    assert_eq!(
        letters(&queue).iter().map(|letter| letter.stored.clone()).collect::<Vec<_>>(),
        [stored[1].clone()]
    );
    assert_eq!(bodies(&read_all(&queue, LANE).await), [b"{\"right\":1}"]);
    let fates: Vec<Fate> = queue
        .ledger()
        .find(&stored[0].event.event_id.to_string(), 10)
        .entries
        .into_iter()
        .map(|entry| entry.fate)
        .collect();
    assert_eq!(fates[1..], [Fate::Superseded]);
    close(queue).await;
    let queue = open(dir.path());
    assert_eq!(letters(&queue).len(), 1);
    close(queue).await;
}

#[tokio::test]
async fn replayed_letters_are_accepted_again_in_order_and_leave_the_dead() {
    let dir = tempfile::tempdir().unwrap();
    let (queue, stored) = with_dead(dir.path(), &["{\"n\":1}", "{\"n\":2}"]).await;

    for letter in letters(&queue) {
        let event = letter.stored.event.clone();
        replay(&queue, letter, event).await.unwrap();
    }

    let read = read_all(&queue, LANE).await;
    assert_eq!(bodies(&read), bodies(&stored));
    assert!(read.iter().all(|again| again.event.door == Door::Replay));
    assert_eq!(letters(&queue), []);
    close(queue).await;
}

#[tokio::test]
async fn a_replay_that_finds_no_room_leaves_the_letter_and_can_be_resumed() {
    let dir = tempfile::tempdir().unwrap();
    let (queue, _) = with_dead(dir.path(), &["{\"n\":1}"]).await;
    close(queue).await;
    let queue =
        try_open(&trunkline::config::QueueConfig { min_free_disk: u64::MAX, ..settings(dir.path(), "") })
            .unwrap();
    let letter = letters(&queue).remove(0);

    let refused = replay(&queue, letter.clone(), letter.stored.event.clone()).await;
    close(queue).await;
    let queue = open(dir.path());
    let left = letters(&queue);
    let resumed = replay(&queue, letter.clone(), letter.stored.event.clone()).await;

    assert!(matches!(refused, Err(ReplayError::Refused(_))), "{refused:?}");
    assert_eq!(left, [letter]);
    assert!(resumed.is_ok());
    assert_eq!((letters(&queue).len(), read_all(&queue, LANE).await.len()), (0, 1));
    close(queue).await;
}

#[tokio::test]
async fn a_letter_written_twice_for_one_settlement_is_one_letter() {
    let dir = tempfile::tempdir().unwrap();
    let queue = open(dir.path());
    let stored = append(&queue, vec![event("{}")]).await;

    settle(&queue, &stored, dead("no")).await;
    settle(&queue, &stored, dead("no")).await;

    assert_eq!(letters(&queue).len(), 1);
    assert_eq!(queue.dead_letters().count(LANE), 1);
    close(queue).await;
}

#[tokio::test]
async fn dead_letters_are_discarded_at_their_age() {
    let dir = tempfile::tempdir().unwrap();
    let (queue, _) = with_dead(dir.path(), &["{\"n\":1}"]).await;
    close(queue).await;

    let queue = try_open(&settings(dir.path(), "dead_letters_max_age = \"1ms\"\n")).unwrap();

    until("the letter is discarded", || queue.dead_letters().count(LANE) == 0).await;
    assert_eq!(letters(&queue), []);
    close(queue).await;
}

#[tokio::test]
async fn the_ledger_tells_what_became_of_an_event_by_any_of_its_ids_also_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let queue = open(dir.path());
    let conversation = "0b5a2a3e-6c9f-4a53-8f5e-7d1c2b3a4d5e";
    let body = format!(
        "{{\"conversationId\":\"{conversation}\",\"communicationId\":\"c-7\",\"sourceConfiguration\":{{\"interactionId\":\"PBX-1\"}}}}"
    );
    let stored = append(&queue, vec![event(&body), event("{\"userId\":\"anna\",\"agentId\":\"A7\"}")]).await;
    settle(&queue, &stored[..1], Outcome::Delivered).await;
    settle(&queue, &stored[1..], dead("no")).await;

    close(queue).await;
    let queue = open(dir.path());

    let ledger = queue.ledger();
    for id in [conversation, "C-7", "PBX-1", &stored[0].event.event_id.to_string()] {
        let found = ledger.find(id, 10).entries;
        assert_eq!(found.len(), 1, "{id}");
        assert_eq!((found[0].seq, found[0].fate, found[0].attempts), (stored[0].seq, Fate::Delivered, 3));
        assert_eq!((found[0].status, found[0].correlation_id.as_deref()), (Some(400), Some("c-1")));
        assert_eq!(found[0].accepted_at_ms, stored[0].event.accepted_at_ms);
        assert_eq!((found[0].door, found[0].uid), (Door::Stream, 1000));
        assert_eq!(found[0].ids.interaction.as_deref(), Some("PBX-1"));
    }
    for id in ["anna", "A7"] {
        let found = ledger.find(id, 10).entries;
        assert!(matches!(found[..], [ref entry] if matches!(entry.fate, Fate::Dead(_))), "{id}: {found:?}");
    }
    assert!(ledger.find("nobody", 10).entries.is_empty());
    close(queue).await;
}

#[tokio::test]
async fn bodies_leave_the_disk_and_the_ledger_keeps_none() {
    let dir = tempfile::tempdir().unwrap();
    let queue = open(dir.path());
    let secret = "+49 30 901820";
    let stored = append(&queue, vec![event(&format!("{{\"ani\":\"{secret}\"}}"))]).await;

    settle(&queue, &stored, Outcome::Delivered).await;

    let holds_it = |path: &std::path::PathBuf| {
        let raw = std::fs::read(path).unwrap_or_default();
        raw.windows(secret.len()).any(|part| part == secret.as_bytes())
    };
    until("the body leaves the disk", || !files(dir.path()).iter().any(holds_it)).await;
    close(queue).await;
}

#[tokio::test]
async fn questions_about_health_change_nothing_of_what_follows_when_it_is_quiet() {
    let dir = tempfile::tempdir().unwrap();
    let metrics = Arc::new(Metrics::new());
    let queue = Queue::open(&settings(dir.path(), ""), Clock::system(), metrics.clone()).unwrap();
    let stored = append(&queue, vec![event("{\"ani\":\"+49 30 901820\"}"), event("{}")]).await;
    settle(&queue, &stored[..1], Outcome::Delivered).await;
    settle(&queue, &stored[1..], dead("no")).await;

    let holds_it = |path: &std::path::PathBuf| {
        let raw = std::fs::read(path).unwrap_or_default();
        raw.windows(13).any(|part| part == b"+49 30 901820")
    };
    let came = eventually(async || {
        queue.caretaker().health().await?;
        let is_gone = !files(&dir.path().join("queue/lanes")).iter().any(holds_it);
        let is_counted = metrics.render().contains("trunkline_dead_letters{lane=\"conversations\"} 1");
        (is_gone && is_counted).then_some(())
    });

    assert!(came.await.is_some(), "polling puts off what is due");
    close(queue).await;
}

#[tokio::test]
async fn what_died_may_come_again_when_letter_and_ledger_are_gone_and_the_daemon_restarts() {
    let dir = tempfile::tempdir().unwrap();
    let config = config::QueueConfig { keep_ledger_size: 0, ..small_segments(dir.path()) };
    let queue = try_open(&config).unwrap();
    let stored = append(&queue, vec![event("{\"wrong\":1}")]).await;
    settle(&queue, &stored, dead("no")).await;
    queue.dead_letters().discard(letters(&queue)).unwrap();
    let is_in_ledger = || !queue.ledger().find(&stored[0].event.event_id.to_string(), 1).entries.is_empty();
    while is_in_ledger() {
        let others = append(&queue, (0..200).map(|_| event("{}")).collect()).await;
        settle(&queue, &others, Outcome::Delivered).await;
    }
    close(queue).await;

    let queue = try_open(&config).unwrap();
    let again = queue.writer().submit(vec![stored[0].event.clone()]).await;

    assert!(matches!(again[..], [Ok(Appended::Stored(_))]), "{again:?}");
    close(queue).await;
}

#[tokio::test]
async fn what_was_settled_stays_settled_when_the_ledger_is_pruned() {
    let dir = tempfile::tempdir().unwrap();
    let config = trunkline::config::QueueConfig { keep_ledger_size: 0, ..small_segments(dir.path()) };
    let queue = try_open(&config).unwrap();
    let held = append(&queue, (0..20).map(|_| event("{\"held\":1}")).collect()).await;
    settle(&queue, &held[..10], Outcome::Delivered).await;
    let rounds = 40;
    for _ in 0..rounds {
        let stored = append(&queue, (0..50).map(|_| event("{\"conversationId\":\"some\"}")).collect()).await;
        settle(&queue, &stored, Outcome::Delivered).await;
    }
    close(queue).await;

    let queue = try_open(&config).unwrap();

    assert_eq!(read_all(&queue, LANE).await, held[10..]);
    let ledger_segments =
        || files(&dir.path().join("queue/ledger")).iter().filter(|path| path.ends_with("header")).count();
    settle(&queue, &held[10..11], Outcome::Delivered).await;
    until("the ledger is pruned", || ledger_segments() <= 1).await;
    close(queue).await;
    let queue = try_open(&config).unwrap();
    assert_eq!(read_all(&queue, LANE).await, held[11..]);
    close(queue).await;
}

#[tokio::test]
async fn a_repeat_is_known_after_a_kill_whether_its_event_waits_or_is_settled_and_gone() {
    let (dir, killed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let config = small_segments(dir.path());
    let queue = try_open(&config).unwrap();
    let events: Vec<Envelope> = (0..100).map(|_| event_in(LANE, vec![b'x'; 4_000])).collect();
    let stored = append(&queue, events.clone()).await;
    settle(&queue, &stored[..60], Outcome::Delivered).await;
    copy(dir.path(), killed.path());
    close(queue).await;

    let queue = try_open(&small_segments(killed.path())).unwrap();
    let again = queue.writer().submit(events).await;
    let others = queue.writer().submit(vec![event("{}")]).await;

    assert!(again.iter().all(|result| *result == Ok(Appended::Duplicate)), "{again:?}");
    assert!(matches!(others[0], Ok(Appended::Stored(_))));
    assert_eq!(queue.reader().depth(LANE).events, 41);
    close(queue).await;
}

#[tokio::test]
async fn what_died_may_come_again_after_a_restart_though_its_letter_was_discarded_meanwhile() {
    // Its segment of the lane stays, or has left nothing but its ids.
    for (is_killed, is_gone) in [(false, false), (false, true), (true, false), (true, true)] {
        let (dir, killed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let queue = open(dir.path());
        let stored = append(&queue, vec![event("{\"wrong\":1}"), event("{\"n\":2}")]).await;
        settle(&queue, &stored[..1], dead("no")).await;
        queue.dead_letters().discard(letters(&queue)).unwrap();
        if is_gone {
            settle(&queue, &stored[1..], Outcome::Delivered).await;
            let segment = dir.path().join("queue/lanes/conversations/00000000000001048576");
            let is_left = || segment.exists() || segment.with_extension("gone").exists();
            until("its segment is deleted", || !is_left()).await;
        }
        copy(dir.path(), killed.path());
        close(queue).await;

        let queue = open(if is_killed { killed.path() } else { dir.path() });
        let mended = Envelope { body: "{\"right\":1}".into(), ..stored[0].event.clone() };
        let again = queue.writer().submit(vec![mended.clone(), stored[1].event.clone()]).await;
        let mended_again = queue.writer().submit(vec![mended]).await;

        assert!(matches!(again[..], [Ok(Appended::Stored(_)), Ok(Appended::Duplicate)]), "{again:?}");
        assert_eq!(mended_again, [Ok(Appended::Duplicate)]);
        assert_eq!(read_all(&queue, LANE).await.len(), 2 - usize::from(is_gone));
        close(queue).await;
    }
}

#[tokio::test]
async fn what_died_and_came_again_is_a_repeat_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let (queue, stored) = with_dead(dir.path(), &["{\"wrong\":1}"]).await;
    let mended = Envelope { body: "{\"right\":1}".into(), ..stored[0].event.clone() };
    append(&queue, vec![mended.clone()]).await;
    close(queue).await;

    let queue = open(dir.path());

    assert_eq!(queue.writer().submit(vec![mended]).await, [Ok(Appended::Duplicate)]);
    close(queue).await;
}

#[tokio::test]
async fn a_settlement_whose_events_are_gone_is_harmless() {
    let dir = tempfile::tempdir().unwrap();
    let queue = open(dir.path());
    let stored = append(&queue, vec![event("{}")]).await;
    settle(&queue, &stored, Outcome::Delivered).await;

    let again = queue.reader().settle(settlements(&stored, &Outcome::Delivered)).await;

    assert!(again.is_ok());
    close(queue).await;
}

#[tokio::test]
async fn the_body_of_a_discarded_letter_leaves_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let secret = "+49 30 901820";
    let (queue, _) = with_dead(dir.path(), &[&format!("{{\"ani\":\"{secret}\"}}")]).await;

    queue.dead_letters().discard(letters(&queue)).unwrap();

    let holds_it = |path: &std::path::PathBuf| {
        let raw = std::fs::read(path).unwrap_or_default();
        raw.windows(secret.len()).any(|part| part == secret.as_bytes())
    };
    until("the body leaves the disk", || !files(dir.path()).iter().any(holds_it)).await;
    close(queue).await;
}

#[tokio::test]
async fn a_repeat_is_known_after_a_restart_also_when_all_was_settled_and_nothing_is_left() {
    let dir = tempfile::tempdir().unwrap();
    let queue = open(dir.path());
    let stored = append(&queue, vec![event("{\"n\":1}")]).await;
    settle(&queue, &stored, Outcome::Delivered).await;
    let dedupe = dir.path().join("queue/dedupe");
    until("its segment is deleted", || files(&dedupe).len() == 1).await;
    close(queue).await;

    let queue = open(dir.path());

    let again = queue.writer().submit(vec![stored[0].event.clone()]).await;
    assert_eq!(again, [Ok(Appended::Duplicate)]);
    close(queue).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_replays_of_one_letter_at_once_accept_it_once() {
    let dir = tempfile::tempdir().unwrap();
    let (queue, _) = with_dead(dir.path(), &["{}"; 20]).await;

    let mut done = Vec::new();
    for letter in letters(&queue) {
        let event = &letter.stored.event;
        let [one, other] = [(), ()].map(|()| replay(&queue, letter.clone(), event.clone()));
        let both = tokio::join!(one, other);
        done.extend([both.0, both.1]);
    }

    let ended = done.iter().filter(|done| matches!(done, Err(ReplayError::Ended))).count();
    assert_eq!((ended, done.iter().filter(|done| done.is_ok()).count()), (20, 20), "{done:?}");
    assert_eq!((letters(&queue).len(), read_all(&queue, LANE).await.len()), (0, 20));
    close(queue).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_and_a_repeat_of_one_event_at_once_accept_it_once() {
    let dir = tempfile::tempdir().unwrap();
    let (queue, _) = with_dead(dir.path(), &["{}"; 20]).await;

    for letter in letters(&queue) {
        let event = letter.stored.event.clone();
        let repeat = queue.writer().submit(vec![event.clone()]);
        let (_, repeated) = tokio::join!(replay(&queue, letter, event), repeat);
        assert!(repeated[0].is_ok(), "{repeated:?}");
    }

    assert_eq!((letters(&queue).len(), read_all(&queue, LANE).await.len()), (0, 20));
    close(queue).await;
}

#[tokio::test]
async fn a_letter_that_ended_cannot_be_replayed_once_more() {
    let dir = tempfile::tempdir().unwrap();
    let (queue, _) = with_dead(dir.path(), &["{\"n\":1}"]).await;
    let letter = letters(&queue).remove(0);
    replay(&queue, letter.clone(), letter.stored.event.clone()).await.unwrap();

    let again = replay(&queue, letter.clone(), letter.stored.event.clone()).await;

    assert!(matches!(again, Err(ReplayError::Ended)), "{again:?}");
    assert_eq!(read_all(&queue, LANE).await.len(), 1);
    close(queue).await;
}
