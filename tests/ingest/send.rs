//! `send` against a real stream door that goes away and comes back.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::runtime::Runtime;
use trunkline::cli::Exit;
use trunkline::cli::send::{self, RefusedLine, SendError, SendOptions, SendReport};
use uuid::Uuid;

use crate::kit::{Harness, line, until};

fn options(socket: &Path, file: PathBuf) -> SendOptions {
    SendOptions {
        files: vec![file],
        socket: socket.to_owned(),
        reconnect_for: Duration::from_secs(10),
        progress: false,
    }
}

#[tokio::test]
async fn good_and_bad_lines_are_counted_and_the_bad_ones_told() {
    let harness = Harness::new(|_| {});
    let file = harness.dir.path().join("lines");
    std::fs::write(&file, format!("{}\n\nbad\n{}", line(Uuid::new_v4()), line(Uuid::new_v4()))).unwrap();
    let told = Arc::new(Mutex::new(Vec::new()));
    let tell = told.clone();

    let on_refused = move |refused: &RefusedLine<'_>| tell.lock().unwrap().push(refused.place.to_owned());
    let report = send::run(options(&harness.path, file.clone()), on_refused).await.unwrap();

    assert_eq!(report, SendReport { accepted: 2, refused: 1 });
    assert_eq!(*told.lock().unwrap(), [format!("{}:4", file.display())]);
}

#[tokio::test]
async fn a_restart_in_the_middle_loses_nothing_and_doubles_nothing() {
    let killed = Runtime::new().unwrap();
    let harness = {
        let _inside = killed.enter();
        Harness::new(|config| config.max_unacked = 8)
    };
    let path = harness.path.clone();
    let file = harness.dir.path().join("lines");
    let nameless = line(Uuid::nil()).replace("\"eventId\":\"00000000-0000-0000-0000-000000000000\",", "");
    std::fs::write(&file, nameless.repeat(300)).unwrap();
    harness.memory.gate.send_replace(false);
    let memory = harness.memory.clone();

    let sending = tokio::spawn(send::run(options(&harness.path, file), |_| {}));
    until(|| memory.count() == 8).await;
    killed.shutdown_background();
    until(|| !path.exists()).await;
    let dir = harness.dir;
    memory.gate.send_replace(true);
    let _house = Harness::over(dir, memory.clone(), |_| {});
    let report = sending.await.unwrap().unwrap();

    assert_eq!(report, SendReport { accepted: 300, refused: 0 });
    assert_eq!(memory.count(), 300);
}

#[tokio::test]
async fn a_file_that_is_not_there_is_told_before_anything_is_sent() {
    let harness = Harness::new(|_| {});
    let (file, missing) = (harness.dir.path().join("lines"), harness.dir.path().join("missing"));
    std::fs::write(&file, line(Uuid::new_v4())).unwrap();

    for bad in [missing, harness.dir.path().to_owned()] {
        let mut options = options(&harness.path, file.clone());
        options.files.push(bad.clone());
        let error = send::run(options, |_| {}).await.unwrap_err();

        assert!(matches!(&error, SendError::Input { file, .. } if *file == bad), "{error:?}");
        assert_eq!((error.exit(), harness.memory.count()), (Exit::Failed, 0));
    }
}

#[tokio::test]
async fn what_came_before_a_file_that_breaks_off_is_answered_and_counted() {
    let harness = Harness::new(|config| config.max_unacked = 8);
    let file = harness.dir.path().join("lines");
    let lines: String = (0..300).map(|_| line(Uuid::new_v4())).collect();
    std::fs::write(&file, lines + "bad\n").unwrap();
    // A regular file that opens, and whose first page nobody can read.
    let broken = PathBuf::from("/proc/self/mem");
    let mut options = options(&harness.path, file.clone());
    options.files.extend([broken.clone(), file]);

    let error = send::run(options, |_| {}).await.unwrap_err();

    let SendError::Input { file, report, .. } = error else { panic!("{error:?}") };
    assert_eq!((file, report), (broken, SendReport { accepted: 300, refused: 1 }));
    assert_eq!(harness.memory.count(), 300);
}

#[tokio::test]
async fn nobody_there_is_exit_69() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("lines");
    std::fs::write(&file, line(Uuid::new_v4())).unwrap();

    let error = send::run(options(&dir.path().join("none"), file), |_| {}).await.unwrap_err();

    assert!(matches!(error, SendError::Unreachable { .. }));
    assert_eq!(error.exit(), Exit::Unreachable);
}
