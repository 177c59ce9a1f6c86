//! A directory looked at from outside, and whose it is.

use std::path::Path;
use std::process::{Command, Output};

use trunkline::event::Lane;
use trunkline::queue::{Inspection, Outcome, Owner};

use crate::kit::{append, close, copy, dead, event, event_in, files, open, settle};

fn trunkline(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_trunkline")).args(args).output().unwrap()
}

fn checksums(dir: &Path) -> Vec<(std::path::PathBuf, u32)> {
    files(dir)
        .into_iter()
        .map(|path| (path.clone(), crc32c::crc32c(&std::fs::read(&path).unwrap())))
        .collect()
}

/// A killed queue with settled, unsettled and dead events; its directory and the unsettled bodies.
async fn killed(dir: &Path) -> Vec<String> {
    let live = tempfile::tempdir().unwrap();
    let queue = open(live.path());
    let stored =
        append(&queue, (0..9).map(|nth| event(&format!("{{\"n\":{nth},\n\"x\":1}}"))).collect()).await;
    settle(&queue, &stored[..3], Outcome::Delivered).await;
    settle(&queue, &stored[3..5], dead("no")).await;
    append(&queue, vec![event_in(Lane::Presence, "{\"p\":1}")]).await;
    copy(live.path(), dir);
    close(queue).await;
    (5..9).map(|nth| format!("{{\"holdUpdatedEvents\":[{{\"n\":{nth}, \"x\":1}}]}}")).collect()
}

#[tokio::test]
async fn verify_reads_all_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    killed(dir.path()).await;
    let queue_dir = dir.path().join("queue");
    let before = checksums(dir.path());

    let output = trunkline(&["queue", "verify", "--dir", queue_dir.to_str().unwrap()]);

    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{text}");
    let row = |name: &str| -> Vec<String> {
        let line = text.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().map(str::to_owned).collect()
    };
    assert_eq!(row("conversations")[3..5], ["9", "4"], "{text}");
    assert_eq!(row("presence")[3..5], ["1", "1"], "{text}");
    assert_eq!(row("dead")[3..5], ["2", "2"], "{text}");
    assert_eq!(checksums(dir.path()), before);
}

#[tokio::test]
async fn verify_tells_damage_with_74() {
    let dir = tempfile::tempdir().unwrap();
    killed(dir.path()).await;
    let queue_dir = dir.path().join("queue");
    let db = files(&queue_dir.join("lanes/presence")).into_iter().find(|path| path.ends_with("db")).unwrap();
    let mut raw = std::fs::read(&db).unwrap();
    for at in (0..=raw.len() - 7).rev().filter(|at| raw[*at..].starts_with(b"{\"p\":1}")).collect::<Vec<_>>()
    {
        raw[at] ^= 4;
    }
    std::fs::write(&db, raw).unwrap();
    let inspected = Inspection::of(&queue_dir).unwrap();

    let output = trunkline(&["queue", "verify", "--dir", queue_dir.to_str().unwrap()]);

    assert_eq!(output.status.code(), Some(74));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("damaged:") && text.contains("presence"), "{text}");
    assert_eq!(inspected.faults().len(), 1, "{:?}", inspected.faults());
}

#[tokio::test]
async fn export_gives_lines_that_send_takes() {
    let dir = tempfile::tempdir().unwrap();
    let expected = killed(dir.path()).await;
    let queue_dir = dir.path().join("queue");
    let base = ["queue", "export", "--dir", queue_dir.to_str().unwrap()];
    let run = |more: &[&str]| -> Vec<String> {
        let output = trunkline(&[&base[..], more].concat());
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
    };

    let all = run(&[]);
    let lane = run(&["--lane", "conversations", "--since", "1h"]);
    let future = run(&["--since", "2999-01-01T00:00:00Z"]);
    let dead = run(&["--dead"]);

    assert_eq!(lane, expected);
    assert_eq!(all.len(), 5);
    assert!(future.is_empty());
    assert_eq!(dead.len(), 2);
    assert!(dead.iter().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()));
}

#[tokio::test]
async fn a_reader_that_went_away_is_no_fault_of_an_export_or_a_verification() {
    let dir = tempfile::tempdir().unwrap();
    killed(dir.path()).await;
    let queue_dir = dir.path().join("queue");
    let unread = |args: &[&str]| {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = Command::new(env!("CARGO_BIN_EXE_trunkline"));
        command.args(args).arg("--dir").arg(&queue_dir).stdout(writer).output().unwrap()
    };

    for args in [&["queue", "export"][..], &["queue", "export", "--dead"], &["queue", "verify"]] {
        let output = unread(args);

        assert_eq!(output.status.code(), Some(0), "{args:?}: {output:?}");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{args:?}");
    }
}

#[tokio::test]
async fn a_directory_in_use_is_not_looked_into() {
    let dir = tempfile::tempdir().unwrap();
    let queue = open(dir.path());

    let output = trunkline(&["queue", "verify", "--dir", dir.path().join("queue").to_str().unwrap()]);

    assert_eq!(output.status.code(), Some(73));
    assert!(String::from_utf8(output.stderr).unwrap().contains("in use"));
    close(queue).await;
}

fn owner(client: &str, organisation: Option<&str>) -> Owner {
    Owner {
        region: "eu-central-1".to_owned(),
        client_id: Some(client.to_owned()),
        organisation: organisation.map(str::to_owned),
    }
}

#[tokio::test]
async fn a_queue_with_events_of_another_client_is_not_claimed_until_it_is_adopted() {
    let dir = tempfile::tempdir().unwrap();
    let queue = open(dir.path());
    let empty = queue.claim(&owner("a", None)).unwrap();
    append(&queue, vec![event("{}")]).await;

    let same = queue.claim(&owner("a", None)).unwrap();
    let other = queue.claim(&owner("b", None)).unwrap();
    close(queue).await;
    let before = trunkline::queue::adopt(&dir.path().join("queue"), &owner("b", None)).unwrap();
    let queue = open(dir.path());
    let adopted = queue.claim(&owner("b", None)).unwrap();

    assert_eq!((empty, same, adopted), (None, None, None));
    let other = other.unwrap();
    assert!(other.contains("1 events were accepted for client a") && other.contains("adopt"), "{other}");
    assert_eq!(before, Some(owner("a", None)));
    close(queue).await;
}

#[test]
fn a_new_client_of_the_same_organisation_fits() {
    assert!(owner("a", Some("o")).fits(&owner("b", Some("o"))));
    assert!(!owner("a", Some("o")).fits(&owner("a", Some("p"))));
    assert!(!owner("a", None).fits(&owner("b", Some("o"))));
}
