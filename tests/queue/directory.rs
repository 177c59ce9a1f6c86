//! The directory itself: one daemon at a time, and still the one that was opened.

use std::fs;

use crate::kit::{append, close, event, eventually, read_all, settings, try_open, until};
use trunkline::event::Lane;
use trunkline::queue::{AppendError, Inspection, OpenError};

#[tokio::test]
async fn a_second_daemon_is_refused_though_the_lock_file_was_removed() {
    let dir = tempfile::tempdir().unwrap();
    let config = settings(dir.path(), "");
    let queue = try_open(&config).unwrap();

    fs::remove_file(config.dir.join("lock")).unwrap();

    assert!(matches!(try_open(&config), Err(OpenError::InUse { .. })));
    assert!(matches!(Inspection::of(&config.dir), Err(OpenError::InUse { .. })));
    // Nothing that counts is gone.
    append(&queue, vec![event("{}")]).await;
    close(queue).await;
    try_open(&config).unwrap().close();
}

#[tokio::test]
async fn a_directory_that_is_replaced_while_it_is_open_takes_no_event_until_it_is_back() {
    let dir = tempfile::tempdir().unwrap();
    let config = settings(dir.path(), "");
    let away = dir.path().join("away");
    let queue = try_open(&config).unwrap();
    append(&queue, vec![event("{}")]).await;

    fs::rename(&config.dir, &away).unwrap();
    let moved = queue.writer().submit(vec![event("{}")]).await;
    let health = queue.caretaker().health().await.unwrap();
    fs::create_dir_all(config.dir.join("lanes")).unwrap();
    let replaced = queue.writer().submit(vec![event("{}")]).await;
    fs::remove_dir_all(&config.dir).unwrap();
    fs::rename(&away, &config.dir).unwrap();

    let gone = AppendError::DirectoryGone { path: config.dir.clone() };
    assert_eq!((moved, replaced), (vec![Err(gone.clone())], vec![Err(gone.clone())]));
    assert_eq!(health.refusal, Some(gone));
    let is_back = eventually(async || {
        let health = queue.caretaker().health().await?;
        health.refusal.is_none().then_some(())
    });
    assert!(is_back.await.is_some(), "it is refused for ever");
    append(&queue, vec![event("{}")]).await;
    assert_eq!(read_all(&queue, Lane::Conversations).await.len(), 2, "a refused event is not delivered");
    close(queue).await;
}

#[tokio::test]
async fn a_directory_that_is_removed_or_emptied_while_it_is_open_takes_no_event() {
    for is_emptied in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let config = settings(dir.path(), "");
        let queue = try_open(&config).unwrap();
        append(&queue, vec![event("{}")]).await;

        // The next segment may be made in it meanwhile.
        until("it is removed", || fs::remove_dir_all(&config.dir).is_ok()).await;
        if is_emptied {
            fs::create_dir_all(&config.dir).unwrap();
        }
        let results = queue.writer().submit(vec![event("{}")]).await;

        assert!(
            matches!(results[..], [Err(AppendError::DirectoryGone { .. } | AppendError::Storage(_))]),
            "{results:?}"
        );
        close(queue).await;
    }
}
