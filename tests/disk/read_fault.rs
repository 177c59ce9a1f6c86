//! A disk that does not give what was written to it, for a while: nothing is lost for it, and nothing deleted.

use std::path::Path;
use std::time::Duration;

use trunkline::clock::Clock;
use trunkline::config;
use trunkline::event::Lane;
use trunkline::queue::{Appended, Backlog, OpenError, Outcome, Owner, Page, Queue, QueueError, Seq, Stored};

use crate::kit::{
    append, close, copy, copy_at_rest, dead, event, event_in, files, files_named, open, read_all, settings,
    settle, small_segments, try_letters, try_open, try_open_at, until,
};
use crate::layer::bad_reads::{fail, fail_once, failed, heal, refuse_links, refuse_opens};
use crate::layer::stalled_syncs::{hanging, let_go, stall};

const LANE: Lane = Lane::Conversations;
const LANE_DIR: &str = "queue/lanes/conversations";
/// As long as two looks are ever apart.
const A_LOOK: Duration = Duration::from_secs(60);
/// Looks at a disk that does not give: far more than a minute's.
const LOOKS: usize = 30;
/// What a system says when it is short of something, or somebody was careless.
const PASSING: [i32; 7] =
    [libc::EIO, libc::EMFILE, libc::ENFILE, libc::ENOMEM, libc::EACCES, libc::ENOENT, libc::ETIMEDOUT];

fn open_with(dir: &Path, clock: &Clock) -> Queue {
    try_open_at(&settings(dir, ""), clock.clone()).unwrap()
}

async fn read_from(queue: &Queue, from: Seq) -> Result<Page, QueueError> {
    queue.reader().read(LANE, from, 7, 1 << 20).await
}

fn nothing_in_quarantine(dir: &Path) -> bool {
    files(&dir.join("queue/quarantine")).is_empty()
}

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

/// Some closed segments of a lane, and one event in another lane.
async fn closed_segments(dir: &Path) -> Vec<Stored> {
    let queue = try_open(&small_segments(dir)).unwrap();
    let mut stored = Vec::new();
    for _ in 0..20 {
        stored.extend(append(&queue, (0..3).map(|_| event_in(LANE, vec![b'x'; 4_000])).collect()).await);
    }
    append(&queue, vec![event_in(Lane::Presence, "{}")]).await;
    close(queue).await;
    stored
}

#[tokio::test]
async fn a_closed_segment_that_cannot_be_opened_or_read_holds_its_lane_for_as_long_as_it_takes() {
    let home = tempfile::tempdir().unwrap();
    let stored = closed_segments(home.path()).await;
    for fault in PASSING.map(Some).into_iter().chain([None]) {
        let dir = tempfile::tempdir().unwrap();
        copy(home.path(), dir.path());
        let clock = Clock::manual(1_800_000_000_000);
        let queue = open_with(dir.path(), &clock);

        for db in files_named(&dir.path().join(LANE_DIR), "db") {
            match fault {
                Some(errno) => refuse_opens(db.parent().unwrap(), "db", errno),
                None => fail(db.parent().unwrap(), 20_000..24_000),
            }
        }
        let mut faults = Vec::new();
        for _ in 0..LOOKS {
            faults.push(read_from(&queue, 1).await.map_err(|error| error.to_string()));
            clock.advance(A_LOOK);
        }
        let other = read_all(&queue, Lane::Presence).await;
        let new = append(&queue, vec![event("{\"new\":1}")]).await;
        heal(dir.path());
        let read = read_all(&queue, LANE).await;

        let says_where = |fault: &Result<Page, String>| fault.as_ref().is_err_and(|it| it.contains(LANE_DIR));
        assert!(faults.iter().all(says_where), "{fault:?}: {faults:?}");
        assert_eq!(other.len(), 1, "{fault:?}");
        assert!(read == [&stored[..], &new].concat(), "{fault:?}: {} of 61", read.len());
        assert!(nothing_in_quarantine(dir.path()), "{fault:?}");
        close(queue).await;
    }
}

#[tokio::test]
async fn between_two_looks_the_disk_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let stored = closed_segments(dir.path()).await;
    let clock = Clock::manual(1_800_000_000_000);
    let queue = open_with(dir.path(), &clock);

    fail(&dir.path().join(LANE_DIR), 0..i64::MAX);
    let first = read_from(&queue, 1).await;
    let reads = failed(dir.path());
    let too_early = read_from(&queue, 1).await;
    let reads_after = failed(dir.path());
    heal(dir.path());
    clock.advance(Duration::from_secs(1));
    let read = read_all(&queue, LANE).await;

    assert!(first.is_err() && too_early.is_err());
    assert!(reads > 0 && reads_after == reads, "{reads} reads, then {reads_after}");
    assert!(read == stored, "{} of 60", read.len());
    close(queue).await;
}

#[tokio::test]
async fn an_append_under_way_is_kept_although_its_segment_cannot_be_read_meanwhile() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Clock::manual(1_800_000_000_000);
    let queue = open_with(dir.path(), &clock);
    let lane = dir.path().join(LANE_DIR);
    // More pages than the store keeps in memory.
    let mut stored = Vec::new();
    for _ in 0..4_000 {
        stored.extend(append(&queue, vec![event_in(LANE, vec![b'x'; 600])]).await);
    }
    let next = lane.join("00000000000002097152/db");
    until("the next segment is made", || next.exists()).await;

    stall(&lane);
    let ticket = queue.writer().submit(vec![event("{\"new\":1}")]);
    until("its sync hangs", || hanging(&lane) > 0).await;
    fail(&lane.join("00000000000001048576"), 0..i64::MAX);
    // The store lets pages go only after thousands of looks at them.
    let mut held = false;
    for stored in stored.iter().cycle().take(30 * stored.len()) {
        held |= read_from(&queue, stored.seq).await.is_err();
        if held {
            break;
        }
    }
    heal(dir.path());
    let_go(&lane);
    let answer = ticket.await;
    let later = append(&queue, vec![event("{\"later\":1}")]).await;
    let read = read_all(&queue, LANE).await;
    close(queue).await;
    let queue = open(dir.path());
    let again = read_all(&queue, LANE).await;

    assert!(held, "nothing was read from the file");
    assert!(matches!(answer[..], [Ok(Appended::Stored(_))]), "{answer:?}");
    let seqs = |events: &[Stored]| events.iter().map(|stored| stored.seq).collect::<Vec<_>>();
    assert_eq!(read.len(), stored.len() + 2, "{:?}", seqs(&read));
    assert!(read[..stored.len()] == stored && read.ends_with(&later));
    assert_eq!(seqs(&again), seqs(&read));
    close(queue).await;
}

#[tokio::test]
async fn a_look_at_a_file_that_cannot_be_read_ends_with_its_first_fault() {
    let dir = tempfile::tempdir().unwrap();
    let queue = open(dir.path());
    for _ in 0..10 {
        append(&queue, (0..20).map(|_| event_in(LANE, vec![b'x'; 20_000])).collect()).await;
    }
    close(queue).await;
    let queue = open_with(dir.path(), &Clock::manual(1_800_000_000_000));

    fail(&dir.path().join(LANE_DIR), 0..i64::MAX);
    let held = read_from(&queue, 1).await.is_err();
    let reads = failed(dir.path());
    heal(dir.path());

    assert!(held);
    // A disk that dies may take minutes for each.
    assert!((1..=2).contains(&reads), "{reads} reads");
    close(queue).await;
}

#[tokio::test]
async fn a_header_or_a_database_that_a_start_cannot_read_stays_and_is_looked_at_again() {
    let home = tempfile::tempdir().unwrap();
    let stored = killed_queue(home.path()).await;
    let faults = PASSING.into_iter().filter(|errno| *errno != libc::EACCES);
    let refused = faults.flat_map(|errno| [("header", Some(errno)), ("db", Some(errno))]);
    for (name, errno) in refused.chain([("db", None)]) {
        let dir = tempfile::tempdir().unwrap();
        copy(home.path(), dir.path());
        let clock = Clock::manual(1_800_000_000_000);

        match errno {
            Some(errno) => refuse_opens(&dir.path().join(LANE_DIR), name, errno),
            None => fail(&dir.path().join(LANE_DIR), 20_000..28_000),
        }
        let queue = open_with(dir.path(), &clock);
        heal_opens_of_new_segments(&dir.path().join(LANE_DIR), name, errno);
        let new = append(&queue, vec![event("{\"new\":1}")]).await;
        let mut held = true;
        for _ in 0..LOOKS {
            held &= read_from(&queue, 1).await.is_err();
            clock.advance(A_LOOK);
        }
        heal(dir.path());
        let read = read_all(&queue, LANE).await;
        settle(&queue, &read, Outcome::Delivered).await;
        close(queue).await;
        let queue = open(dir.path());
        let left = read_all(&queue, LANE).await;

        assert!(held, "{name} {errno:?}");
        assert!(read == [&stored[..], &new].concat(), "{name} {errno:?}: {} of 31", read.len());
        assert!(left.is_empty(), "{name} {errno:?}: {} again", left.len());
        assert!(nothing_in_quarantine(dir.path()), "{name} {errno:?}");
        close(queue).await;
    }
}

/// From here on only the first segment is refused.
fn heal_opens_of_new_segments(lane: &Path, name: &'static str, errno: Option<i32>) {
    let Some(errno) = errno else { return };
    heal(lane);
    refuse_opens(&lane.join("00000000000001048576"), name, errno);
}

#[tokio::test]
async fn a_start_that_is_denied_a_file_is_refused_and_names_it() {
    let dir = tempfile::tempdir().unwrap();
    killed_queue(dir.path()).await;

    for name in ["header", "db"] {
        refuse_opens(&dir.path().join(LANE_DIR), name, libc::EACCES);
        let denied = try_open(&settings(dir.path(), "")).map(drop);
        heal(dir.path());

        let Err(OpenError::Permission { path }) = denied else { panic!("{name}: {denied:?}") };
        assert!(path.ends_with(format!("00000000000001048576/{name}")), "{}", path.display());
    }
}

#[tokio::test]
async fn a_start_without_its_ledger_is_refused_and_the_next_one_sends_nothing_again() {
    let dir = tempfile::tempdir().unwrap();
    let queue = open(dir.path());
    let stored = append(&queue, vec![event("{}"), event("{}")]).await;
    settle(&queue, &stored[..1], Outcome::Delivered).await;
    close(queue).await;

    for name in ["header", "db"] {
        refuse_opens(&dir.path().join("queue/ledger"), name, libc::EIO);
        let refused = try_open(&settings(dir.path(), "")).map(drop);
        heal(dir.path());

        assert!(
            matches!(&refused, Err(OpenError::Storage(fault)) if fault.contains("ledger")),
            "{refused:?}"
        );
    }
    let queue = open(dir.path());
    assert!(read_all(&queue, LANE).await == stored[1..]);
    close(queue).await;
}

#[tokio::test]
async fn an_old_part_of_the_ledger_that_cannot_be_read_refuses_no_start_and_stays() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = dir.path().join("queue/ledger");
    let config = small_segments(dir.path());
    let segments = || files_named(&ledger, "header");
    let queue = try_open(&config).unwrap();
    let (mut stored, mut oldest_id) = (Vec::new(), None);
    while segments().len() < 3 {
        stored = append(&queue, (0..200).map(|_| event("{}")).collect()).await;
        settle(&queue, &stored[1..], Outcome::Delivered).await;
        oldest_id.get_or_insert(stored[1].event.event_id.to_string());
    }
    close(queue).await;
    let (oldest, newest) = (segments().remove(0), segments().pop().unwrap());

    refuse_opens(newest.parent().unwrap(), "header", libc::EIO);
    let without_newest = try_open(&config).map(drop);
    heal(&ledger);
    refuse_opens(oldest.parent().unwrap(), "header", libc::EIO);
    let nothing_kept = config::QueueConfig { keep_ledger_size: 0, ..config };
    let queue = try_open(&nothing_kept).unwrap();
    let waiting = read_all(&queue, LANE).await;
    let before = segments();
    while segments().contains(&before[1]) {
        let others = append(&queue, (0..200).map(|_| event("{}")).collect()).await;
        settle(&queue, &others, Outcome::Delivered).await;
    }
    let traced = queue.ledger().find(&oldest_id.unwrap(), 10);
    close(queue).await;
    heal(&ledger);

    assert!(matches!(without_newest, Err(OpenError::Storage(_))), "{without_newest:?}");
    assert!(waiting.last() == Some(&stored[0]) && waiting.len() < 50, "{} wait", waiting.len());
    assert_eq!((traced.entries.len(), traced.unread.len()), (1, 0), "{traced:?}");
    assert!(oldest.exists(), "deleted without having been read");
}

#[tokio::test]
async fn an_owner_that_cannot_be_read_counts_as_one() {
    let dir = tempfile::tempdir().unwrap();
    let owner = |client: &str| Owner {
        region: "eu-central-1".to_owned(),
        client_id: Some(client.to_owned()),
        organisation: None,
    };
    let queue = open(dir.path());
    queue.claim(&owner("a")).unwrap();
    append(&queue, vec![event("{}")]).await;

    for errno in PASSING {
        refuse_opens(&dir.path().join("queue"), "owner", errno);
        let claimed = queue.claim(&owner("b"));
        heal(dir.path());

        assert!(claimed.is_err(), "{errno}: {claimed:?}");
        assert_eq!(queue.claim(&owner("a")).unwrap(), None, "{errno}");
    }
    close(queue).await;
}

#[tokio::test]
async fn what_was_settled_in_a_segment_that_a_start_could_not_read_stays_settled() {
    let dir = tempfile::tempdir().unwrap();
    let home = tempfile::tempdir().unwrap();
    let queue = open(home.path());
    let mut stored = Vec::new();
    for _ in 0..30 {
        stored.extend(append(&queue, vec![event_in(LANE, vec![b'x'; 3_000])]).await);
    }
    settle(&queue, &stored[..20], Outcome::Delivered).await;
    copy(home.path(), dir.path());
    close(queue).await;

    fail(&dir.path().join(LANE_DIR), 40_000..i64::MAX);
    for _ in 0..2 {
        // Each begins a segment of the ledger, with a snapshot.
        let queue = open(dir.path());
        let other = append(&queue, vec![event_in(Lane::Presence, "{}")]).await;
        settle(&queue, &other, Outcome::Delivered).await;
        close(queue).await;
    }
    heal(dir.path());
    let queue = open(dir.path());

    assert!(read_all(&queue, LANE).await == stored[20..]);
    close(queue).await;
}

/// Closed segments of which one is damaged in its first bodies.
async fn damaged_segments(dir: &Path) -> Vec<Stored> {
    let stored = closed_segments(dir).await;
    let db = files(&dir.join(LANE_DIR)).into_iter().find(|path| path.ends_with("db")).unwrap();
    let mut raw = std::fs::read(&db).unwrap();
    let bodies = raw.windows(4_000).position(|body| body == [b'x'; 4_000]).unwrap();
    raw[bodies + 2_000] = b'y';
    std::fs::write(&db, raw).unwrap();
    stored
}

#[tokio::test]
async fn evidence_is_copied_where_there_are_no_links_and_a_full_disk_gives_its_reserve_for_it() {
    for (errno, count) in [(libc::EXDEV, usize::MAX), (libc::EOPNOTSUPP, usize::MAX), (libc::ENOSPC, 1)] {
        let dir = tempfile::tempdir().unwrap();
        let stored = damaged_segments(dir.path()).await;
        let (quarantine, reserve) = (dir.path().join("queue/quarantine"), dir.path().join("queue/reserve"));
        let queue = open_with(dir.path(), &Clock::manual(1_800_000_000_000));
        until("the reserve is made", || reserve.exists()).await;

        refuse_links(&quarantine, errno, count);
        let read = read_all(&queue, LANE).await;

        assert!((50..60).contains(&read.len()) && read.iter().all(|event| stored.contains(event)), "{errno}");
        let db = files(&quarantine).into_iter().find(|path| path.ends_with("db")).unwrap();
        assert!(std::fs::read(db).unwrap().windows(4_000).any(|body| body[2_000] == b'y'), "{errno}");
        close(queue).await;
    }
}

#[tokio::test]
async fn a_segment_whose_events_are_lost_stays_until_the_ledger_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let queue = try_open(&small_segments(dir.path())).unwrap();
    let mut stored = Vec::new();
    for _ in 0..25 {
        stored.extend(append(&queue, (0..3).map(|_| event_in(LANE, vec![b'x'; 4_000])).collect()).await);
    }
    let first = dir.path().join(LANE_DIR).join("00000000000001048576");
    until("the first segment is closed", || first.join("ids").exists()).await;
    let mut raw = std::fs::read(first.join("db")).unwrap();
    raw.iter_mut().filter(|byte| **byte == b'x').for_each(|byte| *byte = b'y');
    std::fs::write(first.join("db"), raw).unwrap();
    let (presence, killed) = (dir.path().join("queue/lanes/presence"), tempfile::tempdir().unwrap());

    // The ledger's turn comes after this.
    stall(&presence);
    let ticket = queue.writer().submit(vec![event_in(Lane::Presence, "{}")]);
    until("its sync hangs", || hanging(&presence) > 0).await;
    let read = read_all(&queue, LANE).await;
    copy_at_rest(dir.path(), killed.path());
    let_go(&presence);
    ticket.await[0].clone().unwrap();
    until("the segment is deleted", || !first.exists()).await;
    close(queue).await;
    let queue = try_open(&small_segments(killed.path())).unwrap();
    let lost: Vec<Stored> = stored.into_iter().filter(|event| !read.contains(event)).collect();
    read_all(&queue, LANE).await;
    append(&queue, vec![event_in(Lane::Presence, "{\"next\":1}")]).await;
    let again = queue.writer().submit(lost.iter().map(|stored| stored.event.clone()).collect()).await;

    assert!(!lost.is_empty());
    assert!(again.iter().all(|answer| matches!(answer, Ok(Appended::Stored(_)))), "{again:?}");
    close(queue).await;
}

#[tokio::test]
async fn damage_is_given_up_only_once_its_evidence_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let stored = damaged_segments(dir.path()).await;
    let quarantine = dir.path().join("queue/quarantine");
    let clock = Clock::manual(1_800_000_000_000);
    let queue = open_with(dir.path(), &clock);
    std::fs::write(&quarantine, "no directory").unwrap();

    let mut held = true;
    for _ in 0..LOOKS {
        held &= read_from(&queue, 1).await.is_err();
        clock.advance(A_LOOK);
    }
    std::fs::remove_file(&quarantine).unwrap();
    let read = read_all(&queue, LANE).await;

    assert!(held);
    assert!(
        (50..60).contains(&read.len()) && read.iter().all(|event| stored.contains(event)),
        "{}",
        read.len()
    );
    assert!(files(&quarantine).iter().any(|path| path.ends_with("db")));
    close(queue).await;
}

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
    clock.advance(A_LOOK);

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
async fn dead_letters_that_the_disk_does_not_give_stay_and_are_not_in_the_way_of_others() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Clock::manual(1_800_000_000_000);
    let queue = with_five_letters(dir.path(), &clock).await;
    let other = append(&queue, vec![event("{\"other\":1}")]).await;
    settle(&queue, &other, dead("no")).await;
    let seen = |queue: &Queue, after: Seq| match queue.dead_letters().next(after) {
        Err(QueueError::LettersUnread { resume_at, .. }) => Err(resume_at),
        next => Ok(next.unwrap().map(|letter| letter.stored)),
    };

    fail(&dir.path().join("queue/dead/00000000000001048576"), 0..i64::MAX);
    for _ in 0..LOOKS {
        let Err(resume_at) = seen(&queue, 0) else { panic!("read although the disk does not give it") };
        assert_eq!(seen(&queue, resume_at - 1), Ok(Some(other[0].clone())));
        clock.advance(A_LOOK);
    }
    heal(dir.path());

    assert_eq!(queue.dead_letters().count(LANE), 6);
    assert_eq!(try_letters(&queue).unwrap().len(), 6);
    assert!(nothing_in_quarantine(dir.path()));
    close(queue).await;
}

#[tokio::test]
async fn dead_letters_that_a_start_could_not_read_are_counted_once_they_can_be() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Clock::manual(1_800_000_000_000);
    let home = tempfile::tempdir().unwrap();
    let queue = open_with(home.path(), &clock);
    let stored = append(&queue, (0..5).map(|_| event("{}")).collect()).await;
    settle(&queue, &stored, dead("no")).await;
    copy(home.path(), dir.path());
    close(queue).await;

    fail(&dir.path().join("queue/dead"), 0..i64::MAX);
    let queue = open_with(dir.path(), &clock);
    let meanwhile = try_letters(&queue).is_err();
    heal(dir.path());
    clock.advance(A_LOOK);
    let letters = try_letters(&queue).unwrap();
    queue.dead_letters().discard(letters[..2].to_vec()).unwrap();

    assert!(meanwhile);
    assert_eq!((letters.len(), queue.dead_letters().count(LANE)), (5, 3));
    close(queue).await;
    let queue = open(dir.path());
    assert_eq!(try_letters(&queue).unwrap().len(), 3);
    close(queue).await;
}

#[tokio::test]
async fn dead_letters_that_a_start_could_read_in_part_are_all_counted_later() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Clock::manual(1_800_000_000_000);
    let queue = open_with(dir.path(), &clock);
    let stored = append(&queue, (0..100).map(|_| event_in(LANE, vec![b'x'; 30_000])).collect()).await;
    settle(&queue, &stored, dead("no")).await;
    close(queue).await;

    // Without its file of ids a segment is read for them.
    refuse_opens(&dir.path().join("queue/dead"), "ids", libc::EIO);
    fail(&dir.path().join("queue/dead"), 2_000_000..i64::MAX);
    let queue = open_with(dir.path(), &clock);
    let before = queue.dead_letters().count(LANE);
    heal(dir.path());
    clock.advance(A_LOOK);
    let letters = try_letters(&queue).unwrap();

    assert_eq!((before, letters.len(), queue.dead_letters().count(LANE)), (0, 100, 100));
    close(queue).await;
}

#[tokio::test]
async fn a_dead_letter_that_the_store_cannot_read_is_read_from_its_file() {
    let dir = tempfile::tempdir().unwrap();
    let queue = open(dir.path());
    // More pages than the store keeps in memory.
    for _ in 0..2_500 {
        let stored = append(&queue, vec![event_in(LANE, vec![b'x'; 600])]).await;
        settle(&queue, &stored, dead("no")).await;
    }
    let dead_letters = queue.dead_letters();

    fail_once(&dir.path().join("queue/dead"));
    let (mut looks, mut after) = (0, 0);
    while failed(dir.path()) == 0 {
        let letter = dead_letters.next(after).unwrap();
        after = letter.map_or(0, |letter| letter.number);
        looks += 1;
        assert!(looks < 200_000, "the store keeps all pages in memory");
    }

    heal(dir.path());
    close(queue).await;
}

#[tokio::test]
async fn a_quarantine_that_a_start_cannot_read_is_named() {
    let dir = tempfile::tempdir().unwrap();
    close(open(dir.path())).await;
    std::fs::write(dir.path().join("queue/quarantine"), "no directory").unwrap();

    let refused = try_open(&settings(dir.path(), "")).map(drop);

    let Err(OpenError::Storage(fault)) = refused else { panic!("{refused:?}") };
    assert!(fault.contains("queue/quarantine: "), "{fault}");
}
