//! The main job as a user has it: sandbox, daemon and `send` as processes of their own.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use uuid::Uuid;

use crate::common::{Home, Sandbox, accepted, eventually, hold_event, timestamp, trunkline};

/// A consult transfer's beginning, an email and an agent's day in small: lines as a producer writes them.
fn sample_lines(round: u64) -> Vec<Value> {
    let [conversation, communication, agent, source] = std::array::from_fn(|_| Uuid::new_v4());
    let at = |n: u64| timestamp(round * 1000 + n);
    let base = |n: u64| json!({"eventId": Uuid::new_v4(), "eventDateTime": at(n), "conversationId": conversation, "communicationId": communication});
    let with = |n: u64, more: Value| {
        let mut event = base(n);
        event.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        event
    };
    let configuration = json!({"initialConfiguration": {"inbound": true}, "sourceConfiguration": {"sourceId": source, "interactionId": "PBX-1"}});
    vec![
        json!({"externalEstablishedEvents": [with(1, configuration.clone())]}),
        json!({"holdUpdatedEvents": [with(2, json!({"held": true})), with(3, json!({"held": false}))]}),
        json!({"communicationEndedEvents": [with(4, json!({"disconnectType": "Peer"}))],
               "userRoutingStatusEvents": [{"eventId": Uuid::new_v4(), "eventDateTime": at(5), "agentId": agent, "status": "Idle", "sourceId": source}]}),
        json!({"userPresenceEvents": [{"eventId": Uuid::new_v4(), "eventDateTime": at(6), "userId": agent, "sourceId": source}]}),
        json!({"customKpiAttributionEvents": [{"eventId": Uuid::new_v4(), "eventDateTime": at(7), "kpiId": "sales", "associatedValue": 1.50}]}),
    ]
}

#[test]
fn every_event_of_a_sent_file_arrives_once_in_order_and_in_bounded_batches() {
    let sandbox = Sandbox::start(&["--requests-per-minute", "100000"]);
    let home = Home::new(&sandbox.addr, "");
    let _daemon = home.run();
    let lines: Vec<Value> = (0..60).flat_map(sample_lines).collect();
    let file = home.path().join("calls.ndjson");
    std::fs::write(&file, lines.iter().map(|line| format!("{line}\n")).collect::<String>()).unwrap();

    let sent = home.send(&[&file]);

    assert!(sent.status.success(), "{sent:?}");
    assert!(String::from_utf8_lossy(&sent.stdout).contains("accepted 420"), "{sent:?}");
    eventually("all events arrive", || sandbox.stat("distinct") >= 420);
    let stats = sandbox.stats();
    assert_eq!(stats["distinct"], 420, "{stats}");
    assert_eq!(stats["duplicates"], 0, "{stats}");
    assert_eq!(stats["order_violations"], 0, "{stats}");
    assert_eq!(stats["same_key_in_flight"], 0, "{stats}");
    assert!(stats["max_request_events"].as_u64().unwrap() <= 100, "{stats}");
    assert!(stats["max_request_bytes"].as_u64().unwrap() <= 500_000, "{stats}");
}

#[test]
fn what_the_api_gets_is_what_the_producer_wrote() {
    let sandbox = Sandbox::start(&[]);
    let home = Home::new(&sandbox.addr, "");
    let _daemon = home.run();
    let id = Uuid::new_v4();
    let line = format!(
        r#"{{"customKpiAttributionEvents":[{{"eventId":"{id}","eventDateTime":"2026-03-02T10:00:00Z","kpiId":"s\u00e9","associatedValue":1.50,"newer":{{"n":1e2}}}}]}}"#
    );

    let answer = home.producer().ask(&line);

    assert_eq!(answer, accepted());
    eventually("it arrives", || sandbox.stat("distinct") == 1);
    let event = sandbox.taken()[0]["event"].clone();
    assert_eq!(event["kpiId"], "sé");
    assert_eq!(event["associatedValue"], 1.5);
    assert_eq!(event["newer"], json!({"n": 100.0}));
}

#[test]
fn a_bad_line_gets_its_answer_and_the_good_lines_around_it_arrive() {
    let sandbox = Sandbox::start(&[]);
    let home = Home::new(&sandbox.addr, "");
    let _daemon = home.run();
    let conversation = Uuid::new_v4();
    let mut good = BTreeSet::new();
    let mut next_good = |nth| {
        let (id, line) = hold_event(conversation, nth);
        good.insert(id.to_string());
        line
    };
    let too_long = format!("{{\"x\":\"{}\"}}", "x".repeat(1_100_000));
    let unknown = json!({"fancyEvents": [{"eventId": Uuid::new_v4()}]}).to_string();
    let missing = json!({"holdUpdatedEvents": [{"eventId": Uuid::new_v4(), "eventDateTime": timestamp(1), "conversationId": conversation, "held": true}]}).to_string();
    let mut raw: Vec<Vec<u8>> = Vec::new();
    for (nth, bad) in
        [too_long.as_bytes(), b"\xff\xfe{}", b"hello", unknown.as_bytes(), missing.as_bytes(), b"{}"]
            .into_iter()
            .enumerate()
    {
        raw.push(next_good(nth as u64).into_bytes());
        raw.push(bad.to_vec());
    }
    raw.push(next_good(9).into_bytes());
    let mut producer = home.producer();

    let mut writer = producer.split_writer();
    let writing = std::thread::spawn(move || {
        for line in raw {
            std::io::Write::write_all(&mut writer, &[line, b"\n".to_vec()].concat()).unwrap();
        }
    });
    let answers: Vec<Value> = (0..13).map(|_| producer.answer().unwrap().unwrap()).collect();
    writing.join().unwrap();

    for even in answers.iter().step_by(2) {
        assert_eq!(*even, accepted());
    }
    assert_eq!(answers[1]["status"], 413, "{}", answers[1]);
    assert_eq!(answers[3]["status"], 400);
    assert_eq!(answers[3]["code"], "bad.request");
    assert_eq!(answers[5]["status"], 400);
    let message = |answer: &Value| answer["errors"][0]["message"].as_str().unwrap().to_owned();
    assert!(message(&answers[7]).starts_with("fancyEvents[0]:"), "{}", answers[7]);
    assert!(message(&answers[9]).starts_with("holdUpdatedEvents[0]:"), "{}", answers[9]);
    assert!(message(&answers[9]).contains("communicationId"), "{}", answers[9]);
    assert_eq!(answers[9]["errors"][0]["retryable"], false);
    assert_eq!(answers[11]["code"], "zero.events.submitted");
    eventually("the good ones arrive", || sandbox.stat("distinct") >= 7);
    assert_eq!(sandbox.taken_ids().into_iter().collect::<BTreeSet<_>>(), good);
}

#[test]
fn a_half_closed_connection_still_gets_all_its_answers() {
    let sandbox = Sandbox::start(&[]);
    let home = Home::new(&sandbox.addr, "");
    let _daemon = home.run();
    let mut producer = home.producer();

    for nth in 0..500 {
        producer.line(&hold_event(Uuid::new_v4(), nth).1).unwrap();
    }
    producer.half_close();

    let mut answers = 0;
    while let Some(answer) = producer.answer().unwrap() {
        assert_eq!(answer, accepted());
        answers += 1;
    }
    assert_eq!(answers, 500);
}

#[test]
fn sigterm_ends_with_exit_0_and_what_was_not_delivered_leaves_after_the_next_start() {
    let sandbox = Sandbox::start(&["--status", "503"]);
    let home = Home::new(&sandbox.addr, "");
    let daemon = home.run();
    let mut producer = home.producer();
    let conversation = Uuid::new_v4();
    for nth in 0..50 {
        assert_eq!(producer.ask(&hold_event(conversation, nth).1), accepted());
    }

    daemon.sigterm();
    let status = daemon.wait();
    sandbox.set_faults(&json!({"status": null}));
    let _daemon = home.run();

    assert!(status.success(), "{status:?}\n{}", home.log());
    eventually("all 50 arrive", || sandbox.stat("distinct") == 50);
    assert_eq!(sandbox.stat("order_violations"), 0);
}

#[test]
fn a_second_daemon_is_refused_with_73_and_the_first_goes_on() {
    let sandbox = Sandbox::start(&[]);
    let home = Home::new(&sandbox.addr, "");
    let _daemon = home.run();

    let second = home.spawn().wait();

    assert_eq!(second.code(), Some(73), "{}", home.log());
    assert_eq!(home.producer().ask(&hold_event(Uuid::new_v4(), 1).1), accepted());
}

#[test]
fn a_configuration_fault_is_78_and_names_the_nearest_key() {
    let home = Home::new("127.0.0.1:1", "batch_lingr = \"1s\"\n");

    let output = trunkline().args(["config", "check", "--config"]).arg(home.config()).output().unwrap();

    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(78), "{said}");
    assert!(said.contains("relay.batch_lingr") && said.contains("batch_linger"), "{said}");
}

#[test]
fn no_number_and_no_secret_reaches_the_log() {
    let sandbox = Sandbox::start(&["--reject-event-rate", "0.5", "--seed", "3"]);
    let home = Home::new(&sandbox.addr, "[log]\nlevel = \"trace\"\n");
    let daemon = home.run();
    let mut producer = home.producer();
    let source = json!({"sourceId": "s", "interactionId": "i"});
    for nth in 0..40 {
        let line = json!({"phoneEstablishedEvents": [{"eventId": Uuid::new_v4(), "eventDateTime": timestamp(nth),
            "conversationId": Uuid::new_v4(), "communicationId": Uuid::new_v4(), "ani": "tel:+13175550199",
            "phoneNumber": 13175550199_u64, "initialConfiguration": {}, "sourceConfiguration": source}]});
        producer.ask(&line.to_string());
        let mut fine = line;
        fine["phoneEstablishedEvents"][0]["phoneNumber"] = json!("tel:+13175550199");
        assert_eq!(producer.ask(&fine.to_string()), accepted());
    }
    eventually("all are settled", || sandbox.stat("distinct") + sandbox.stat("rejected") >= 40);

    daemon.sigterm();
    daemon.wait();

    let log = home.log();
    assert!(!log.is_empty());
    for secret in ["3175550199", "test-secret"] {
        assert!(!log.contains(secret), "{secret} in the log");
    }
}

#[test]
fn a_json_log_is_one_object_a_line() {
    let sandbox = Sandbox::start(&[]);
    let home = Home::new(&sandbox.addr, "[log]\nformat = \"json\"\n");
    let daemon = home.run();
    assert_eq!(home.producer().ask(&hold_event(Uuid::new_v4(), 1).1), accepted());

    daemon.sigterm();
    daemon.wait();

    let lines: Vec<Value> = home.log().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines.iter().any(|line| line["message"] == "accepting events"), "{lines:?}");
    assert!(lines.iter().any(|line| line["message"] == "stopped" && line["level"] == "INFO"), "{lines:?}");
}

#[test]
fn with_drain_it_goes_on_delivering_after_sigterm_until_nothing_is_left() {
    let sandbox = Sandbox::start(&["--status", "503"]);
    let home = Home::new(&sandbox.addr, "[daemon]\ndrain = \"50s\"\n");
    let daemon = home.run();
    let mut producer = home.producer();
    for nth in 0..30 {
        assert_eq!(producer.ask(&hold_event(Uuid::new_v4(), nth).1), accepted());
    }

    daemon.sigterm();
    eventually("the stop is heard", || home.log().contains("stop signal"));
    sandbox.set_faults(&json!({"status": null}));
    let status = daemon.wait();

    assert!(status.success());
    assert_eq!(sandbox.stat("distinct"), 30);
}

#[test]
fn every_command_has_help() {
    let commands = [
        "run",
        "demo",
        "sandbox",
        "send",
        "emit",
        "status",
        "top",
        "trace",
        "dead-letters",
        "pause",
        "resume",
        "reload",
        "queue",
        "adopt",
        "config",
        "completions",
        "man",
    ];
    let seen: BTreeMap<&str, String> = commands
        .into_iter()
        .map(|command| {
            let output = trunkline().args([command, "--help"]).output().unwrap();
            assert!(output.status.success());
            (command, String::from_utf8(output.stdout).unwrap())
        })
        .collect();

    for (command, help) in seen {
        assert!(help.contains("Example"), "{command}: {help}");
    }
}

#[test]
fn completions_and_the_manual_page_know_every_command() {
    for shell in ["bash", "zsh", "fish"] {
        let script = trunkline().args(["completions", shell]).output().unwrap();
        assert!(script.status.success());
        assert!(String::from_utf8(script.stdout).unwrap().contains("dead-letters"), "{shell}");
    }
    let page = trunkline().arg("man").output().unwrap();

    let page = String::from_utf8(page.stdout).unwrap().replace('\\', "");
    for wanted in [".TH trunkline", "TRUNKLINE DEAD-LETTERS REPLAY", "TRUNKLINE RELOAD", "--dry-run"] {
        assert!(page.contains(wanted), "{wanted}: {page}");
    }
}
