//! The producers of `examples/` against a real daemon and sandbox, each where its compiler or interpreter is
//! at hand.

#![expect(clippy::print_stderr, reason = "a test says what it skips")]

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use serde_json::{Value, json};
use uuid::Uuid;

use crate::common::{Home, Running, Sandbox, eventually, hold_event, timestamp};

/// No rate limit: how fast events leave is no matter here.
const UNPACED: &[&str] = &["--requests-per-minute", "1000000"];

/// What must never be printed.
const CONTENT: &str = "tel:+13175550199";

#[derive(Clone, Copy, Debug)]
enum Language {
    C,
    Python,
    Node,
}

const ALL: [Language; 3] = [Language::C, Language::Python, Language::Node];

fn example(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/producers").join(path)
}

/// What drives an example's class.
fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/examples").join(name)
}

/// Whether `program` runs, and is of the version that `check` asks for.
fn is_there(program: &str, check: &[&str]) -> bool {
    let is_there = Command::new(program).args(check).output().is_ok_and(|ended| ended.status.success());
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
            let flags = ["-std=c99", "-O2", "-Wall", "-Wextra", "-Werror", "-o"];
            let mut cc = Command::new("cc");
            assert!(cc.args(flags).arg(&program).arg(example("c/producer.c")).status().unwrap().success());
            program
        })
    };
    PROGRAM.get_or_init(compile).as_ref()
}

/// A producer that takes lines from standard input, and is ended if it never ends.
fn producer(language: Language, home: &Home) -> Option<Command> {
    let mut command = Command::new("timeout");
    command.args(["--signal=KILL", "300"]);
    match language {
        Language::C => command.arg(compiled()?).arg(home.socket()),
        Language::Python if !has_python() => return None,
        Language::Python => command.args(["python3", "-B"]).arg(fixture("lines.py")),
        Language::Node if !has_node() => return None,
        Language::Node => command.arg("node").arg(fixture("lines.mjs")),
    };
    command.env("EXAMPLES", example("")).env("SOCKET", home.socket());
    command.stdin(Stdio::piped()).stdout(Stdio::null());
    command.stderr(File::create(home.path().join("said")).unwrap());
    Some(command)
}

fn said(home: &Home) -> String {
    std::fs::read_to_string(home.path().join("said")).unwrap()
}

/// Writes `input` and waits for the exit code.
fn run(mut child: Child, input: &[u8]) -> Option<i32> {
    // A child that ends before it has read all is judged by its exit code.
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait().unwrap().code()
}

fn lines(count: u64) -> (Vec<String>, Vec<String>) {
    let conversation = Uuid::new_v4();
    let events = (0..count).map(|nth| hold_event(conversation, nth));
    events.map(|(id, line)| (id.to_string(), format!("{line}\n"))).unzip()
}

/// The daemon is killed twice while lines are on their way. The API is down meanwhile, so that what arrives
/// twice was stored twice.
fn lines_survive_kills(language: Language) {
    let sandbox = Sandbox::start(&[UNPACED, &["--status", "503"]].concat());
    let home = Home::new(&sandbox.addr, "");
    let Some(mut command) = producer(language, &home) else { return };
    let mut daemon = home.run();
    let (ids, lines) = lines(5_000);
    let mut child = command.spawn().unwrap();

    for part in [&lines[..1_000], &lines[1_000..3_000]] {
        // Returns while the last few hundred are on their way.
        child.stdin.as_mut().unwrap().write_all(part.concat().as_bytes()).unwrap();
        daemon.sigkill();
        daemon = home.run();
    }
    let code = run(child, lines[3_000..].concat().as_bytes());
    sandbox.set_faults(&json!({"status": null}));

    assert_eq!(code, Some(0), "{language:?}: {}", said(&home));
    eventually("all arrive", || sandbox.stat("distinct") >= 5_000);
    assert_eq!(sandbox.stat("duplicates"), 0, "{language:?}");
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

fn desk() -> (Sandbox, Home, Running) {
    let sandbox = Sandbox::start(UNPACED);
    let home = Home::new(&sandbox.addr, "");
    let daemon = home.run();
    (sandbox, home, daemon)
}

fn bad_line() -> String {
    let event = json!({"eventId": Uuid::new_v4(), "eventDateTime": timestamp(1), "conversationId": Uuid::new_v4(),
        "ani": CONTENT, "initialConfiguration": {}, "sourceConfiguration": {"sourceId": "s", "interactionId": 7}});
    format!("{}\n", json!({"externalEstablishedEvents": [event]}))
}

#[test]
fn a_refused_event_is_told_by_its_line_and_the_others_arrive() {
    for language in ALL {
        let sandbox = Sandbox::start(UNPACED);
        let home = Home::new(&sandbox.addr, "");
        let Some(mut command) = producer(language, &home) else { continue };
        let _daemon = home.run();
        let (ids, lines) = lines(2);

        let input = [lines[0].as_str(), &bad_line(), &lines[1]].concat();
        let code = run(command.spawn().unwrap(), input.as_bytes());

        let said = said(&home);
        assert_eq!(code, Some(1), "{language:?}: {said}");
        assert!(said.contains("line 2: externalEstablishedEvents[0]: "), "{language:?}: {said}");
        assert!(said.contains("communicationId") && said.contains("interactionId"), "{language:?}: {said}");
        assert!(!said.contains(CONTENT), "{language:?}: {said}");
        eventually("the good ones arrive", || sandbox.taken_ids() == ids);
    }
}

#[test]
fn an_event_refused_for_now_is_sent_until_it_is_taken() {
    for language in ALL {
        let sandbox = Sandbox::start(UNPACED);
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
        let code = running.join().unwrap();

        assert_eq!(code, Some(0), "{language:?}: {}", said(&home));
        eventually("all arrive", || sandbox.stat("distinct") == 400);
        assert!(sandbox.taken_ids() == ids, "{language:?}: not the order of the lines");
    }
}

#[test]
fn no_later_event_is_written_before_one_that_has_to_go_again() {
    const WINDOW: usize = 256;
    const ACCEPTED: &str = r#"{"errors":[]}"#;
    let home = Home::new("127.0.0.1:1", "");
    let (_, lines) = lines(300);
    for language in ALL {
        let Some(mut command) = producer(language, &home) else { continue };
        let _ = std::fs::remove_file(home.socket());
        let door = UnixListener::bind(home.socket()).unwrap();
        let child = command.spawn().unwrap();
        let input = lines.concat();
        let running = std::thread::spawn(move || run(child, input.as_bytes()));

        let (mut answers, _) = door.accept().unwrap();
        let mut seen = BufReader::new(answers.try_clone().unwrap()).lines();
        let mut written: Vec<String> = seen.by_ref().take(WINDOW).map(Result::unwrap).collect();
        let refused = r#"{"errors":[{"eventId":null,"message":"full","retryable":true}]}"#;
        writeln!(answers, "{refused}\n{}", [ACCEPTED; 100].join("\n")).unwrap();
        answers.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        assert!(seen.next().unwrap().is_err(), "{language:?}: a later event");
        answers.set_read_timeout(None).unwrap();
        writeln!(answers, "{}", [ACCEPTED; WINDOW - 101].join("\n")).unwrap();
        for line in seen {
            written.push(line.unwrap());
            writeln!(answers, "{ACCEPTED}").unwrap();
        }

        assert_eq!(running.join().unwrap(), Some(0), "{language:?}: {}", said(&home));
        let read = |line: &String| serde_json::from_str::<Value>(line).unwrap();
        let mut expected: Vec<Value> = lines.iter().map(read).collect();
        expected.insert(WINDOW, expected[0].clone());
        assert!(written.iter().map(read).eq(expected), "{language:?}: another order");
    }
}

#[test]
fn the_c_producer_takes_a_file_with_long_lines_blank_lines_and_no_last_line_feed() {
    let (sandbox, home, _daemon) = desk();
    let Some(mut command) = producer(Language::C, &home) else { return };
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
    let (sandbox, home, _daemon) = desk();
    let mut expected = 0;
    if has_python() {
        let mut sample = Command::new("python3");
        let ended = sample.arg("-B").arg(example("python/producer.py")).arg(home.socket()).output().unwrap();
        assert!(ended.status.success(), "{ended:?}");
        let mut threads = Command::new("python3");
        threads.arg("-B").arg(fixture("threads.py")).env("EXAMPLES", example(""));
        let ended = threads.env("SOCKET", home.socket()).output().unwrap();
        assert!(ended.status.success(), "{ended:?}");
        expected += 404;
    }
    if has_node() {
        let ended =
            Command::new("node").arg(example("node/producer.mjs")).arg(home.socket()).output().unwrap();
        assert!(ended.status.success(), "{ended:?}");
        expected += 4;
    }

    eventually("all arrive", || sandbox.stat("distinct") == expected);
    assert_eq!(sandbox.stat("order_violations"), 0);
}

#[test]
fn what_stands_in_the_arguments_of_the_bash_example_stays_data() {
    let (sandbox, home, _daemon) = desk();
    if !is_there("bash", &["--version"]) {
        return;
    }
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
fn agi(home: &Home, limit_ms: u32, what: &str, variables: &[u8]) -> String {
    let mut command = Command::new(example("asterisk/trunkline.agi"));
    command.arg(what).current_dir(home.path()).env("TRUNKLINE_SOCKET", home.socket());
    command.env("TRUNKLINE_LIMIT_MS", limit_ms.to_string());
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
    if !has_python() {
        return;
    }
    let (sandbox, home, _daemon) = desk();
    let limit_ms = 30_000;
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

    let told: BTreeSet<String> =
        names.iter().map(|name| agi(&home, limit_ms, "established", &call(name))).collect();
    let ended = agi(&home, limit_ms, "ended", &call(b"eve"));

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
    let limit_ms = 3_000;

    let nobody = agi(&home, limit_ms, "established", b"agi_uniqueid: 1.1\n");
    let _silent = UnixListener::bind(home.socket()).unwrap();
    let silent = agi(&home, limit_ms, "established", b"agi_uniqueid: 1.1\n");
    let unusable = agi(&home, limit_ms, "unheard", b"agi_uniqueid: 1.1\n");
    let mut endless = Command::new(example("asterisk/trunkline.agi")).stdin(Stdio::piped()).spawn().unwrap();

    let told = ["unreachable", "unreachable", "unusable"];
    assert_eq!(
        [nobody, silent, unusable],
        told.map(|status| format!("SET VARIABLE TRUNKLINE_STATUS \"{status}\"\n"))
    );
    eventually("it ends without its variables", || endless.try_wait().unwrap().is_some());
}
