//! What an operator asks of a running daemon: what became of a call, and what lies in the dead letters.

use std::process::Output;

use serde_json::{Value, json};
use uuid::Uuid;

use crate::common::{Home, Producer, Sandbox, accepted, eventually, hold_event, trunkline};

fn presence(user: Uuid, source: &str) -> String {
    let event = json!({"eventId": Uuid::new_v4(), "eventDateTime": "2026-03-02T10:00:00.000Z", "userId": user,
        "sourceId": source, "presenceDefinitionId": Uuid::new_v4()});
    json!({"userPresenceEvents": [event]}).to_string()
}

fn trace(home: &Home, id: &str) -> Vec<Value> {
    let output = home.cli(&["trace", id, "--json"]);
    let trace: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    trace["parts"].as_array().unwrap().clone()
}

fn letters(home: &Home, more: &[&str]) -> Vec<Value> {
    let args = [&["dead-letters", "list", "--json"], more].concat();
    serde_json::from_str(&home.say(&args)).unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn a_call_is_traced_through_retry_kill_restart_delivery_and_dead_letter() {
    let sandbox = Sandbox::start(&["--requests-per-minute", "1000000"]);
    sandbox.set_faults(&json!({"status": 503}));
    let home = Home::new(&sandbox.addr, "");
    let daemon = home.run();
    let conversation = Uuid::new_v4();
    let mut producer = home.producer();
    let (first, line) = hold_event(conversation, 1);
    assert_eq!(producer.ask(&line), accepted());
    eventually("it was tried", || home.status()["state"] == "backing_off");
    let waiting = trace(&home, &first.to_string());
    daemon.sigkill();

    let daemon = home.run();
    let queued = trace(&home, &conversation.to_string().to_uppercase());
    sandbox.set_faults(&json!({"status": null}));
    eventually("it is delivered", || sandbox.stat("distinct") == 1);
    sandbox.set_faults(&json!({"reject_event_rate": 1.0}));
    assert_eq!(Producer::connect(&home.socket()).ask(&hold_event(conversation, 2).1), accepted());
    eventually("the second is dead", || home.status()["dead_letters"] == 1);
    daemon.sigkill();
    let _daemon = home.run();
    eventually("both ends are told", || trace(&home, &conversation.to_string()).len() == 2);
    let parts = trace(&home, &conversation.to_string());
    let story = home.say(&["trace", &conversation.to_string()]);
    let unknown = home.cli(&["trace", &Uuid::new_v4().to_string()]);

    assert_eq!(waiting[0]["state"]["is"], "queued");
    let place = waiting[0]["state"]["place"].as_str().unwrap();
    assert!(place.contains("backing_off: 503"), "{place}");
    assert_eq!(queued[0]["event_id"], first.to_string());
    assert_eq!(queued[0]["state"]["is"], "queued");
    let state = |nth: usize| parts[nth]["state"].clone();
    assert_eq!((&state(0)["fate"], &state(0)["status"]), (&json!("delivered"), &json!(200)));
    assert_eq!((&state(1)["fate"], &state(1)["reason"]), (&json!("dead"), &json!("rejected")));
    assert!(state(0)["correlation_id"].is_string() && parts[0]["door"] == "stream");
    assert_eq!(parts[0]["uid"], nix::unistd::getuid().as_raw());
    let block = story.split("--- for a support case").nth(1).unwrap();
    for wanted in ["organisation: 0000", &conversation.to_string(), "correlation", "status 200"] {
        assert!(block.contains(wanted), "{wanted} in {story}");
    }
    assert_eq!(unknown.status.code(), Some(1));
}

#[test]
fn an_agent_and_what_waits_behind_an_earlier_event_are_traced() {
    let sandbox = Sandbox::start(&[]);
    let home = Home::new(&sandbox.addr, "");
    let _daemon = home.run();
    home.say(&["pause"]);
    let user = Uuid::new_v4();
    let mut producer = home.producer();
    for _ in 0..2 {
        assert_eq!(producer.ask(&presence(user, &Uuid::new_v4().to_string())), accepted());
    }

    let parts = trace(&home, &user.to_string());

    assert_eq!(parts.len(), 2);
    for part in parts {
        assert!(part["state"]["place"].as_str().unwrap().contains("paused by an operator"), "{part}");
        assert_eq!(part["state"]["earliest_seconds"], Value::Null);
    }
}

#[test]
fn a_lane_that_cannot_be_read_is_passed_over_and_named() {
    let sandbox = Sandbox::start(&[]);
    let home = Home::new(&sandbox.addr, "");
    let daemon = home.run();
    home.say(&["pause"]);
    let (user, conversation) = (Uuid::new_v4(), Uuid::new_v4());
    let mut producer = home.producer();
    assert_eq!(producer.ask(&presence(user, &Uuid::new_v4().to_string())), accepted());
    assert_eq!(producer.ask(&hold_event(conversation, 1).1), accepted());
    daemon.sigkill();
    let segment = home.path().join("queue/lanes/presence/00000000000001048576");
    std::fs::rename(segment.join("db"), segment.join("away")).unwrap();
    // Opening it fails, whoever asks.
    std::os::unix::fs::symlink("db", segment.join("db")).unwrap();
    let _daemon = home.run();

    let found = home.cli(&["trace", &conversation.to_string()]);
    let unread = home.cli(&["trace", &user.to_string()]);

    assert_eq!((found.status.code(), unread.status.code()), (Some(0), Some(1)));
    for output in [found, unread] {
        let text = said(&output);
        assert!(text.contains("cannot be read now: presence: ") && text.contains("lanes/presence"), "{text}");
    }
}

#[test]
fn dead_letters_are_listed_grouped_shown_mended_replayed_exported_and_discarded() {
    let sandbox = Sandbox::start(&["--requests-per-minute", "1000000"]);
    sandbox.set_faults(&json!({"reject_event_rate": 1.0}));
    let home = Home::new(&sandbox.addr, "");
    let _daemon = home.run();
    let mut producer = home.producer();
    let (wrong, right, other) =
        (Uuid::new_v4().to_string(), Uuid::new_v4().to_string(), Uuid::new_v4().to_string());
    let user = Uuid::new_v4();
    for source in [&wrong, &wrong, &other] {
        assert_eq!(producer.ask(&presence(user, source)), accepted());
    }
    assert_eq!(producer.ask(&hold_event(Uuid::new_v4(), 1).1), accepted());
    eventually("four are dead", || home.status()["dead_letters"] == 4);

    let all = letters(&home, &[]);
    let of_lane = letters(&home, &["--lane", "presence"]);
    let of_user = letters(&home, &["--id", &user.to_string(), "--limit", "2"]);
    let grouped = home.cli(&["dead-letters", "list", "--group"]);
    let hold = all.iter().find(|letter| letter["lane"] == "conversations").unwrap();
    let shown: Value =
        serde_json::from_str(&home.say(&["dead-letters", "show", hold["event_id"].as_str().unwrap()]))
            .unwrap();
    let exported = home.say(&["dead-letters", "export", "--lane", "conversations"]);

    let keys = [
        "event_id",
        "lane",
        "array",
        "key",
        "reason",
        "message",
        "status",
        "correlation_id",
        "attempts",
        "accepted_at",
        "died_at",
        "door",
        "uid",
    ];
    for key in keys {
        assert!(all[0].get(key).is_some(), "{key} in {}", all[0]);
    }
    assert_eq!((all.len(), of_lane.len(), of_user.len()), (4, 3, 2));
    assert_eq!(of_lane[0]["key"], user.to_string());
    assert!(said(&grouped).contains("4 dead letters in 2 groups"), "{}", said(&grouped));
    assert_eq!(shown["event"]["held"], false);
    assert!(exported.starts_with("{\"holdUpdatedEvents\":[{"), "{exported}");

    sandbox.set_faults(&json!({"reject_event_rate": null}));
    let set = format!("sourceId={right}");
    let only = format!("sourceId={wrong}");
    let mend = ["dead-letters", "replay", "--set", &set, "--where", &only];
    let tried = home.cli(&[&mend[..], &["--dry-run"]].concat());
    assert_eq!(letters(&home, &[]).len(), 4, "a dry run changes nothing");
    let refused = home.cli(&["dead-letters", "replay", "--lane", "conversations", "--set", "held=maybe"]);
    let replayed = home.cli(&mend);

    assert!(said(&tried).contains("2 dead letters would be done"), "{}", said(&tried));
    assert_eq!(refused.status.code(), Some(1));
    assert!(said(&refused).contains("held"), "{}", said(&refused));
    assert!(said(&replayed).contains("2 dead letters done"), "{}", said(&replayed));
    eventually("the mended ones are delivered", || sandbox.stat("distinct") == 2);
    assert!(sandbox.taken().iter().all(|taken| taken["event"]["sourceId"] == right.as_str()));

    let nothing_named = home.cli(&["dead-letters", "discard"]);
    let discarded = home.cli(&["dead-letters", "discard", "--lane", "presence"]);
    assert_eq!(nothing_named.status.code(), Some(64));
    assert!(said(&discarded).contains("1 dead letter done"), "{}", said(&discarded));
    assert_eq!(letters(&home, &[]).len(), 1);
    let all = home.cli(&["dead-letters", "replay", "--all"]);
    assert!(said(&all).contains("1 dead letter done"), "{}", said(&all));
    eventually("it is delivered, too", || sandbox.stat("distinct") == 3);
    eventually("the log says so", || home.log().contains("dead letters discarded by an operator"));
    assert!(!home.log().contains(&wrong), "no field of an event in the log");
}

#[test]
fn a_letter_whose_event_came_again_is_passed_over() {
    let sandbox = Sandbox::start(&["--requests-per-minute", "1000000"]);
    sandbox.set_faults(&json!({"reject_event_rate": 1.0}));
    let home = Home::new(&sandbox.addr, "");
    let _daemon = home.run();
    let (_, line) = hold_event(Uuid::new_v4(), 1);
    assert_eq!(home.producer().ask(&line), accepted());
    eventually("it is dead", || home.status()["dead_letters"] == 1);
    sandbox.set_faults(&json!({"reject_event_rate": null}));
    assert_eq!(home.producer().ask(&line), accepted());
    eventually("it came again", || home.status()["dead_letters"] == 0);

    let replayed = home.cli(&["dead-letters", "replay", "--all"]);

    assert!(said(&replayed).contains("0 dead letters done"), "{}", said(&replayed));
    eventually("it is delivered", || sandbox.stat("distinct") == 1);
    assert_eq!(sandbox.stat("duplicates"), 0);
}

#[test]
fn a_replay_that_the_api_refuses_again_ends_and_does_each_letter_once() {
    let sandbox = Sandbox::start(&["--requests-per-minute", "1000000"]);
    sandbox.set_faults(&json!({"reject_event_rate": 1.0}));
    let home = Home::new(&sandbox.addr, "");
    let _daemon = home.run();
    let mut producer = home.producer();
    for nth in 0..200 {
        assert_eq!(producer.ask(&hold_event(Uuid::new_v4(), nth).1), accepted());
    }
    eventually("all are dead", || home.status()["dead_letters"] == 200);

    let replayed = home.cli(&["dead-letters", "replay", "--all"]);

    assert!(said(&replayed).contains("200 dead letters done"), "{}", said(&replayed));
    eventually("all are dead again", || home.status()["dead_letters"] == 200);
}

#[test]
fn a_reader_that_went_away_ends_a_list_without_a_fault_and_stops_no_replay() {
    let sandbox = Sandbox::start(&["--requests-per-minute", "1000000"]);
    sandbox.set_faults(&json!({"reject_event_rate": 1.0}));
    let home = Home::new(&sandbox.addr, "");
    let _daemon = home.run();
    let mut producer = home.producer();
    for nth in 0..50 {
        assert_eq!(producer.ask(&hold_event(Uuid::new_v4(), nth).1), accepted());
    }
    eventually("all are dead", || home.status()["dead_letters"] == 50);
    sandbox.set_faults(&json!({"reject_event_rate": null}));
    let id = letters(&home, &["--limit", "1"])[0]["event_id"].as_str().unwrap().to_owned();
    let unread = |args: &[&str]| {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = trunkline();
        command.arg("dead-letters").args(args).arg("--config").arg(home.config()).stdout(writer);
        command.output().unwrap()
    };

    for args in [&["list"][..], &["list", "--json"], &["list", "--group"], &["show", &id], &["export"]] {
        let output = unread(args);
        assert_eq!(output.status.code(), Some(0), "{args:?}: {output:?}");
        assert!(!said(&output).contains("trunkline:"), "{args:?}: {output:?}");
    }
    let replayed = unread(&["replay", "--all"]);

    assert_eq!(replayed.status.code(), Some(0), "{replayed:?}");
    assert!(said(&replayed).contains("50 dead letters done"), "{replayed:?}");
    eventually("all are delivered", || sandbox.stat("distinct") == 50);
}

#[test]
fn json_on_a_terminal_has_escapes_for_what_would_act_on_it_and_the_same_values() {
    let sandbox = Sandbox::start(&["--requests-per-minute", "1000000"]);
    sandbox.set_faults(&json!({"reject_event_rate": 1.0}));
    let home = Home::new(&sandbox.addr, "");
    let _daemon = home.run();
    let message = "\u{9b}31m\u{202e}\u{200b}\u{e0041} Zoë";
    let id = Uuid::new_v4();
    let mut line: Value = serde_json::from_str(&presence(id, &Uuid::new_v4().to_string())).unwrap();
    line["userPresenceEvents"][0]["message"] = json!(message);
    assert_eq!(home.producer().ask(&line.to_string()), accepted());
    eventually("it is dead", || home.status()["dead_letters"] == 1);

    let shown = home.say(&["dead-letters", "show", &id.to_string()]);

    let letter: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(letter["event"]["message"], message, "{shown}");
    assert!(shown.contains("\\u009b31m\\u202e\\u200b\\udb40\\udc41 Zoë"), "{shown}");
}

#[test]
fn digits_mean_a_text_where_the_field_holds_one() {
    let sandbox = Sandbox::start(&["--requests-per-minute", "1000000"]);
    sandbox.set_faults(&json!({"reject_event_rate": 1.0}));
    let home = Home::new(&sandbox.addr, "");
    let _daemon = home.run();
    let mut line: Value =
        serde_json::from_str(&presence(Uuid::new_v4(), &Uuid::new_v4().to_string())).unwrap();
    line["userPresenceEvents"][0]["message"] = json!("0041");
    assert_eq!(home.producer().ask(&line.to_string()), accepted());
    eventually("it is dead", || home.status()["dead_letters"] == 1);
    sandbox.set_faults(&json!({"reject_event_rate": null}));

    let replayed = home.cli(&[
        "dead-letters",
        "replay",
        "--where",
        "message=0041",
        "--set",
        "message=1800",
        "--limit",
        "5",
    ]);

    assert!(said(&replayed).contains("1 dead letter done"), "{}", said(&replayed));
    eventually("it is delivered as a text", || {
        sandbox.taken().first().is_some_and(|taken| taken["event"]["message"] == "1800")
    });
}
