//! Events whose bytes were damaged on disk: told, and no repeat when they come again.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::kit::{append, close, event_with_id, files_named, read_all, small_segments, try_open, until};
use trunkline::clock::Clock;
use trunkline::event::Lane;
use trunkline::queue::{Appended, Backlog, Fate, Queue, Stored};
use uuid::Uuid;

const LANE: Lane = Lane::Conversations;

/// Three segments of events, each in an append of its own.
async fn filled(queue: &Queue) -> Vec<Stored> {
    let mut all = Vec::new();
    for _ in 0..300 {
        let event = event_with_id(LANE, Uuid::new_v4(), 600, Clock::system().unix_ms());
        all.extend(append(queue, vec![event]).await);
    }
    all
}

/// Breaks every copy of the event in the files of `dir`; gives how many there were.
fn damage(dir: &Path, stored: &Stored) -> usize {
    let mut copies = 0;
    for path in files_named(dir, "db") {
        let raw = fs::read(&path).unwrap();
        let body = &stored.event.body[..];
        let found = raw.windows(body.len()).enumerate().filter(|(_, part)| *part == body);
        let file = fs::File::options().write(true).open(&path).unwrap();
        for (at, _) in found {
            file.write_all_at(&[raw[at] ^ 1], at as u64).unwrap();
            copies += 1;
        }
    }
    copies
}

fn fate(queue: &Queue, stored: &Stored) -> Option<Fate> {
    let found = queue.ledger().find(&stored.event.event_id.to_string(), 1).entries;
    found.first().map(|entry| entry.fate)
}

async fn again(queue: &Queue, stored: &Stored) -> Appended {
    queue.writer().submit(vec![stored.event.clone()]).await.remove(0).unwrap()
}

#[tokio::test]
async fn what_was_lost_stands_in_the_ledger_and_may_come_again_also_after_a_restart() {
    for has_ids in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let queue = try_open(&small_segments(dir.path())).unwrap();
        let all = filled(&queue).await;
        // Two of the oldest segment, which is closed.
        let lost = [&all[3], &all[5]];
        until("the first segment is closed", || !files_named(dir.path(), "ids").is_empty()).await;
        for stored in lost {
            assert!(damage(dir.path(), stored) > 0);
        }
        if !has_ids {
            files_named(dir.path(), "ids").iter().for_each(|path| fs::remove_file(path).unwrap());
        }

        let read = read_all(&queue, LANE).await;
        let came = again(&queue, lost[0]).await;
        close(queue).await;
        let queue = try_open(&small_segments(dir.path())).unwrap();
        let came_later = again(&queue, lost[1]).await;
        let came_thrice = again(&queue, lost[0]).await;

        assert_eq!(read.len(), all.len() - 2);
        assert!(matches!(came, Appended::Stored(_)), "with ids: {has_ids}");
        assert!(matches!(came_later, Appended::Stored(_)), "with ids: {has_ids}");
        assert_eq!(came_thrice, Appended::Duplicate);
        let known = has_ids.then_some(Fate::Lost);
        assert_eq!([fate(&queue, lost[0]), fate(&queue, lost[1])], [known; 2]);
        assert_eq!(queue.reader().depth(LANE).events, all.len() as u64);
        close(queue).await;
    }
}
