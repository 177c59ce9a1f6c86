//! A directory looked at from outside, and whose it is.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use trunkline::config;
use trunkline::event::Lane;
use trunkline::queue::{Backlog, Inspection, Outcome, Owner, Stored};

use crate::kit::{
    append, close, copy, dead, event, event_in, files, files_named, open, read_all, settle, small_segments,
    try_open,
};

/// More than the memory that its reader has, in any form.
const SPARSE_BYTES: u64 = 1 << 30;
const MEMORY_KIB: u64 = 600 << 10;

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
    assert_eq!(inspected.damaged().len(), 1, "{:?}", inspected.damaged());
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

/// Moves the only segment of a log into the quarantine, as builds before this one did at a read error.
fn set_aside(queue: &Path, log: &str, name: &str) -> PathBuf {
    let segment = files_named(&queue.join(log), "db").remove(0).parent().unwrap().to_path_buf();
    let first = segment.file_name().unwrap().to_str().unwrap();
    let part = queue.join("quarantine").join(format!("{name}-{first}"));
    std::fs::create_dir_all(part.parent().unwrap()).unwrap();
    std::fs::rename(&segment, &part).unwrap();
    std::fs::write(part.join("why.txt"), "it cannot be read: Input/output error\n").unwrap();
    part
}

fn restore(queue: &Path) -> (Option<i32>, String) {
    let output = trunkline(&["queue", "restore", "--dir", queue.to_str().unwrap()]);
    (output.status.code(), String::from_utf8(output.stdout).unwrap())
}

#[tokio::test]
async fn restore_brings_back_what_was_set_aside_and_what_was_settled_in_it_stays_settled() {
    let dir = tempfile::tempdir().unwrap();
    killed(dir.path()).await;
    let queue_dir = dir.path().join("queue");
    set_aside(&queue_dir, "lanes/conversations", "conversations");
    set_aside(&queue_dir, "dead", "dead");
    // The ledger goes on without them.
    for _ in 0..2 {
        let queue = open(dir.path());
        let stored = append(&queue, vec![event("{}")]).await;
        settle(&queue, &stored, Outcome::Delivered).await;
        close(queue).await;
    }

    let (code, text) = restore(&queue_dir);

    assert_eq!(code, Some(0), "{text}");
    assert_eq!(text.matches("restored: ").count(), 2, "{text}");
    for _ in 0..2 {
        let queue = open(dir.path());
        let read = read_all(&queue, Lane::Conversations).await;
        let bodies: Vec<&[u8]> = read.iter().map(|stored| &stored.event.body[..]).collect();
        let waiting: Vec<String> = (5..9).map(|nth| format!("{{\"n\":{nth},\n\"x\":1}}")).collect();
        assert_eq!(bodies, waiting.iter().map(String::as_bytes).collect::<Vec<_>>());
        assert_eq!(queue.dead_letters().count(Lane::Conversations), 2);
        close(queue).await;
    }
    assert!(restore(&queue_dir).1.contains("nothing in quarantine"));
}

#[tokio::test]
async fn restore_leaves_evidence_and_what_still_cannot_be_read() {
    let dir = tempfile::tempdir().unwrap();
    killed(dir.path()).await;
    let queue_dir = dir.path().join("queue");
    let unread = set_aside(&queue_dir, "lanes/presence", "presence").join("db");
    std::fs::rename(&unread, dir.path().join("away")).unwrap();
    // Opening it fails, whoever asks.
    std::os::unix::fs::symlink("db", &unread).unwrap();
    let db = files_named(&queue_dir.join("lanes/conversations"), "db").remove(0);
    let evidence = queue_dir.join("quarantine/conversations-00000000000001048576");
    std::fs::create_dir(&evidence).unwrap();
    std::fs::hard_link(&db, evidence.join("db")).unwrap();

    let (code, text) = restore(&queue_dir);
    std::fs::remove_file(&unread).unwrap();
    std::fs::rename(dir.path().join("away"), &unread).unwrap();
    let (code_later, text_later) = restore(&queue_dir);

    assert_eq!((code, code_later), (Some(1), Some(0)), "{text}{text_later}");
    assert!(text.contains("cannot be read: ") && text.contains("its segment already exists"), "{text}");
    assert!(text_later.contains("restored: ") && evidence.join("db").exists(), "{text_later}");
}

/// Delivers others until the ledger does not know the event any more.
async fn until_the_ledger_forgets(queue: &trunkline::queue::Queue, stored: &Stored) {
    let id = stored.event.event_id.to_string();
    while !queue.ledger().find(&id, 1).entries.is_empty() {
        let others = append(queue, (0..200).map(|_| event("{}")).collect()).await;
        settle(queue, &others, Outcome::Delivered).await;
    }
}

#[tokio::test]
async fn restore_sends_nothing_again_of_a_segment_that_was_damaged_settled_and_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let config = config::QueueConfig { keep_ledger_size: 0, ..small_segments(dir.path()) };
    let queue = try_open(&config).unwrap();
    for _ in 0..20 {
        append(&queue, (0..3).map(|_| event_in(Lane::Conversations, vec![b'x'; 4_000])).collect()).await;
    }
    close(queue).await;
    let queue_dir = dir.path().join("queue");
    let db = files_named(&queue_dir.join("lanes/conversations"), "db").remove(0);
    let mut raw = std::fs::read(&db).unwrap();
    let at = raw.windows(4_000).position(|body| body == [b'x'; 4_000]).unwrap();
    raw[at + 2_000] = b'y';
    std::fs::write(&db, raw).unwrap();
    let queue = try_open(&config).unwrap();
    let rest = read_all(&queue, Lane::Conversations).await;
    settle(&queue, &rest, Outcome::Delivered).await;
    until_the_ledger_forgets(&queue, rest.last().unwrap()).await;
    close(queue).await;
    assert!(!db.exists() && (50..60).contains(&rest.len()), "{} delivered", rest.len());

    let (code, text) = restore(&queue_dir);

    let queue = try_open(&config).unwrap();
    assert_eq!(code, Some(0), "{text}");
    assert!(text.starts_with("stays: ") && !text.contains("restored"), "{text}");
    assert_eq!(queue.reader().depth(Lane::Conversations).events, 0);
    close(queue).await;
}

#[tokio::test]
async fn restore_of_what_an_earlier_build_could_not_read_in_part_brings_back_that_part_alone() {
    let dir = tempfile::tempdir().unwrap();
    killed(dir.path()).await;
    let queue_dir = dir.path().join("queue");
    let part = set_aside(&queue_dir, "lanes/conversations", "conversations");
    let first: u64 = 1 << 20;
    let lost = format!("{} to {}, {} to {}", first + 6, first + 6, first + 8, first + 8);
    std::fs::write(part.join("why.txt"), format!("2 unsettled records cannot be read: numbers {lost}\n"))
        .unwrap();

    let (code, text) = restore(&queue_dir);

    let queue = open(dir.path());
    let read = read_all(&queue, Lane::Conversations).await;
    let seqs: Vec<u64> = read.iter().map(|stored| stored.seq).collect();
    assert_eq!((code, seqs), (Some(0), vec![first + 6, first + 8]), "{text}");
    close(queue).await;
}

#[tokio::test]
async fn a_damaged_note_of_what_is_settled_is_told_and_kept() {
    let dir = tempfile::tempdir().unwrap();
    killed(dir.path()).await;
    let queue_dir = dir.path().join("queue");
    set_aside(&queue_dir, "lanes/conversations", "conversations");
    assert!(restore(&queue_dir).1.contains("restored: "));
    let note = files_named(&queue_dir, "settled").remove(0);
    let mut raw = std::fs::read(&note).unwrap();
    *raw.last_mut().unwrap() ^= 1;
    std::fs::write(&note, &raw).unwrap();

    let verified = trunkline(&["queue", "verify", "--dir", queue_dir.to_str().unwrap()]);
    for _ in 0..2 {
        close(open(dir.path())).await;
    }

    let said = String::from_utf8(verified.stdout).unwrap();
    assert!(said.contains("damaged: ") && said.contains("its file settled is damaged"), "{said}");
    let kept = files_named(&queue_dir.join("quarantine"), "settled");
    assert_eq!(kept.iter().map(|kept| std::fs::read(kept).unwrap() == raw).collect::<Vec<_>>(), [true]);
    let why = std::fs::read_to_string(kept[0].with_file_name("why.txt")).unwrap();
    assert_eq!(why.lines().count(), 1, "{why}");
    assert!(why.starts_with("its file settled is damaged"), "{why}");
}

#[tokio::test]
async fn what_cannot_be_read_is_told_apart_from_damage() {
    let dir = tempfile::tempdir().unwrap();
    killed(dir.path()).await;
    let queue_dir = dir.path().join("queue");
    let header = files_named(&queue_dir.join("lanes/presence"), "header").remove(0);
    std::fs::remove_file(&header).unwrap();
    std::os::unix::fs::symlink("header", &header).unwrap();

    let output = trunkline(&["queue", "verify", "--dir", queue_dir.to_str().unwrap()]);

    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(74), "{text}");
    assert!(text.contains("cannot be read: ") && !text.contains("damaged: "), "{text}");
}

#[tokio::test]
async fn a_sparse_database_is_read_within_little_memory() {
    let dir = tempfile::tempdir().unwrap();
    killed(dir.path()).await;
    let queue_dir = dir.path().join("queue");
    for db in files_named(&queue_dir.join("lanes"), "db") {
        std::fs::File::options().write(true).open(db).unwrap().set_len(SPARSE_BYTES).unwrap();
    }

    let mut command = Command::new("sh");
    command.args(["-c", &format!("ulimit -v {MEMORY_KIB} && exec \"$0\" \"$@\"")]);
    command.args([env!("CARGO_BIN_EXE_trunkline"), "queue", "verify", "--dir"]).arg(&queue_dir);
    let output = command.output().unwrap();

    assert_eq!(output.status.code(), Some(0), "{output:?}");
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

#[tokio::test]
async fn an_owner_that_cannot_be_understood_keeps_events_back_until_somebody_adopts_them() {
    let dir = tempfile::tempdir().unwrap();
    let queue = open(dir.path());
    let file = dir.path().join("queue/owner");
    std::fs::write(&file, "{\"region\":").unwrap();
    let empty = queue.claim(&owner("a", None)).unwrap();
    append(&queue, vec![event("{}")]).await;
    std::fs::write(&file, "{\"region\":").unwrap();

    let withheld = queue.claim(&owner("a", None)).unwrap();
    let left = std::fs::read_to_string(&file).unwrap();
    let before = queue.ownership().adopt(&owner("a", None)).unwrap();
    let adopted = queue.claim(&owner("a", None)).unwrap();

    assert_eq!((empty, before, adopted), (None, None, None));
    let words = withheld.expect("whose the event is, is not known");
    assert!(words.contains("queue/owner is damaged") && words.contains("trunkline adopt"), "{words}");
    assert_eq!(left, "{\"region\":");
    close(queue).await;
}

#[test]
fn a_new_client_of_the_same_organisation_fits() {
    assert!(owner("a", Some("o")).fits(&owner("b", Some("o"))));
    assert!(!owner("a", Some("o")).fits(&owner("a", Some("p"))));
    assert!(!owner("a", None).fits(&owner("b", Some("o"))));
}
