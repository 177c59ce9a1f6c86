//! A new configuration for a running daemon: all of it or nothing, live, told, and under load without loss.

use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::signal::Signal;
use serde_json::json;
use uuid::Uuid;

use crate::common::{Home, Producer, Sandbox, accepted, eventually, hold_event};

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn under_load_no_event_is_lost_and_no_connection_dropped() {
    let sandbox = Sandbox::start(&["--requests-per-minute", "1000000"]);
    let home = Home::new(&sandbox.addr, "[log]\nlevel = \"info\"\n");
    let daemon = home.run();
    let stop = Arc::new(AtomicBool::new(false));
    let producers: Vec<_> = (0..3)
        .map(|_| {
            let (stop, socket) = (stop.clone(), home.socket());
            std::thread::spawn(move || {
                let mut producer = Producer::connect(&socket);
                let (conversation, mut nth) = (Uuid::new_v4(), 0);
                while !stop.load(Ordering::SeqCst) {
                    nth += 1;
                    assert_eq!(producer.ask(&hold_event(conversation, nth).1), accepted());
                }
                nth
            })
        })
        .collect();

    let changes = [
        ("requests_per_minute = 60000", "requests_per_minute = 50000"),
        ("batch_linger = \"50ms\"", "batch_linger = \"10ms\""),
        ("retry_max = \"200ms\"", "retry_max = \"100ms\""),
        ("burst = 100", "burst = 50\nbatch_max_events = 20"),
        ("level = \"info\"", "level = \"warn\""),
    ];
    for (before, now) in changes {
        home.reconfigure(before, now);
        let output = home.cli(&["reload"]);
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    }
    for _ in 0..3 {
        daemon.signal(Signal::SIGHUP);
    }
    stop.store(true, Ordering::SeqCst);
    let sent: u64 = producers.into_iter().map(|producer| producer.join().unwrap()).sum();

    eventually("all is delivered", || sandbox.stat("distinct") == sent);
    assert_eq!((sandbox.stat("duplicates"), sandbox.stat("order_violations")), (0, 0));
    eventually("the log says so", || home.log().contains("changed=\"relay.requests_per_minute\""));
}

#[test]
fn what_changed_is_told_and_what_needs_a_restart_is_named_until_there_is_one() {
    let sandbox = Sandbox::start(&[]);
    let home = Home::new(&sandbox.addr, "");
    let daemon = home.run();
    home.reconfigure("path = \"events.sock\"", "path = \"other.sock\"\nallow_uids = [\"0\", \"4711\"]");

    let outputs = [home.cli(&["reload"]), home.cli(&["reload"])];

    assert_eq!(outputs.each_ref().map(|output| output.status.code()), [Some(1); 2]);
    let first = said(&outputs[0]);
    assert!(first.contains("ingest.stream.path: ") && first.contains("needs a restart"), "{first}");
    assert!(first.contains("ingest.stream.allow_uids: not set -> [\"0\", \"4711\"]\n"), "{first}");
    assert!(!said(&outputs[1]).contains("allow_uids"), "{}", said(&outputs[1]));
    assert!(home.socket().exists(), "the socket stays where it is");
    daemon.sigterm();
    daemon.wait();
}

#[test]
fn a_configuration_with_a_fault_changes_nothing_and_says_why() {
    let sandbox = Sandbox::start(&["--requests-per-minute", "1000000"]);
    let home = Home::new(&sandbox.addr, "");
    let daemon = home.run();
    let faults = [
        ("requests_per_minute = 60000", "requests_per_minute = 100\nbrust = 5", "relay.burst"),
        ("path = \"events.sock\"", "path = \"events.sock\"\nallow_uids = [\"nobody-here\"]", "nobody-here"),
        ("client_id = \"test\"", "client_id = \"test\"\nca_file = \"absent.pem\"", "absent.pem"),
    ];
    for (before, now, named) in faults {
        home.reconfigure(before, now);
        let output = home.cli(&["reload"]);
        assert_eq!(output.status.code(), Some(78), "{}", said(&output));
        assert!(said(&output).contains(named), "{}", said(&output));
        home.reconfigure(now, before);
    }

    let failed = home.metric("trunkline_config_last_reload_success");
    let told = home.say(&["status"]);
    assert_eq!(home.producer().ask(&hold_event(Uuid::new_v4(), 1).1), accepted());
    eventually("it works as before", || sandbox.stat("distinct") == 1);
    daemon.signal(Signal::SIGHUP);
    eventually("the good one is taken", || home.metric("trunkline_config_last_reload_success") == Some(1.0));

    assert_eq!(failed, Some(0.0));
    assert!(told.contains("the last reload was refused"), "{told}");
    eventually("the log says so", || home.log().contains("reload refused"));
}

#[test]
fn a_changed_secret_is_tried_at_once_and_its_outcome_told_without_showing_it() {
    let sandbox = Sandbox::start(&[]);
    let home = Home::new(&sandbox.addr, "");
    let file = home.path().join("secret");
    std::fs::write(&file, "first-secret").unwrap();
    home.reconfigure("client_secret = \"test-secret\"", "client_secret_file = \"secret\"");
    let _daemon = home.run();
    eventually("it is in", || home.status()["token_expiry_seconds"].is_u64());
    let unchanged = home.cli(&["reload"]);

    std::fs::write(&file, "second-secret").unwrap();
    let good = home.cli(&["reload"]);
    sandbox.set_faults(&json!({"refuse_login": true}));
    std::fs::write(&file, "third-secret").unwrap();
    let bad = home.cli(&["reload"]);

    assert!(!said(&unchanged).contains("log"), "{}", said(&unchanged));
    assert!(said(&good).contains("logged in"), "{}", said(&good));
    assert!(said(&bad).contains("the login failed: ") && bad.status.success(), "{}", said(&bad));
    // The token that still holds is used until then.
    sandbox.set_faults(&json!({"refuse_login": null}));
    assert_eq!(home.producer().ask(&hold_event(Uuid::new_v4(), 1).1), accepted());
    eventually("events flow", || sandbox.stat("distinct") == 1);
    let all = home.log() + &said(&good) + &said(&bad);
    assert!(!all.contains("-secret"), "{all}");
}

#[test]
fn another_client_gets_nothing_of_what_was_queued_for_the_one_before() {
    let sandbox = Sandbox::start(&[]);
    sandbox.set_faults(&json!({"status": 503}));
    let home = Home::new(&sandbox.addr, "");
    let _daemon = home.run();
    assert_eq!(home.producer().ask(&hold_event(Uuid::new_v4(), 1).1), accepted());
    eventually("it was tried", || home.status()["state"] == "backing_off");
    home.reconfigure("client_id = \"test\"", "client_id = \"another\"");

    sandbox.set_faults(&json!({"organisation": "11111111-1111-4111-8111-111111111111"}));
    let output = home.cli(&["reload"]);
    sandbox.set_faults(&json!({"status": null}));
    eventually("the lanes are held", || home.status()["state"] == "misconfigured");
    let held = home.status();
    let adopted = home.cli(&["adopt"]);

    assert!(said(&output).contains("1 events were accepted for client test"), "{}", said(&output));
    assert_eq!(held["lanes"]["conversations"]["queue_events"], 1, "{held}");
    assert!(adopted.status.success(), "{}", said(&adopted));
    eventually("it is sent now", || sandbox.stat("distinct") == 1);
}

#[test]
fn a_request_under_way_is_not_repeated_with_the_token_of_another_account() {
    let sandbox = Sandbox::start(&["--requests-per-minute", "1000000"]);
    let home = Home::new(&sandbox.addr, "");
    let _daemon = home.run();
    eventually("it is in", || home.status()["organisation_name"].is_string());
    let other = "11111111-1111-4111-8111-111111111111";
    sandbox.set_faults(&json!({"latency_ms": 2_000, "unauthorized": true, "organisation": other}));
    assert_eq!(home.producer().ask(&hold_event(Uuid::new_v4(), 1).1), accepted());
    eventually("a request is under way", || home.status()["lanes"]["conversations"]["in_flight"] == 1);
    home.reconfigure("client_id = \"test\"", "client_id = \"another\"");

    let output = home.cli(&["reload"]);
    sandbox.set_faults(&json!({"latency_ms": 0, "unauthorized": null}));

    assert!(said(&output).contains("nothing is sent"), "{}", said(&output));
    eventually("it came back", || {
        let lane = home.status()["lanes"]["conversations"].clone();
        lane["in_flight"] == 0 && lane["queue_events"] == 1
    });
    assert_eq!(sandbox.stat("distinct"), 0);
}

#[test]
fn names_of_users_and_groups_that_the_host_does_not_have_are_named_by_check_and_start_alike() {
    let home = Home::new("127.0.0.1:1", "");
    let path = "path = \"events.sock\"";
    let faults = [
        (path, "path = \"events.sock\"\nallow_uids = [\"nobody-here\"]", "ingest.stream.allow_uids: no user"),
        (path, "path = \"events.sock\"\ngroup = \"nobody-here\"", "ingest.stream.group: no group"),
        ("[admin]\n", "[admin]\ngroup = \"nobody-here\"\n", "admin.group: no group"),
    ];

    for (before, now, told) in faults {
        home.reconfigure(before, now);
        let check = home.cli(&["config", "check"]);
        let run = home.spawn().wait();
        home.reconfigure(now, before);

        assert_eq!((check.status.code(), run.code()), (Some(78), Some(78)), "{}", said(&check));
        assert!(said(&check).contains(told) && home.log().contains(told), "{}{}", said(&check), home.log());
        assert_eq!(said(&check).matches("nobody-here").count(), 1, "{}", said(&check));
    }
}
