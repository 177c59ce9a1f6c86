//! A disk that does not give what was written to it, for a while: nothing is lost for it, and nothing deleted.

use std::path::Path;
use std::time::Duration;

use trunkline::clock::Clock;
use trunkline::event::Lane;
use trunkline::queue::{Outcome, Queue, Stored};

use crate::kit::{
    append, close, copy, dead, event, event_in, files, open, read_all, settings, settle, try_letters,
    try_open_at, until,
};
use crate::layer::bad_reads::{fail, failed, heal};

const LANE: Lane = Lane::Conversations;
const LANE_DIR: &str = "queue/lanes/conversations";
/// Above what a queue takes to let go of what is settled once nothing comes.
const REST: Duration = Duration::from_millis(3_500);

/// Thirty events of 3 kB, a commit each, and what a kill leaves of them.
async fn killed_queue(killed: &Path) -> Vec<Stored> {
    let home = tempfile::tempdir().unwrap();
    let queue = open(home.path());
    let mut stored = Vec::new();
    for _ in 0..30 {
        stored.extend(append(&queue, vec![event_in(LANE, vec![b'x'; 3_000])]).await);
    }
    copy(home.path(), killed);
    close(queue).await;
    stored
}

async fn open_aside(dir: &Path) -> Queue {
    let dir = dir.to_path_buf();
    tokio::task::spawn_blocking(move || open(&dir)).await.unwrap()
}

#[tokio::test]
async fn what_the_disk_does_not_give_at_a_start_comes_with_the_next_one() {
    for range in [40_000..i64::MAX, 20_000..28_000] {
        let dir = tempfile::tempdir().unwrap();
        let stored = killed_queue(dir.path()).await;

        fail(&dir.path().join(LANE_DIR), range.clone());
        let queue = open_aside(dir.path()).await;
        heal(dir.path());
        let mut read = read_all(&queue, LANE).await;
        let at_first = read.len();
        settle(&queue, &read, Outcome::Delivered).await;
        let new = append(&queue, vec![event("{\"new\":1}")]).await;
        settle(&queue, &new, Outcome::Delivered).await;
        tokio::time::sleep(REST).await;
        close(queue).await;
        let kept = files(&dir.path().join("queue/quarantine"));
        let queue = open_aside(dir.path()).await;
        read.extend(read_all(&queue, LANE).await);
        close(queue).await;

        read.sort_by_key(|stored| stored.seq);
        assert!((1..30).contains(&at_first), "{range:?}: {at_first} of 30 at first");
        assert!(read == stored, "{range:?}: {} of 30", read.len());
        assert!(kept.iter().any(|path| path.ends_with("db")), "{range:?}: {kept:?}");
    }
}

#[tokio::test]
async fn a_start_waits_some_seconds_for_a_disk_that_does_not_give() {
    let dir = tempfile::tempdir().unwrap();
    let stored = killed_queue(dir.path()).await;

    fail(&dir.path().join(LANE_DIR), 40_000..i64::MAX);
    let healing = async {
        until("the start finds out", || failed(dir.path()) > 0).await;
        heal(dir.path());
    };
    let (queue, ()) = tokio::join!(open_aside(dir.path()), healing);

    assert!(read_all(&queue, LANE).await == stored);
    assert_eq!(files(&dir.path().join("queue/quarantine")), [] as [std::path::PathBuf; 0]);
    close(queue).await;
}

/// What lies between two looks at letters that the disk does not give.
const BETWEEN_LOOKS: Duration = Duration::from_secs(5);

/// A queue that was opened anew over five dead letters.
async fn with_five_letters(dir: &Path, clock: &Clock) -> Queue {
    let open = || try_open_at(&settings(dir, ""), clock.clone()).unwrap();
    let queue = open();
    let stored = append(&queue, (0..5).map(|_| event("{}")).collect()).await;
    settle(&queue, &stored, dead("no")).await;
    close(queue).await;
    open()
}

#[tokio::test]
async fn dead_letters_that_the_disk_does_not_give_for_a_moment_are_all_there_afterwards() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Clock::manual(1_800_000_000_000);
    let queue = with_five_letters(dir.path(), &clock).await;

    fail(&dir.path().join("queue/dead"), 0..i64::MAX);
    let meanwhile: Vec<bool> = (0..20).map(|_| try_letters(&queue).is_err()).collect();
    heal(dir.path());
    clock.advance(BETWEEN_LOOKS);

    assert_eq!(meanwhile, [true; 20]);
    assert_eq!((try_letters(&queue).unwrap().len(), queue.dead_letters().count(LANE)), (5, 5));
    let more = append(&queue, vec![event("{}")]).await;
    settle(&queue, &more, Outcome::Delivered).await;
    close(queue).await;
    let queue = open(dir.path());
    assert_eq!(try_letters(&queue).unwrap().len(), 5);
    assert_eq!(files(&dir.path().join("queue/quarantine")), [] as [std::path::PathBuf; 0]);
    close(queue).await;
}

#[tokio::test]
async fn dead_letters_that_the_disk_never_gives_are_neither_counted_nor_in_the_way_of_others() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Clock::manual(1_800_000_000_000);
    let queue = with_five_letters(dir.path(), &clock).await;
    let other = append(&queue, vec![event("{\"other\":1}")]).await;
    settle(&queue, &other, dead("no")).await;

    fail(&dir.path().join("queue/dead/00000000000001048576"), 0..i64::MAX);
    let mut looks = 1;
    while try_letters(&queue).is_err() {
        looks += 1;
        clock.advance(BETWEEN_LOOKS);
    }
    heal(dir.path());

    let left: Vec<Stored> = try_letters(&queue).unwrap().into_iter().map(|letter| letter.stored).collect();
    assert!(left == other && queue.dead_letters().count(LANE) == 1, "{left:?}");
    assert_eq!(looks, 12);
    assert!(files(&dir.path().join("queue/quarantine")).iter().any(|path| path.ends_with("db")));
    close(queue).await;
}
