//! Commands in odd surroundings: long temporary directories, readers that go away, full outputs, files from
//! other systems. The real binary.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::{Output, Stdio};

use crate::common::{Home, Sandbox, eventually, hold_event, trunkline};
use uuid::Uuid;

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn full() -> File {
    File::options().write(true).open("/dev/full").unwrap()
}

#[test]
fn a_demo_below_a_long_temporary_directory_finds_a_shorter_one() {
    let dir = tempfile::tempdir().unwrap();
    let long = dir.path().join("a".repeat(90));
    std::fs::create_dir(&long).unwrap();

    let output = trunkline().args(["demo", "--for", "1s"]).env("TMPDIR", &long).output().unwrap();

    assert_eq!(output.status.code(), Some(0), "{output:?}");
}

#[test]
fn a_demo_without_a_temporary_directory_is_73() {
    let output = trunkline().args(["demo", "--for", "1s"]).env("TMPDIR", "/nonexistent").output().unwrap();

    assert_eq!(output.status.code(), Some(73), "{output:?}");
    assert!(stderr(&output).contains("set TMPDIR"), "{output:?}");
}

#[test]
fn a_demo_whose_reader_goes_away_ends_well() {
    let mut demo = trunkline().arg("demo").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();

    let mut first = String::new();
    BufReader::new(demo.stdout.take().unwrap()).read_line(&mut first).unwrap();
    eventually("it ends", || demo.try_wait().unwrap().is_some());
    let output = demo.wait_with_output().unwrap();

    assert!(first.contains("a phone system with"), "{first}");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}

#[test]
fn a_sandbox_on_an_address_in_use_is_73_and_says_it_once() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();

    let output = trunkline().args(["sandbox", "--listen", &addr]).output().unwrap();

    assert_eq!(output.status.code(), Some(73), "{output:?}");
    assert_eq!(stderr(&output).matches("in use").count(), 1, "{output:?}");
}

#[test]
fn a_file_with_a_byte_order_mark_is_sent_whole() {
    let sandbox = Sandbox::start(&[]);
    let home = Home::new(&sandbox.addr, "");
    let _daemon = home.run();
    let file = home.path().join("windows.ndjson");
    let lines = [hold_event(Uuid::new_v4(), 1).1, hold_event(Uuid::new_v4(), 2).1];
    std::fs::write(&file, format!("\u{feff}{}\r\n{}\r\n", lines[0], lines[1])).unwrap();

    let output = home.send(&[&file]);

    assert_eq!(output.status.code(), Some(0), "{output:?}");
    eventually("both are delivered", || sandbox.taken().len() == 2);
}

#[test]
fn a_file_in_utf_16_is_named_so() {
    let sandbox = Sandbox::start(&[]);
    let home = Home::new(&sandbox.addr, "");
    let _daemon = home.run();
    let file = home.path().join("windows.ndjson");
    std::fs::write(&file, b"\xff\xfe{\0}\0\n\0").unwrap();

    let output = home.send(&[&file]);

    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(stderr(&output).contains("UTF-16"), "{output:?}");
}

#[test]
fn a_full_stdout_is_named_and_what_was_asked_for_is_done() {
    let sandbox = Sandbox::start(&["--reject-event-rate", "1"]);
    let home = Home::new(&sandbox.addr, "");
    let _daemon = home.run();
    let file = home.path().join("lines");
    let lines: Vec<String> = (0..3).map(|nth| hold_event(Uuid::new_v4(), nth).1).collect();
    std::fs::write(&file, lines.join("\n")).unwrap();
    let run = |words: &[&str]| {
        let command = trunkline().args(words).arg("--config").arg(home.config()).stdout(full()).output();
        command.unwrap()
    };

    let sent = run(&["send", file.to_str().unwrap()]);
    eventually("they are dead", || home.status()["dead_letters"] == 3);
    let discarded = run(&["dead-letters", "discard", "--all"]);

    for output in [&sent, &discarded] {
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(stderr(output).contains("cannot write to stdout"), "{output:?}");
    }
    assert!(stderr(&sent).contains("accepted 3 · refused 0"), "{sent:?}");
    assert!(stderr(&discarded).contains("3 dead letters done"), "{discarded:?}");
    assert_eq!(home.status()["dead_letters"], 0);
}

#[test]
fn a_replay_with_set_keeps_the_bytes_of_numbers() {
    let sandbox = Sandbox::start(&["--reject-event-rate", "1"]);
    let home = Home::new(&sandbox.addr, "");
    let _daemon = home.run();
    let id = Uuid::new_v4();
    let event =
        format!(r#"{{"eventId":"{id}","kpiId":"k","associatedValue":1.10,"newer":12345678901234567890123}}"#);
    home.producer().ask(&format!(r#"{{"customKpiAttributionEvents":[{event}]}}"#));
    eventually("it is dead", || home.status()["dead_letters"] == 1);

    let replayed = home.cli(&["dead-letters", "replay", "--all", "--set", "associatedValue=2.50"]);
    let dead_again = || home.say(&["dead-letters", "export"]);
    eventually("it is dead again", || dead_again().contains("2.50"));

    assert_eq!(replayed.status.code(), Some(0), "{replayed:?}");
    let line = dead_again();
    assert!(line.contains(r#""associatedValue":2.50,"newer":12345678901234567890123"#), "{line}");
}
