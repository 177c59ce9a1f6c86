//! The HTTP door: the Events API's own answers, and producers that mean no good.

use std::net::SocketAddr;
use std::sync::Arc;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use trunkline::event::{Door, Lane};
use trunkline::queue::AppendError;
use uuid::Uuid;

use crate::kit::{Harness, PATIENCE, event, line};

const TOKEN: &str = "a-token-for-tests";
const PRESENCE: &str = "/api/v2/events/users/presence";

/// A door that wants the token.
fn harness() -> Harness {
    let dir = tempfile::tempdir().unwrap();
    let token = dir.path().join("token");
    std::fs::write(&token, format!("{TOKEN}\n")).unwrap();
    Harness::over(dir, crate::kit::Memory::new(), |config| {
        config.http.listen = Some("127.0.0.1:0".to_owned());
        config.http.token_file = Some(token);
    })
}

struct Response {
    status: u16,
    head: String,
    body: Value,
}

impl Response {
    fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or_default()
    }
}

/// A connection that can send anything.
struct Client<S>(S);

impl Client<TcpStream> {
    async fn new(addr: SocketAddr) -> Self {
        Self(TcpStream::connect(addr).await.unwrap())
    }
}

impl<S: AsyncReadExt + AsyncWriteExt + Unpin> Client<S> {
    async fn send(&mut self, raw: &str) {
        self.0.write_all(raw.as_bytes()).await.unwrap();
    }

    async fn response(&mut self) -> Response {
        let mut raw = Vec::new();
        let head = loop {
            if let Some(at) = raw.windows(4).position(|part| part == b"\r\n\r\n") {
                break String::from_utf8(raw.drain(..at + 4).collect()).unwrap().to_lowercase();
            }
            let read = tokio::time::timeout(PATIENCE, self.0.read_buf(&mut raw)).await;
            assert!(read.unwrap().unwrap() > 0, "closed without an answer");
        };
        let length = head.split("content-length: ").nth(1).unwrap().split("\r\n").next().unwrap();
        let length: usize = length.parse().unwrap();
        while raw.len() < length {
            assert!(self.0.read_buf(&mut raw).await.unwrap() > 0, "closed in the middle of an answer");
        }
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Response { status, head, body: serde_json::from_slice(&raw).unwrap_or_default() }
    }

    async fn ask(&mut self, method: &str, path: &str, headers: &str, body: &str) -> Response {
        let length = body.len();
        self.send(&format!(
            "{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
        ))
        .await;
        self.response().await
    }

    /// As an SDK that is logged in.
    async fn post(&mut self, path: &str, body: &str) -> Response {
        self.ask("POST", path, &good_headers(), body).await
    }

    async fn is_closed(&mut self) -> bool {
        let mut rest = [0; 64];
        let read = tokio::time::timeout(PATIENCE, self.0.read(&mut rest)).await;
        matches!(read, Ok(Ok(0) | Err(_)))
    }
}

fn good_headers() -> String {
    format!("Authorization: Bearer {TOKEN}\r\nContent-Type: application/json; charset=utf-8\r\n")
}

#[tokio::test]
async fn what_is_answered_with_200_is_in_the_queue() {
    let harness = harness();
    let mut client = Client::new(harness.http.unwrap()).await;
    let (good, id) = (Uuid::new_v4(), Uuid::new_v4());
    let bad = event(id).replace("userId", "userIdentity");
    let body = format!("{{\"userPresenceEvents\":[{},{bad}]}}", event(good));

    let first = client.post(PRESENCE, &line(good)).await;
    let second = client.post(PRESENCE, &body).await;

    assert_eq!((first.status, first.body.to_string().as_str()), (200, r#"{"errors":[]}"#));
    assert!(first.head.contains("inin-correlation-id: ") && first.head.contains("application/json"));
    assert_eq!((second.status, &second.body["errors"][0]["eventId"]), (200, &Value::from(id.to_string())));
    let fields = second.body["errors"][0].as_object().unwrap().keys().collect::<Vec<_>>();
    assert_eq!(fields, ["eventId", "message", "retryable"]);
    assert_eq!(harness.memory.ids(), [good]);
    let stored = harness.memory.events.lock().unwrap()[0].clone();
    assert_eq!((stored.door, stored.uid, stored.lane), (Door::Http, u32::MAX, Lane::Presence));
}

#[tokio::test]
async fn requests_that_are_not_right_get_the_apis_codes() {
    let harness = harness();
    let mut client = Client::new(harness.http.unwrap()).await;
    let body = line(Uuid::new_v4());
    let (good, bearer) = (good_headers(), format!("Authorization: Bearer {TOKEN}\r\n"));
    let json = "Content-Type: application/json\r\n";
    let cases = [
        ("POST", PRESENCE, json.to_owned(), 401, "authentication.required"),
        ("POST", PRESENCE, format!("{json}Authorization: Bearer wrong\r\n"), 401, "bad.credentials"),
        ("POST", PRESENCE, format!("{json}Authorization: Basic eDp5\r\n"), 401, "authentication.required"),
        ("POST", PRESENCE, format!("{good}Origin: https://example.org\r\n"), 403, "not.authorized"),
        ("GET", PRESENCE, good.clone(), 405, "method.not.allowed"),
        ("POST", PRESENCE, bearer.clone(), 415, "unsupported.media.type"),
        ("POST", PRESENCE, format!("{bearer}Content-Type: text/plain\r\n"), 415, "unsupported.media.type"),
        ("POST", "/api/v2/users/me", good.clone(), 404, "not.found"),
        ("POST", "/api/v2/events/conversations", good.clone(), 400, "bad.request"),
    ];

    for (method, path, headers, status, code) in cases {
        let response = client.ask(method, path, &headers, &body).await;
        assert_eq!((response.status, response.code()), (status, code), "{method} {path} {headers}");
        assert_eq!(response.body["status"], status);
        assert!(response.body["message"].as_str().is_some_and(|message| message.len() > 10));
    }

    for (body, code) in [("{}", "zero.events.submitted"), ("[]", "bad.request"), ("{", "bad.request")] {
        assert_eq!(client.post(PRESENCE, body).await.code(), code, "{body}");
    }
    assert_eq!(harness.memory.count(), 0);
}

#[tokio::test]
async fn a_login_gives_the_token_to_who_has_it() {
    let harness = harness();
    let mut client = Client::new(harness.http.unwrap()).await;
    let basic = |secret: &str| {
        use base64::Engine;
        let text = base64::engine::general_purpose::STANDARD.encode(format!("any-client:{secret}"));
        format!("Authorization: Basic {text}\r\nContent-Type: application/x-www-form-urlencoded\r\n")
    };

    let good = client.ask("POST", "/oauth/token", &basic(TOKEN), "grant_type=client_credentials").await;
    let wrong = client.ask("POST", "/oauth/token", &basic("wrong"), "grant_type=client_credentials").await;
    let other = client.ask("POST", "/oauth/token", &basic(TOKEN), "grant_type=password").await;

    assert_eq!(
        (good.status, &good.body["access_token"], &good.body["token_type"]),
        (200, &TOKEN.into(), &"bearer".into())
    );
    assert_eq!((wrong.status, &wrong.body["error"]), (400, &"invalid_client".into()));
    assert_eq!((other.status, &other.body["error"]), (400, &"unsupported_grant_type".into()));
}

#[tokio::test]
async fn a_changed_token_is_taken_without_a_restart() {
    let harness = harness();
    let mut client = Client::new(harness.http.unwrap()).await;
    std::fs::write(harness.dir.path().join("token"), "another\n").unwrap();
    let headers = "Authorization: Bearer another\r\nContent-Type: application/json\r\n";

    // The file is read before each request.
    let status = client.ask("POST", PRESENCE, headers, &line(Uuid::new_v4())).await.status;

    assert_eq!(status, 200);
    assert_eq!(client.post(PRESENCE, &line(Uuid::new_v4())).await.status, 401);
}

#[tokio::test]
async fn anonymous_producers_get_in_only_if_the_operator_says_so() {
    let harness = Harness::new(|config| {
        config.http.listen = Some("127.0.0.1:0".to_owned());
        config.http.allow_anonymous = true;
    });
    let mut client = Client::new(harness.http.unwrap()).await;

    let login = client
        .ask("POST", "/oauth/token", "", "grant_type=client_credentials&client_id=x&client_secret=y")
        .await;
    let without =
        client.ask("POST", PRESENCE, "Content-Type: application/json\r\n", &line(Uuid::new_v4())).await;

    assert_eq!((login.status, without.status), (200, 200));
}

#[tokio::test]
async fn a_full_queue_is_503_with_a_wait_and_only_if_nothing_was_accepted() {
    let harness = harness();
    let mut client = Client::new(harness.http.unwrap()).await;
    *harness.memory.fault.lock().unwrap() = Some(AppendError::Full { max_bytes: 1 });

    let full = client.post(PRESENCE, &line(Uuid::new_v4())).await;
    *harness.memory.fault.lock().unwrap() = None;
    let again = client.post(PRESENCE, &line(Uuid::new_v4())).await;

    assert_eq!((full.status, full.code()), (503, "service.unavailable"));
    assert!(full.head.contains("retry-after: 5"), "{}", full.head);
    assert_eq!(again.status, 200);
}

#[tokio::test]
async fn more_than_a_hundred_events_are_taken_and_more_than_a_thousand_are_not() {
    let harness = Harness::new(|config| {
        config.max_line = 1 << 20;
        config.http.listen = Some("127.0.0.1:0".to_owned());
        config.http.allow_anonymous = true;
    });
    let mut client = Client::new(harness.http.unwrap()).await;
    let body = |count: usize| {
        let events: Vec<String> = (0..count).map(|_| event(Uuid::new_v4())).collect();
        format!("{{\"userPresenceEvents\":[{}]}}", events.join(","))
    };

    let some = client.post(PRESENCE, &body(500)).await;
    let many = client.post(PRESENCE, &body(1_001)).await;

    assert_eq!((some.status, harness.memory.count()), (200, 500));
    assert_eq!((many.status, many.code()), (413, "request.entity.too.large"));
}

#[tokio::test]
async fn chunked_and_long_bodies_keep_to_the_limit() {
    let harness = harness();
    let addr = harness.http.unwrap();
    let head = format!(
        "POST {PRESENCE} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n{}\r\n",
        good_headers()
    );
    let body = line(Uuid::new_v4());

    let mut client = Client::new(addr).await;
    let (first, second) = body.split_at(40);
    client.send(&format!("{head}{:x}\r\n{first}\r\n", first.len())).await;
    client.send(&format!("{:x}\r\n{second}\r\n0\r\n\r\n", second.len())).await;
    let chunked = client.response().await;
    let mut announced = Client::new(addr).await;
    announced
        .send(&format!(
            "POST {PRESENCE} HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n{}\r\n",
            good_headers()
        ))
        .await;
    let announced = announced.response().await;
    let mut growing = Client::new(addr).await;
    growing.send(&head).await;
    let piece = format!("8000\r\n{}\r\n", " ".repeat(0x8000));
    growing.send(&piece.repeat(3)).await;
    let grown = growing.response().await;

    assert_eq!((chunked.status, harness.memory.count()), (200, 1));
    assert_eq!((announced.status, grown.status), (413, 413));
    assert!(growing.is_closed().await);
}

#[tokio::test]
async fn long_bodies_that_come_in_parts_at_the_same_time_are_all_taken() {
    let (length, count) = (200 * 1024, 12);
    let harness = Harness::new(|config| {
        (config.max_line, config.max_pending) = (256 * 1024, 512 * 1024);
        config.http.listen = Some("127.0.0.1:0".to_owned());
        config.http.allow_anonymous = true;
    });
    let addr = harness.http.unwrap();
    let all_began = Arc::new(tokio::sync::Barrier::new(count));
    let post = |all_began: Arc<tokio::sync::Barrier>| async move {
        let mut client = Client::new(addr).await;
        let event = line(Uuid::new_v4());
        let (first, rest) = (" ".repeat(100 * 1024), " ".repeat(length - 100 * 1024 - event.len()));
        let head = format!("POST {PRESENCE} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n");
        client.send(&format!("{head}{}\r\n{first}", good_headers())).await;
        all_began.wait().await;
        client.send(&format!("{rest}{event}")).await;
        client.response().await.status
    };

    let posts: Vec<_> = (0..count).map(|_| tokio::spawn(post(all_began.clone()))).collect();
    let mut statuses = Vec::new();
    for post in posts {
        statuses.push(post.await.unwrap());
    }

    assert_eq!(statuses, vec![200; count]);
    assert_eq!(harness.memory.count(), count);
}

#[tokio::test]
async fn a_unix_socket_tells_who_the_producer_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("http.sock");
    let listen = format!("unix:{}", path.display());
    let harness = Harness::new(|config| {
        config.http.listen = Some(listen);
        config.http.allow_anonymous = true;
    });
    let mut client = Client(UnixStream::connect(&path).await.unwrap());

    let response = client.post(PRESENCE, &line(Uuid::new_v4())).await;

    assert_eq!(response.status, 200);
    let uid = harness.memory.events.lock().unwrap()[0].uid;
    assert_eq!(uid, nix::unistd::geteuid().as_raw());
    harness.stop().await;
    assert!(!path.exists());
}

#[tokio::test]
async fn a_hundred_hostile_connections_change_nothing_for_a_good_one() {
    let harness = harness();
    let addr = harness.http.unwrap();
    let mut hostile = Vec::new();
    for nth in 0..100 {
        let mut client = Client::new(addr).await;
        let raw = match nth % 5 {
            0 => "POST /api/v2/ev".to_owned(),
            1 => format!(
                "POST {PRESENCE} HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n{}\r\n{}",
                good_headers(),
                " ".repeat(50_000)
            ),
            2 => "\u{1}\u{2}\u{3}garbage\r\n\r\n".to_owned(),
            3 => format!(
                "POST {PRESENCE} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n{}\r\nfffffffff\r\n",
                good_headers()
            ),
            _ => String::new(),
        };
        client.send(&raw).await;
        hostile.push(client);
    }

    let mut good = Client::new(addr).await;
    let mut answered = Vec::new();
    for _ in 0..50 {
        let response = tokio::time::timeout(PATIENCE, good.post(PRESENCE, &line(Uuid::new_v4()))).await;
        answered.push(response.expect("an answer in time").status);
    }

    assert_eq!(answered, [200; 50]);
    assert_eq!(harness.memory.count(), 50);
    drop(hostile);
}

#[tokio::test]
async fn a_partial_head_is_not_waited_for_for_ever() {
    let harness = harness();
    let mut client = Client::new(harness.http.unwrap()).await;
    client.send("POST /api/v2/events/users/presence HTTP/1.1\r\nHost").await;

    assert!(client.is_closed().await);
}

#[tokio::test]
async fn a_stop_answers_the_request_in_hand() {
    let harness = harness();
    let mut client = Client::new(harness.http.unwrap()).await;
    harness.memory.gate.send_replace(false);
    let body = line(Uuid::new_v4());
    client
        .send(&format!(
            "POST {PRESENCE} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n{}\r\n{body}",
            body.len(),
            good_headers()
        ))
        .await;
    crate::kit::until(|| harness.memory.count() == 1).await;
    let (memory, gate) = (harness.memory.clone(), harness.memory.gate.clone());

    let stopping = tokio::spawn(harness.stop());
    tokio::task::yield_now().await;
    gate.send_replace(true);
    let response = client.response().await;

    assert_eq!((response.status, memory.count()), (200, 1));
    stopping.await.unwrap();
}
