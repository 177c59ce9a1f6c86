//! A file system that is full in a way that it does not show, and one that does not say how full it is.

use std::path::Path;

use trunkline::config;
use trunkline::event::Lane;
use trunkline::queue::{AppendError, Appended, Outcome};

use crate::kit::{append, close, event, event_in, files_named, settings, settle, small_segments, try_open};
use crate::layer::full::{hide_size, set_quota};

const LANE: Lane = Lane::Conversations;

#[tokio::test]
async fn at_a_quota_the_ledger_gives_way_and_the_append_is_tried_again() {
    // A panic of the store does not say what it came of, no more than EIO does.
    let faults = [libc::EDQUOT, libc::EIO];
    for (errno, more) in
        faults.into_iter().flat_map(|errno| [0, 40, 120, 360].map(|more| (errno, more * 1024)))
    {
        let home = tempfile::tempdir().unwrap();
        let answers = append_at_a_quota(home.path(), more, errno).await;

        let refused: Vec<_> =
            answers.iter().filter(|answer| !matches!(answer, Ok(Appended::Stored(_)))).collect();
        assert!(
            refused.is_empty(),
            "{errno} {more}: {} of {}, {:?}",
            refused.len(),
            answers.len(),
            refused[0]
        );
    }
}

/// Fills a ledger, and then appends with room for only so many bytes `more` beside it.
async fn append_at_a_quota(dir: &Path, more: u64, errno: i32) -> Vec<Result<Appended, AppendError>> {
    let config = config::QueueConfig { min_free_disk: 0, ..small_segments(dir) };
    let queue = try_open(&config).unwrap();
    let ledger = || files_named(&dir.join("queue/ledger"), "header").len();
    while ledger() < 8 {
        let stored = append(&queue, (0..400).map(|_| event("{}")).collect()).await;
        settle(&queue, &stored, Outcome::Delivered).await;
    }

    set_quota(dir, more, errno);
    let mut answers = Vec::new();
    for _ in 0..20 {
        let events = (0..3).map(|_| event_in(LANE, vec![b'x'; 10_000])).collect();
        answers.extend(queue.writer().submit(events).await);
    }
    close(queue).await;
    answers
}

#[tokio::test]
async fn a_file_system_that_does_not_report_its_size_refuses_no_event() {
    let dir = tempfile::tempdir().unwrap();
    hide_size(dir.path());

    let config = config::QueueConfig { min_free_disk: 256 << 20, ..settings(dir.path(), "") };
    let queue = try_open(&config).unwrap();
    append(&queue, vec![event("{}")]).await;
    let health = queue.caretaker().health().await.unwrap();

    assert_eq!(health.refusal, None);
    let warning = queue.disk_warning().expect("nobody knows when it is full");
    assert!(warning.contains("does not report its size"), "{warning}");
    close(queue).await;
}
