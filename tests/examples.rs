//! The producers of `examples/` against a real daemon and sandbox, each where its compiler or interpreter is
//! at hand.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test fails by panicking and says what it skips"
)]

mod common;

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use common::{Home, Sandbox, eventually, hold_event, timestamp};
use serde_json::{Value, json};
use uuid::Uuid;

/// What must never be printed.
const CONTENT: &str = "tel:+13175550199";

#[derive(Clone, Copy, Debug)]
enum Language {
    C,
    Python,
    Node,
}

fn example(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/producers").join(path)
}

/// What drives an example's class.
fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/examples").join(name)
}

/// Whether `program` runs, and is of the version that `check` asks for.
fn is_there(program: &str, check: &[&str]) -> bool {
    let quiet = Command::new(program)
        .args(check)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    let is_there = quiet.is_ok_and(|status| status.success());
    if !is_there {
        eprintln!("skipped: no {program}");
    }
    is_there
}

fn has_python() -> bool {
    is_there("python3", &["-c", "import sys; sys.exit(sys.version_info < (3, 9))"])
}

fn has_node() -> bool {
    is_there("node", &["-e", "process.exit(parseInt(process.versions.node) < 18 ? 1 : 0)"])
}

/// The C producer, compiled once as its README says.
fn compiled() -> Option<&'static PathBuf> {
    static PROGRAM: OnceLock<Option<PathBuf>> = OnceLock::new();
    let compile = || {
        let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join("example-c-producer");
        is_there("cc", &["--version"]).then(|| {
            let mut cc = Command::new("cc");
            cc.args(["-std=c99", "-O2", "-Wall", "-Wextra", "-Werror", "-o"]).arg(&program);
            assert!(cc.arg(example("c/producer.c")).status().unwrap().success());
            program
        })
    };
    PROGRAM.get_or_init(compile).as_ref()
}

/// A producer that takes lines from standard input.
fn producer(language: Language, home: &Home) -> Option<Command> {
    let mut command = match language {
        Language::C => Command::new(compiled()?),
        Language::Python => Command::new(has_python().then_some("python3")?),
        Language::Node => Command::new(has_node().then_some("node")?),
    };
    match language {
        Language::C => command.arg(home.socket()),
        Language::Python => command.arg("-B").arg(fixture("lines.py")).env("EXAMPLE", example("python")),
        Language::Node => command.arg(fixture("lines.mjs")).env("EXAMPLE", example("node")),
    };
    command.env("SOCKET", home.socket()).stdin(Stdio::piped());
    command.stderr(File::create(home.path().join("said")).unwrap());
    Some(command)
}

fn said(home: &Home) -> String {
    std::fs::read_to_string(home.path().join("said")).unwrap()
}

/// Writes `input` and waits for the end.
fn run(mut child: Child, input: &[u8]) -> Output {
    // A child that ends before it has read all is judged by its exit code.
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output().unwrap()
}

fn lines(count: u64) -> (Vec<String>, Vec<String>) {
    let conversation = Uuid::new_v4();
    (0..count)
        .map(|nth| hold_event(conversation, nth))
        .map(|(id, line)| (id.to_string(), format!("{line}\n")))
        .unzip()
}

/// The daemon is killed twice while lines are on their way. The API is down meanwhile, so that what arrives
/// twice was stored twice.
fn lines_survive_kills(language: Language) {
    let sandbox = Sandbox::start(&["--status", "503", "--requests-per-minute", "1000000"]);
    let home = Home::new(&sandbox.addr, "");
    let Some(mut command) = producer(language, &home) else { return };
    let mut daemon = home.run();
    let (ids, lines) = lines(5_000);
    let mut child = command.spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let written = Arc::new(AtomicUsize::new(0));
    let writing = {
        let written = written.clone();
        std::thread::spawn(move || {
            for line in lines {
                input.write_all(line.as_bytes()).unwrap();
                written.fetch_add(1, Ordering::SeqCst);
            }
        })
    };

    for before_kill in [1_000, 3_000] {
        while written.load(Ordering::SeqCst) < before_kill {
            std::thread::yield_now();
        }
        daemon.sigkill();
        assert!(written.load(Ordering::SeqCst) < 5_000, "the kill came too late");
        daemon = home.run();
    }
    writing.join().unwrap();
    let status = child.wait().unwrap();
    sandbox.set_faults(&json!({"status": null}));

    assert!(status.success(), "{language:?}: {}", said(&home));
    eventually("all arrive", || sandbox.stat("distinct") >= 5_000);
    assert_eq!(sandbox.stat("duplicates"), 0, "{language:?}");
    assert_eq!(sandbox.stat("order_violations"), 0, "{language:?}");
    assert!(sandbox.taken_ids() == ids, "{language:?}: not the order of the lines");
}

#[test]
fn lines_through_c_arrive_once_in_order_over_two_kills() {
    lines_survive_kills(Language::C);
}

#[test]
fn events_through_python_arrive_once_in_order_over_two_kills() {
    lines_survive_kills(Language::Python);
}

#[test]
fn events_through_node_arrive_once_in_order_over_two_kills() {
    lines_survive_kills(Language::Node);
}

fn bad_line() -> String {
    let event = json!({"eventId": Uuid::new_v4(), "eventDateTime": timestamp(1), "conversationId": Uuid::new_v4(),
        "ani": CONTENT, "initialConfiguration": {}, "sourceConfiguration": {"sourceId": "s", "interactionId": 7}});
    format!("{}\n", json!({"externalEstablishedEvents": [event]}))
}

#[test]
fn a_refused_event_is_told_by_its_line_and_the_others_arrive() {
    for language in [Language::C, Language::Python, Language::Node] {
        let sandbox = Sandbox::start(&["--requests-per-minute", "1000000"]);
        let home = Home::new(&sandbox.addr, "");
        let Some(mut command) = producer(language, &home) else { continue };
        let _daemon = home.run();
        let (ids, lines) = lines(2);

        let ended = run(
            command.spawn().unwrap(),
            [&lines[0], &bad_line(), &lines[1]].map(String::as_str).concat().as_bytes(),
        );

        let said = said(&home);
        assert_eq!(ended.status.code(), Some(1), "{language:?}: {said}");
        assert!(said.contains("line 2: externalEstablishedEvents[0]: "), "{language:?}: {said}");
        assert!(said.contains("communicationId") && said.contains("interactionId"), "{language:?}: {said}");
        assert!(!said.contains(CONTENT), "{language:?}: {said}");
        eventually("the good ones arrive", || sandbox.taken_ids() == ids);
    }
}

#[test]
fn an_event_refused_for_now_is_sent_until_it_is_taken() {
    for language in [Language::C, Language::Python, Language::Node] {
        let sandbox = Sandbox::start(&["--requests-per-minute", "1000000"]);
        let home = Home::new(&sandbox.addr, "");
        let Some(mut command) = producer(language, &home) else { continue };
        let roomy = std::fs::read_to_string(home.config()).unwrap();
        std::fs::write(home.config(), roomy.replace("\"1MiB\"", "\"1000000GiB\"")).unwrap();
        let daemon = home.run();
        let (ids, lines) = lines(400);
        let child = command.spawn().unwrap();

        let running = std::thread::spawn(move || run(child, lines.concat().as_bytes()));
        eventually("it is refused for now", || said(&home).contains("refused for now"));
        daemon.sigterm();
        daemon.wait();
        std::fs::write(home.config(), roomy).unwrap();
        let _daemon = home.run();
        let ended = running.join().unwrap();

        assert!(ended.status.success(), "{language:?}: {}", said(&home));
        eventually("all arrive", || sandbox.stat("distinct") == 400);
        assert_eq!(sandbox.stat("duplicates"), 0, "{language:?}");
        assert!(sandbox.taken_ids() == ids, "{language:?}: not the order of the lines");
    }
}

#[test]
fn the_c_producer_takes_a_file_with_long_lines_blank_lines_and_no_last_line_feed() {
    let sandbox = Sandbox::start(&["--requests-per-minute", "1000000"]);
    let home = Home::new(&sandbox.addr, "");
    let Some(mut command) = producer(Language::C, &home) else { return };
    let _daemon = home.run();
    let (ids, lines) = lines(1_000);
    let events: Vec<Value> = lines[1..901].iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let many: Vec<&Value> = events.iter().map(|line| &line["holdUpdatedEvents"][0]).collect();
    let file = home.path().join("lines");
    let middle = format!("\r\n \n{}\r\n{}\n", json!({"holdUpdatedEvents": many}), "x".repeat(1_300_000));
    let whole = [lines[0].trim_end(), &middle, lines[901..].concat().trim_end()].concat();
    std::fs::write(&file, whole).unwrap();

    let status = command.arg(&file).status().unwrap();

    let said = said(&home);
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.starts_with("line 4: ") && said.lines().count() == 1, "{said}");
    eventually("all arrive", || sandbox.stat("distinct") == 1_000);
    assert!(sandbox.taken_ids() == ids);
}

#[test]
fn the_samples_and_many_threads_at_once_are_accepted() {
    let sandbox = Sandbox::start(&["--requests-per-minute", "1000000"]);
    let home = Home::new(&sandbox.addr, "");
    let _daemon = home.run();
    let mut expected = 0;
    if has_python() {
        let mut sample = Command::new("python3");
        let ended = sample.arg("-B").arg(example("python/producer.py")).arg(home.socket()).output().unwrap();
        assert!(ended.status.success(), "{ended:?}");
        let mut threads = Command::new("python3");
        threads.arg("-B").arg(fixture("threads.py")).env("EXAMPLE", example("python"));
        let ended = threads.env("SOCKET", home.socket()).output().unwrap();
        assert!(ended.status.success(), "{ended:?}");
        expected += 404;
    }
    if has_node() {
        let mut sample = Command::new("node");
        let ended = sample.arg(example("node/producer.mjs")).arg(home.socket()).output().unwrap();
        assert!(ended.status.success(), "{ended:?}");
        expected += 4;
    }

    eventually("all arrive", || sandbox.stat("distinct") == expected);
    assert_eq!(sandbox.stat("order_violations"), 0);
}

#[test]
fn what_stands_in_the_arguments_of_the_bash_example_stays_data() {
    let sandbox = Sandbox::start(&["--requests-per-minute", "1000000"]);
    let home = Home::new(&sandbox.addr, "");
    if !is_there("bash", &["--version"]) {
        return;
    }
    let _daemon = home.run();
    let presence = |source: &str, message: &str| {
        let mut command = Command::new("bash");
        command.arg(example("bash/presence.sh")).arg(home.socket()).arg(source);
        command.args(["f7b7474c-53c3-4579-8f46-42982e159731", "298ddfb9-f337-4091-a75e-ef7434aa9ce4"]);
        command.arg(message).current_dir(home.path()).env("TRUNKLINE", env!("CARGO_BIN_EXE_trunkline"));
        command.output().unwrap()
    };
    let hostile = "\"}]} & \\\" $(touch bitten) `touch bitten` %s%n ü\n\tlast";

    let taken = presence("90f95193-2c91-4a42-a506-930d4c964c45", hostile);
    let refused = presence("no id", "");

    assert!(taken.status.success(), "{taken:?}");
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("sourceId"), "{refused:?}");
    eventually("it arrives", || sandbox.stat("distinct") == 1);
    assert_eq!(sandbox.taken()[0]["event"]["message"], hostile);
    assert!(!home.path().join("bitten").exists());
}

/// Runs the AGI as Asterisk does, and gives what it told Asterisk.
fn agi(home: &Home, what: &str, variables: &[u8]) -> String {
    let mut command = Command::new(example("asterisk/trunkline.agi"));
    command.arg(what).current_dir(home.path()).env("TRUNKLINE_SOCKET", home.socket());
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(&[variables, b"\n"].concat()).unwrap();
    let mut told = String::new();
    let mut byte = [0];
    // It ends by itself, also when it is not answered.
    while !told.ends_with('\n') && child.stdout.as_mut().unwrap().read(&mut byte).unwrap() == 1 {
        told.push(char::from(byte[0]));
    }
    let _ = stdin.write_all(b"200 result=1\n");
    assert!(child.wait().unwrap().success());
    told
}

#[test]
fn the_agi_keeps_what_a_caller_controls_out_of_ids_and_shells() {
    let sandbox = Sandbox::start(&["--requests-per-minute", "1000000"]);
    let home = Home::new(&sandbox.addr, "");
    if !has_python() {
        return;
    }
    let _daemon = home.run();
    let call = |name: &[u8]| {
        let mut variables = b"agi_request: trunkline.agi\nagi_uniqueid: 1772445600.12\nagi_callerid: +13175550143\nagi_calleridname: ".to_vec();
        variables.extend([name, b"\nagi_dnid: $(touch bitten)\nagi_extension: s\n"].concat());
        variables
    };
    let names: [&[u8]; 5] = [
        b"\"; $(touch bitten) `touch bitten` | & \\",
        b"eve\nagi_uniqueid: 666.1\nagi_callerid: 0000",
        b"eve\n\n200 result=1\nSET VARIABLE X \"y\"",
        b"\xff\xfe\x00\x1b[31m\r%s{\"a\":1}",
        &[b'x'; 30_000],
    ];

    let told: BTreeSet<String> = names.iter().map(|name| agi(&home, "established", &call(name))).collect();
    let ended = agi(&home, "ended", &call(b"eve"));

    assert_eq!(told, BTreeSet::from(["SET VARIABLE TRUNKLINE_STATUS \"accepted\"\n".to_owned()]));
    assert!(told.contains(&ended), "{ended}");
    eventually("one call arrives", || sandbox.stat("distinct") == 2);
    let taken = sandbox.taken();
    assert_eq!(taken.len(), 2, "the same call again is the same event: {taken:?}");
    assert_eq!(taken[0]["event"]["conversationId"], taken[1]["event"]["conversationId"]);
    assert_eq!(taken[0]["event"]["ani"], "tel:+13175550143");
    assert_eq!(taken[0]["event"]["aniName"], String::from_utf8_lossy(names[0]).as_ref());
    assert_eq!(taken[0]["event"]["dnis"], "$(touch bitten)");
    assert!(!home.path().join("bitten").exists());
}

#[test]
fn the_agi_ends_when_trunkline_does_not_answer_or_is_not_there() {
    let home = Home::new("127.0.0.1:1", "");
    if !has_python() {
        return;
    }
    let unreachable = "SET VARIABLE TRUNKLINE_STATUS \"unreachable\"\n";

    let nobody = agi(&home, "established", b"agi_uniqueid: 1.1\n");
    let _silent = UnixListener::bind(home.socket()).unwrap();
    let silent = agi(&home, "established", b"agi_uniqueid: 1.1\n");
    let unusable = agi(&home, "unheard", b"agi_uniqueid: 1.1\n");
    let mut endless = Command::new(example("asterisk/trunkline.agi")).stdin(Stdio::piped()).spawn().unwrap();

    assert_eq!([nobody, silent], [unreachable, unreachable]);
    assert_eq!(unusable, "SET VARIABLE TRUNKLINE_STATUS \"unusable\"\n");
    eventually("it ends without its variables", || endless.try_wait().unwrap().is_some());
}
