//! The sandbox from outside: what it takes, what it refuses, and each fault that can be switched on.

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::{Value, json};
use uuid::Uuid;

use crate::common::{PATIENCE, Sandbox, http, timestamp};

const CONVERSATIONS: &str = "/api/v2/events/conversations";

fn token(sandbox: &Sandbox) -> String {
    let body = "grant_type=client_credentials";
    let head = "authorization: Basic YTpi\r\ncontent-type: application/x-www-form-urlencoded";
    let (_, answer) = raw(&sandbox.addr, "POST", "/oauth/token", head, body);
    serde_json::from_str::<Value>(&answer).unwrap()["access_token"].as_str().unwrap().to_owned()
}

/// Head and body of the answer as text; both empty if the connection just ended.
fn raw(addr: &str, method: &str, path: &str, head: &str, body: &str) -> (String, String) {
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let length = body.len();
    write!(stream, "{method} {path} HTTP/1.1\r\nhost: {addr}\r\nconnection: close\r\n{head}\r\ncontent-length: {length}\r\n\r\n{body}").unwrap();
    let mut text = Vec::new();
    let _ = stream.read_to_end(&mut text);
    let text = String::from_utf8_lossy(&text).into_owned();
    text.split_once("\r\n\r\n")
        .map_or_else(Default::default, |(head, body)| (head.to_ascii_lowercase(), body.to_owned()))
}

fn post(sandbox: &Sandbox, token: &str, body: &Value) -> (u16, Value) {
    let head = format!("authorization: Bearer {token}\r\ncontent-type: application/json");
    let (head, body) = raw(&sandbox.addr, "POST", CONVERSATIONS, &head, &body.to_string());
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    (status, serde_json::from_str(&body).unwrap_or(Value::Null))
}

fn event() -> Value {
    json!({"eventId": Uuid::new_v4(), "eventDateTime": timestamp(1), "conversationId": Uuid::new_v4(),
        "communicationId": Uuid::new_v4(), "held": true})
}

fn events(count: usize) -> Value {
    json!({"holdUpdatedEvents": (0..count).map(|_| event()).collect::<Vec<_>>()})
}

#[test]
fn a_good_request_is_taken_and_told_by_stats_and_events() {
    let sandbox = Sandbox::start(&[]);
    let token = token(&sandbox);
    let body = events(3);

    let answer = post(&sandbox, &token, &body);

    assert_eq!(answer, (200, json!({"errors": []})));
    assert_eq!(sandbox.stat("distinct"), 3);
    assert_eq!(sandbox.stat("max_request_events"), 3);
    assert_eq!(sandbox.taken_ids()[0], body["holdUpdatedEvents"][0]["eventId"].as_str().unwrap());
}

#[test]
fn each_wrong_request_gets_its_status_and_code() {
    let sandbox = Sandbox::start(&[]);
    let token = token(&sandbox);
    let mut invalid = event();
    invalid["held"] = json!("yes");
    let mut no_zone = event();
    no_zone["eventDateTime"] = json!("2026-03-02T10:00:00");
    let cases = [
        (json!({}), 400, "zero.events.submitted"),
        (events(101), 400, "max.batch.size.surpassed"),
        (json!([]), 400, "bad.request"),
        (json!({"userPresenceEvents": []}), 400, "bad.request"),
        (json!({"holdUpdatedEvents": [invalid]}), 400, "constraint.validation"),
        (json!({"holdUpdatedEvents": [no_zone]}), 400, "constraint.validation"),
        (json!({"holdUpdatedEvents": [], "pad": "x".repeat(600_000)}), 413, "request.entity.too.large"),
    ];

    for (body, status, code) in cases {
        let answer = post(&sandbox, &token, &body);

        assert_eq!((answer.0, answer.1["code"].as_str()), (status, Some(code)));
    }
    assert_eq!(sandbox.stat("distinct"), 0);
    assert_eq!(sandbox.stat("max_request_events"), 101);
}

#[test]
fn a_stranger_is_401_and_another_media_type_415() {
    let sandbox = Sandbox::start(&[]);
    let token = token(&sandbox);

    let stranger = post(&sandbox, "made-up", &events(1));
    let head = format!("authorization: Bearer {token}\r\ncontent-type: text/plain");
    let (plain, _) = raw(&sandbox.addr, "POST", CONVERSATIONS, &head, "{}");

    assert_eq!((stranger.0, stranger.1["code"].as_str()), (401, Some("bad.credentials")));
    assert!(plain.starts_with("http/1.1 415"), "{plain}");
}

#[test]
fn over_the_rate_it_answers_429_with_retry_after_and_the_window() {
    let sandbox = Sandbox::start(&["--requests-per-minute", "2"]);
    let token = token(&sandbox);
    let body = events(1).to_string();
    let head = format!("authorization: Bearer {token}\r\ncontent-type: application/json");

    let heads: Vec<String> =
        (0..3).map(|_| raw(&sandbox.addr, "POST", CONVERSATIONS, &head, &body).0).collect();

    assert!(heads[0].starts_with("http/1.1 200") && heads[1].starts_with("http/1.1 200"));
    assert!(heads[2].starts_with("http/1.1 429"), "{}", heads[2]);
    for name in
        ["retry-after: ", "inin-ratelimit-allowed: 2", "inin-ratelimit-count: 2", "inin-correlation-id: "]
    {
        assert!(heads[2].contains(name), "{name} is not in {}", heads[2]);
    }
}

#[test]
fn each_fault_can_be_switched_on_while_it_runs() {
    let sandbox = Sandbox::start(&["--seed", "1"]);
    let token = token(&sandbox);
    let ask = |fault: Value| {
        sandbox.set_faults(&json!({"status": null, "fail_rate": null, "html_rate": null, "reset_rate": null,
            "lost_answer_rate": null, "reject_event_rate": null, "retry_event_rate": null, "unauthorized": null, "deny": null}));
        sandbox.set_faults(&fault);
        post(&sandbox, &token, &events(1))
    };

    assert_eq!(ask(json!({"status": 500})).0, 500);
    assert_eq!(ask(json!({"fail_rate": 1})).0, 503);
    assert_eq!(ask(json!({"html_rate": 1})), (200, Value::Null));
    assert_eq!(ask(json!({"unauthorized": true})).0, 401);
    assert_eq!(ask(json!({"reject_event_rate": 1})).1["errors"][0]["retryable"], false);
    assert_eq!(ask(json!({"retry_event_rate": 1})).1["errors"][0]["retryable"], true);
    let denied = ask(json!({"deny": "conversation:conversation:inject"}));
    assert_eq!(denied.0, 403);
    assert!(denied.1["message"].as_str().unwrap().contains("conversation:conversation:inject"));
    let before = sandbox.stat("events");
    assert_eq!(ask(json!({"reset_rate": 1})).1, Value::Null);
    assert_eq!(sandbox.stat("events"), before);
    assert_eq!(ask(json!({"lost_answer_rate": 1})).1, Value::Null);
    assert_eq!(sandbox.stat("events"), before + 1);
}

#[test]
fn a_fault_that_there_is_not_is_refused_by_name() {
    let sandbox = Sandbox::start(&[]);

    for wrong in [json!({"fail_rat": 1}), json!({"fail_rate": 2}), json!({"status": 9999}), json!([])] {
        let (status, _) = http(&sandbox.addr, "PUT", "/sandbox/faults", &wrong.to_string());

        assert_eq!(status, 400, "{wrong}");
    }
}

#[test]
fn an_event_after_a_later_one_of_its_key_is_told_as_a_violation() {
    let sandbox = Sandbox::start(&[]);
    let token = token(&sandbox);
    let (mut late, mut early) = (event(), event());
    late["eventDateTime"] = json!(timestamp(9));
    early["conversationId"] = late["conversationId"].clone();

    post(&sandbox, &token, &json!({"holdUpdatedEvents": [late]}));
    post(&sandbox, &token, &json!({"holdUpdatedEvents": [early]}));

    assert_eq!(sandbox.stat("order_violations"), 1);
}
