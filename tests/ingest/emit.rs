//! `trunkline emit` as a dialplan uses it: the real binary against a real daemon.

use std::ffi::{OsStr, OsString};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::net::UnixListener;
use std::process::{Output, Stdio};
use std::time::Duration;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use trunkline::clock::Clock;
use trunkline::event::catalogue;
use uuid::Uuid;

use crate::common::{Home, Sandbox, eventually, hold_event, trunkline};

fn emit(home: &Home, words: &[&str]) -> Output {
    trunkline()
        .args(["emit", "--timeout", "20s", "--config"])
        .arg(home.config())
        .args(words)
        .output()
        .unwrap()
}

fn said(output: &Output) -> (String, String) {
    let text = |raw: &[u8]| String::from_utf8(raw.to_vec()).unwrap();
    (text(&output.stdout), text(&output.stderr))
}

#[test]
fn an_event_from_words_is_delivered_and_its_id_is_printed() {
    let sandbox = Sandbox::start(&[]);
    let home = Home::new(&sandbox.addr, "[emit]\nsource_id = \"pbx-7\"\n");
    let _daemon = home.run();

    let output = emit(&home, &["userRoutingStatusEvents", "agentId=uuid:anna", "status=Idle"]);
    let again = emit(&home, &["userRoutingStatusEvents", "agentId=uuid:anna", "status=Interacting"]);

    let id: Uuid = said(&output).0.trim().parse().unwrap();
    assert_eq!((output.status.code(), again.status.code(), id.get_version_num()), (Some(0), Some(0), 4));
    eventually("both are delivered", || sandbox.taken().len() == 2);
    let taken = sandbox.taken();
    assert_eq!(taken[0]["eventId"], id.to_string());
    assert_eq!(taken[0]["event"]["sourceId"].as_str().or(taken[0]["sourceId"].as_str()), Some("pbx-7"));
}

#[test]
fn a_refused_event_is_1_and_a_mistake_is_64_and_says_what_is_allowed() {
    let sandbox = Sandbox::start(&[]);
    let home = Home::new(&sandbox.addr, "");
    let _daemon = home.run();

    let refused = emit(&home, &["userRoutingStatusEvents", "status=Idle"]);
    let typo = emit(&home, &["userRoutingStatusEvents", "agentID=x", "status=Idle"]);
    let array = emit(&home, &["userRoutingEvents", "a=b"]);

    assert_eq!(refused.status.code(), Some(1));
    assert!(said(&refused).1.contains("agentId"), "{refused:?}");
    assert_eq!((typo.status.code(), array.status.code()), (Some(64), Some(64)));
    assert!(said(&typo).1.contains("did you mean agentId?"), "{typo:?}");
    assert!(said(&array).1.contains("emit --list"), "{array:?}");
}

#[test]
fn json_from_standard_input_is_the_beginning_and_words_win() {
    let sandbox = Sandbox::start(&[]);
    let home = Home::new(&sandbox.addr, "");
    let _daemon = home.run();
    let mut child = trunkline()
        .args(["emit", "--timeout", "20s", "--config"])
        .arg(home.config())
        .args(["userRoutingStatusEvents", "--from-json", "-", "status=Idle"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let json = r#"{"agentId":"a-1","sourceId":"s","status":"OffQueue","newerField":{"x":1}}"#;
    child.stdin.take().unwrap().write_all(json.as_bytes()).unwrap();

    let output = child.wait_with_output().unwrap();

    assert_eq!(output.status.code(), Some(0), "{output:?}");
}

#[test]
fn a_daemon_that_is_not_there_or_does_not_answer_is_69_in_time() {
    let dir = tempfile::tempdir().unwrap();
    let stuck = dir.path().join("stuck.sock");
    let _listener = UnixListener::bind(&stuck).unwrap();
    let run = |socket: &std::path::Path| {
        let words = ["emit", "userRoutingStatusEvents", "agentId=a", "status=Idle", "--socket"];
        trunkline().args(words).arg(socket).output().unwrap()
    };

    let (gone, silent) = (run(&dir.path().join("none.sock")), run(&stuck));

    assert_eq!((gone.status.code(), silent.status.code()), (Some(69), Some(69)));
    assert!(said(&silent).1.contains("no answer within 500ms"), "{silent:?}");
}

/// What `emit` writes to a socket, if a daemon took it there.
fn line_of(words: &[&OsStr]) -> (Output, String) {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("door.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let door = std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut line = String::new();
        BufReader::new(&stream).read_line(&mut line).unwrap();
        (&stream).write_all(b"{\"errors\":[]}\n").unwrap();
        line
    });
    let output =
        trunkline().args(["emit", "--timeout", "20s", "--socket"]).arg(&socket).args(words).output().unwrap();
    (output, door.join().unwrap())
}

#[test]
fn an_id_of_nothing_is_64_and_names_its_key() {
    let run = |word: &str| {
        let words = ["emit", "communicationAnsweredEvents", "communicationId=uuid:leg-1", word];
        trunkline().args(words).output().unwrap()
    };

    let words = ["uuid:", "uuid: ", "uuid:\"\"", "uuid:\u{200b}", "uuid:\u{feff}", "uuid:\u{7f}"];
    for word in words.map(|value| format!("conversationId={value}")) {
        let output = run(&word);

        assert_eq!(output.status.code(), Some(64), "{output:?}");
        assert!(said(&output).1.contains("conversationId: uuid: needs a text"), "{output:?}");
    }
    assert_eq!(run("conversationId=").status.code(), Some(64));
}

#[test]
fn numbers_keep_their_bytes_and_a_key_that_appears_twice_is_64() {
    let json = r#"{"more":[1e400,123456789012345678901],"kpiId":"k"}"#;
    let words = ["customKpiAttributionEvents", "associatedValue=1.10", "--from-json", json];
    let twice = ["emit", "customKpiAttributionEvents", "--from-json", r#"{"kpiId":"a","kpiId":"b"}"#];

    let (output, line) = line_of(&words.map(OsStr::new));
    let refused = trunkline().args(twice).output().unwrap();

    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(
        line.contains(r#""more":[1e400,123456789012345678901],"kpiId":"k","associatedValue":1.10,"#),
        "{line}"
    );
    assert_eq!(refused.status.code(), Some(64), "{refused:?}");
    assert!(said(&refused).1.contains("\"kpiId\" appears twice"), "{refused:?}");
}

#[test]
fn a_name_in_latin_1_does_not_lose_the_call_and_an_id_in_it_is_64() {
    let latin = |text: &[u8]| OsString::from(OsStr::from_bytes(text));
    let (array, name) = (OsString::from("userPresenceEvents"), latin(b"message=J\xf6rg"));
    let id = latin(b"userId=J\xf6rg");

    let (output, line) = line_of(&[&array, &name, OsStr::new("userId=u")]);
    let refused = trunkline().arg("emit").args([&array, &id]).output().unwrap();

    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(line.contains("\"message\":\"J\u{fffd}rg\""), "{line}");
    assert!(said(&output).1.contains("message: not UTF-8"), "{output:?}");
    assert_eq!(refused.status.code(), Some(64), "{refused:?}");
    assert!(said(&refused).1.contains("userId: the value is not UTF-8"), "{refused:?}");
}

#[test]
fn a_byte_order_mark_before_json_is_taken_off() {
    let json = "\u{feff}{\"agentId\":\"a\"}";
    let words = ["userRoutingStatusEvents", "status=Idle", "--from-json", json];

    let (output, line) = line_of(&words.map(OsStr::new));

    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(line.starts_with("{\"userRoutingStatusEvents\":[{\"agentId\":\"a\","), "{line}");
}

#[test]
fn a_configuration_that_hangs_is_69_in_time_also_with_a_socket_given() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("hanging.toml");
    nix::unistd::mkfifo(&config, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let event = ["emit", "userRoutingStatusEvents", "agentId=a", "status=Idle", "--config"];

    for more in [&[][..], &["--socket", "/nowhere.sock"]] {
        let output = trunkline().args(event).arg(&config).args(more).output().unwrap();

        assert_eq!(output.status.code(), Some(69), "{output:?}");
        assert!(said(&output).1.contains("reading the configuration took longer than 500ms"), "{output:?}");
    }
}

#[test]
fn an_accepted_event_is_0_whoever_takes_its_id() {
    let sandbox = Sandbox::start(&[]);
    let home = Home::new(&sandbox.addr, "");
    let _daemon = home.run();
    let words = ["userRoutingStatusEvents", "agentId=a", "status=Idle", "sourceId=s"];

    let output = trunkline()
        .args(["emit", "--timeout", "20s", "--config"])
        .arg(home.config())
        .args(words)
        .stdout(std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap())
        .output()
        .unwrap();

    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(said(&output).1.contains("was accepted, but its id cannot be written to stdout"), "{output:?}");
    eventually("it is delivered", || sandbox.taken().len() == 1);
}

#[test]
fn names_become_the_ids_that_the_map_has_for_them() {
    let dir = tempfile::tempdir().unwrap();
    let (config, map) = (dir.path().join("trunkline.toml"), dir.path().join("ids.csv"));
    let (user, queue) = (Uuid::new_v4(), Uuid::new_v4());
    std::fs::write(&config, "[ids]\nfile = \"ids.csv\"\n").unwrap();
    std::fs::write(
        &map,
        format!("kind,name,id\nuser,1042,{user}\nqueue,\"Büro \"\"Süd\"\", Bonn\",{queue}\n"),
    )
    .unwrap();
    let config = config.to_str().unwrap();
    let named = ["emit", "userRoutingStatusEvents", "status=Idle", "--config", config];

    let (output, line) =
        line_of(&["userRoutingStatusEvents", "agentId=user:1042", "--config", config].map(OsStr::new));
    let (quoted, quoted_line) = line_of(
        &["routingEstablishedEvents", "queueId=queue:Büro \"Süd\", Bonn", "--config", config].map(OsStr::new),
    );
    let unknown = trunkline().args(named).arg("agentId=user:1043").output().unwrap();
    let other = trunkline().args(named).arg("agentId=queue:1042").output().unwrap();
    std::fs::write(&map, format!("kind,name,id\nuser,1042,{user}\nuser,1042,{queue}\n")).unwrap();
    let ambiguous = trunkline().args(named).arg("agentId=user:1042").output().unwrap();
    std::fs::write(config, "").unwrap();
    let without = trunkline().args(named).arg("agentId=user:1042").output().unwrap();

    assert_eq!((output.status.code(), quoted.status.code()), (Some(0), Some(0)), "{output:?} {quoted:?}");
    assert!(line.contains(&format!("\"agentId\":\"{user}\"")), "{line}");
    assert!(quoted_line.contains(&format!("\"queueId\":\"{queue}\"")), "{quoted_line}");
    let refused = [
        (unknown, 64, "has no user \"1043\"; did you mean 1042?"),
        (other, 64, "agentId takes user:NAME, not queue:NAME"),
        (ambiguous, 78, "line 3: this user has another id in line 2"),
        (without, 64, "ids.file is not set"),
    ];
    for (output, code, says) in refused {
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        assert!(said(&output).1.contains(says), "{output:?}");
    }
}

#[test]
fn a_stderr_that_nobody_reads_keeps_no_call_waiting() {
    let home = Home::new("127.0.0.1:1", "");
    let (_reader, mut writer) = std::io::pipe().unwrap();
    fcntl(&writer, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
    while writer.write(&[b'x'; 4096]).is_ok() {}
    fcntl(&writer, FcntlArg::F_SETFL(OFlag::empty())).unwrap();
    let exit_of = |words: &[&str]| {
        let mut command = trunkline();
        command
            .arg("emit")
            .args(words)
            .arg("--config")
            .arg(home.config())
            .stderr(writer.try_clone().unwrap());
        let mut child = command.spawn().unwrap();
        let mut status = None;
        eventually("emit ends", || {
            status = child.try_wait().unwrap();
            status.is_some()
        });
        status.and_then(|status| status.code())
    };

    let clock = Clock::system();
    let usage = exit_of(&["--bogus"]);
    // The shortest of some: the host may be busy.
    let took = (0..8).map(|_| {
        let began = clock.mono();
        assert_eq!(exit_of(&["noSuchEvents"]), Some(64));
        clock.mono().since(began)
    });
    let shortest = took.min().unwrap();

    assert_eq!(usage, Some(64));
    assert!(shortest < Duration::from_secs(1), "{shortest:?}");
}

/// A line that no socket's buffer holds: writing it fails once the daemon has refused the connection.
fn long_event() -> String {
    format!(r#"{{"agentId":"a","sourceId":"s","status":"Idle","newerField":"{}"}}"#, "x".repeat(800_000))
}

/// `emit` with `json` on its standard input; the input stays open if it is `None`.
fn emit_from_stdin(home: &Home, timeout: &str, json: Option<&str>) -> Output {
    let mut child = trunkline()
        .args(["emit", "userRoutingStatusEvents", "--from-json", "-", "--timeout", timeout, "--config"])
        .arg(home.config())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take();
    if let Some(json) = json {
        stdin.take().unwrap().write_all(json.as_bytes()).unwrap();
    }
    eventually("it ends", || child.try_wait().unwrap().is_some());
    child.wait_with_output().unwrap()
}

#[test]
fn a_uid_that_is_not_allowed_is_77_however_far_the_line_had_come() {
    let sandbox = Sandbox::start(&[]);
    let home = Home::new(&sandbox.addr, "");
    home.reconfigure("[ingest.stream]", "[ingest.stream]\nallow_uids = [\"4294967\"]");
    let _daemon = home.run();
    let file = home.path().join("lines");
    std::fs::write(&file, hold_event(Uuid::new_v4(), 1).1).unwrap();

    let mut outputs: Vec<Output> =
        (0..20).map(|_| emit(&home, &["userRoutingStatusEvents", "agentId=a", "status=Idle"])).collect();
    outputs.push(emit_from_stdin(&home, "20s", Some(&long_event())));
    outputs.push(home.send(&[&file]));

    for output in outputs {
        assert_eq!(output.status.code(), Some(77), "{output:?}");
        assert!(said(&output).1.contains("ingest.stream.allow_uids"), "{output:?}");
    }
}

#[test]
fn a_daemon_with_too_many_connections_is_69_and_says_so() {
    let sandbox = Sandbox::start(&[]);
    let home = Home::new(&sandbox.addr, "[ingest]\nmax_connections = 2\n");
    let _daemon = home.run();
    let mut held = None;
    eventually("the one place is taken", || {
        held = None;
        let mut producer = home.producer();
        let is_served = producer.line("{}").is_ok()
            && producer.answer().is_ok_and(|said| said.is_some_and(|said| said["status"] == 400));
        held = Some(producer);
        is_served
    });
    let file = home.path().join("lines");
    std::fs::write(&file, hold_event(Uuid::new_v4(), 1).1).unwrap();

    let send = ["send", "--reconnect-for", "0s", file.to_str().unwrap()];
    let outputs = [
        emit(&home, &["userRoutingStatusEvents", "agentId=a", "status=Idle"]),
        emit_from_stdin(&home, "20s", Some(&long_event())),
        home.cli(&send),
    ];

    for output in outputs {
        assert_eq!(output.status.code(), Some(69), "{output:?}");
        assert!(said(&output).1.contains("half of ingest.max_connections"), "{output:?}");
    }
    drop(held);
}

#[test]
fn standard_input_that_does_not_end_is_69_in_time() {
    let sandbox = Sandbox::start(&[]);
    let home = Home::new(&sandbox.addr, "");

    let output = emit_from_stdin(&home, "500ms", None);

    assert_eq!(output.status.code(), Some(69), "{output:?}");
    assert!(said(&output).1.contains("reading standard input took longer than 500ms"), "{output:?}");
}

#[test]
fn a_fault_in_another_key_keeps_nobody_from_the_daemon() {
    let sandbox = Sandbox::start(&[]);
    let home = Home::new(&sandbox.addr, "[emit]\nsource_id = \"pbx-7\"\n");
    let _daemon = home.run();
    let good = std::fs::read_to_string(home.config()).unwrap();
    let command =
        |words: &[&str]| trunkline().args(words).arg("--config").arg(home.config()).output().unwrap();

    std::fs::write(home.config(), format!("{good}\n[log]\nlevel = \"loud\"\nnonsense = 1\n")).unwrap();
    let emitted = emit(&home, &["userRoutingStatusEvents", "agentId=uuid:anna", "status=Idle"]);
    let (sent, status) = (command(&["send", "/dev/null"]), command(&["status"]));
    let checked = command(&["config", "check"]);
    std::fs::write(home.config(), good.replace("[emit]", "[emit]\nsource_id = []\n[x]")).unwrap();
    let own = emit(&home, &["userRoutingStatusEvents", "agentId=uuid:anna", "status=Idle"]);

    let codes = [&emitted, &sent, &status, &checked, &own].map(|output| output.status.code());
    assert_eq!(
        codes,
        [Some(0), Some(0), Some(0), Some(78), Some(78)],
        "{emitted:?} {sent:?} {status:?} {own:?}"
    );
    assert!(said(&own).1.contains("emit.source_id"), "{own:?}");
    eventually("it is delivered", || sandbox.taken().len() == 1);
}

#[test]
fn a_number_or_an_extension_as_a_fields_name_is_forwarded_and_not_logged() {
    let sandbox = Sandbox::start(&[]);
    let home = Home::new(&sandbox.addr, "");
    let _daemon = home.run();
    let json =
        r#"{"agentId":"a","status":"Idle","sourceId":"s","newerField":1,"4915112345678":1,"j.doe-4711":1}"#;

    let output = emit(&home, &["userRoutingStatusEvents", "--from-json", json]);

    assert_eq!(output.status.code(), Some(0), "{output:?}");
    eventually("they are told", || home.log().matches("unknown field or value").count() >= 2);
    let log = home.log();
    assert!(log.contains("newerField"), "{log}");
    assert!(!log.contains("4915112345678") && !log.contains("4711"), "{log}");
    eventually("it is delivered", || sandbox.taken().len() == 1);
}

#[test]
fn help_and_list_come_from_the_table() {
    let list = said(&trunkline().args(["emit", "--list"]).output().unwrap()).0;

    for known in catalogue::types() {
        assert!(list.contains(known.array), "{} is not listed", known.array);
        let help = said(&trunkline().args(["emit", known.array, "--help"]).output().unwrap()).0;
        for field in known.fields {
            assert!(help.contains(field.name), "{}: {} is not told", known.array, field.name);
        }
    }
}

#[test]
fn an_array_that_is_written_wrong_gets_a_suggestion() {
    let home = Home::new("127.0.0.1:1", "");

    let wrong_case = emit(&home, &["userpresenceevents"]);
    let other = emit(&home, &["zzz"]);

    assert_eq!((wrong_case.status.code(), other.status.code()), (Some(64), Some(64)));
    assert!(said(&wrong_case).1.contains("did you mean userPresenceEvents?"), "{wrong_case:?}");
    assert!(said(&other).1.contains("unknown array \"zzz\"; see"), "{other:?}");
}

#[test]
fn utf_16_is_named() {
    let home = Home::new("127.0.0.1:1", "");
    let _daemon = home.run();
    let utf16 = |text: &str| -> Vec<u8> {
        std::iter::once(0xfeff).chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect()
    };
    let ids = home.path().join("ids.csv");
    std::fs::write(&ids, utf16("kind,name,id\n")).unwrap();
    let json = OsString::from_vec(utf16("{}").into_iter().filter(|byte| *byte != 0).collect());

    let mut producer = home.producer();
    producer.write(&[&utf16("{}")[..], b"\n"].concat()).unwrap();
    let door = producer.answer().unwrap().unwrap();
    let from_json = trunkline()
        .args(["emit", "userPresenceEvents", "--from-json"])
        .arg(json)
        .arg("--config")
        .arg(home.config())
        .output()
        .unwrap();
    home.reconfigure("[upstream]\n", "[ids]\nfile = \"ids.csv\"\n[upstream]\n");
    let map = emit(&home, &["userRoutingStatusEvents", "agentId=user:1", "status=Idle"]);
    std::fs::write(home.config(), utf16("[upstream]\n")).unwrap();
    let config = home.cli(&["config", "check"]);

    assert!(door["message"].as_str().unwrap().contains("UTF-16"), "{door}");
    for output in [from_json, map, config] {
        assert!(said(&output).1.contains("is UTF-16; save it as UTF-8"), "{output:?}");
    }
}
