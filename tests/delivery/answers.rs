//! Each row of the answers table with real parts: the daemon as a process, the sandbox as another.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::common::{Home, PATIENCE, Sandbox, accepted, eventually, hold_event, trunkline, within};

const NO_LIMIT: [&str; 2] = ["--requests-per-minute", "1000000"];

fn sandbox() -> Sandbox {
    Sandbox::start(&NO_LIMIT)
}

/// Hands one event over.
fn produce(home: &Home) -> String {
    let (id, line) = hold_event(Uuid::new_v4(), 1);
    assert_eq!(home.producer().ask(&line), accepted());
    id.to_string()
}

/// Ids in the dead letters of a stopped daemon.
fn dead(home: &Home) -> Vec<String> {
    let dir = home.path().join("queue");
    let output = trunkline().args(["queue", "export", "--dead", "--dir"]).arg(dir).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let lines = String::from_utf8(output.stdout).unwrap();
    let id = |line: &str| {
        let line: Value = serde_json::from_str(line).unwrap();
        line["holdUpdatedEvents"][0]["eventId"].as_str().unwrap().to_owned()
    };
    lines.lines().map(id).collect()
}

/// The fault is told as `words`, nothing is lost or claimed by it, and when it is over the event is
/// delivered: by itself, or where a probe would take a minute, after a restart.
fn is_kept(fault: &Value, words: &str, restart: bool) {
    let sandbox = sandbox();
    sandbox.set_faults(fault);
    let home = Home::new(&sandbox.addr, "");
    let mut daemon = home.run();
    let id = produce(&home);

    eventually(&format!("the log says {words:?} for {fault}"), || home.log().contains(words));
    let before = sandbox.taken().len();
    let over: serde_json::Map<String, Value> =
        fault.as_object().unwrap().keys().map(|name| (name.clone(), Value::Null)).collect();
    sandbox.set_faults(&Value::Object(over));
    if restart {
        daemon.sigterm();
        daemon.wait();
        daemon = home.run();
    }

    eventually(&format!("it is delivered after {fault}"), || sandbox.taken_ids().contains(&id));
    assert_eq!(before, 0, "{fault}");
    daemon.sigterm();
    daemon.wait();
    assert_eq!(dead(&home), [""; 0], "{fault}");
}

#[test]
fn what_passes_by_itself_is_kept_and_delivered_when_it_has_passed() {
    for status in [408, 429, 500, 502, 503, 504] {
        is_kept(&json!({"status": status}), &format!("reason=\"{status}"), false);
    }
    is_kept(&json!({"html_rate": 1.0}), "the answer is not from the API", false);
    is_kept(&json!({"reset_rate": 1.0}), "not delivering", false);
    is_kept(&json!({"refuse_login": true}), "invalid_client", true);
}

#[test]
fn what_somebody_must_mend_holds_the_lane_and_keeps_the_events() {
    for status in [302, 404, 405, 415] {
        is_kept(&json!({"status": status}), "state=\"misconfigured\"", true);
    }
    is_kept(&json!({"deny": "conversation:conversation:inject"}), "conversation:conversation:inject", true);
    is_kept(&json!({"unauthorized": true}), "state=\"unauthorized\"", true);
}

#[test]
fn a_held_lane_goes_on_by_itself_within_a_probe() {
    let sandbox = sandbox();
    sandbox.set_faults(&json!({"deny": "conversation:conversation:inject"}));
    let home = Home::new(&sandbox.addr, "");
    let _daemon = home.run();
    let first = produce(&home);
    eventually("the lane is held", || home.log().contains("holding the lane"));

    sandbox.set_faults(&json!({"deny": null}));
    let second = produce(&home);

    // A probe comes each minute, of one key after the other.
    within(3 * PATIENCE, "both are delivered", || {
        let taken = sandbox.taken_ids();
        taken.contains(&first) && taken.contains(&second)
    });
    eventually("that is told", || home.log().contains("delivering again"));
}

#[test]
fn what_the_api_refuses_for_good_lies_in_the_dead_letters_and_the_rest_is_delivered() {
    let cases = [
        json!({"reject_event_rate": 1.0}),
        json!({"status": 400}),
        json!({"status": 422}),
        json!({"status": 413}),
    ];
    for fault in cases {
        let sandbox = sandbox();
        sandbox.set_faults(&fault);
        let home = Home::new(&sandbox.addr, "");
        let daemon = home.run();
        let refused = produce(&home);
        eventually(&format!("a dead letter by {fault}"), || home.log().contains("dead letter"));
        sandbox.set_faults(&json!({"status": null, "reject_event_rate": null}));

        let good = produce(&home);

        eventually("the next one is delivered", || sandbox.taken_ids().contains(&good));
        daemon.sigterm();
        daemon.wait();
        assert_eq!(dead(&home), [refused], "{fault}");
    }
}

#[test]
fn what_the_api_calls_retryable_or_in_conflict_comes_again() {
    for fault in [json!({"retry_event_rate": 1.0}), json!({"status": 409})] {
        let sandbox = sandbox();
        sandbox.set_faults(&fault);
        let home = Home::new(&sandbox.addr, "");
        let daemon = home.run();
        let id = produce(&home);
        eventually("it was tried", || sandbox.stat("requests") >= 2);

        sandbox.set_faults(&json!({"status": null, "retry_event_rate": null}));

        eventually(&format!("it is delivered after {fault}"), || sandbox.taken_ids().contains(&id));
        daemon.sigterm();
        daemon.wait();
        assert_eq!(dead(&home), [""; 0], "{fault}");
    }
}

#[test]
fn an_answer_that_is_lost_makes_the_event_go_again_under_the_same_id() {
    let sandbox = sandbox();
    sandbox.set_faults(&json!({"lost_answer_rate": 1.0}));
    let home = Home::new(&sandbox.addr, "");
    let _daemon = home.run();
    let id = produce(&home);
    eventually("it was taken, and nobody heard of it", || sandbox.stat("requests") >= 2);

    sandbox.set_faults(&json!({"lost_answer_rate": null}));

    eventually("it is delivered", || home.log().contains("delivering again"));
    assert!(sandbox.taken_ids().iter().all(|taken| *taken == id));
    assert_eq!(sandbox.stat("distinct"), 1);
}
