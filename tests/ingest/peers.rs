//! Producers that take places and use none, that close without reading, and tokens that come and go.

use std::net::SocketAddr;
use std::time::Duration;

use crate::kit::{Harness, Memory, OK, PATIENCE, bind, event, ingest, line, until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use trunkline::metrics::DoorReason;
use uuid::Uuid;

const TOKEN: &str = "a-token-for-tests";

/// Doors that take 64 connections: 32 on TCP, 8 of them without a token.
fn harness() -> Harness {
    let dir = tempfile::tempdir().unwrap();
    let token = dir.path().join("token");
    std::fs::write(&token, TOKEN).unwrap();
    Harness::over(dir, Memory::new(), |config| {
        config.max_connections = 64;
        config.http.listen = Some("127.0.0.1:0".to_owned());
        config.http.token_file = Some(token);
    })
}

fn refused(harness: &Harness, reason: &'static str) -> u64 {
    harness.context.metrics.events_refused.get_or_create(&DoorReason { door: "http", reason }).get()
}

/// All that comes until the other end closes.
async fn rest(stream: &mut TcpStream) -> String {
    let mut raw = Vec::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut raw)).await;
    let _ = read.expect("it closes");
    String::from_utf8(raw).unwrap()
}

fn request(path: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n{headers}\r\n{body}")
}

fn presence(token: &str, body: &str) -> String {
    let headers = format!("Authorization: Bearer {token}\r\nContent-Type: application/json\r\n");
    request("/api/v2/events/users/presence", &headers, body)
}

/// Sends a request and returns the answer; the connection stays.
async fn ask(stream: &mut TcpStream, request: &str) -> String {
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut raw = Vec::new();
    loop {
        assert!(stream.read_buf(&mut raw).await.unwrap() > 0, "closed without an answer");
        let text = String::from_utf8_lossy(&raw).to_lowercase();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.split("content-length: ").nth(1).unwrap().split("\r\n").next().unwrap();
        if body.len() >= length.parse().unwrap() {
            return String::from_utf8(raw).unwrap();
        }
    }
}

async fn connect(addr: SocketAddr) -> TcpStream {
    TcpStream::connect(addr).await.unwrap()
}

#[tokio::test]
async fn idle_connections_without_a_token_keep_out_neither_the_stream_door_nor_one_with_the_token() {
    let harness = harness();
    let addr = harness.http.unwrap();
    let mut idle = Vec::new();
    for _ in 0..60 {
        idle.push(connect(addr).await);
    }

    let mut producer = harness.producer().await;
    producer.send(line(Uuid::new_v4())).await;
    let at_stream = producer.answer().await;
    let mut good = connect(addr).await;
    let first = ask(&mut good, &presence(TOKEN, &line(Uuid::new_v4()))).await;
    let turned_away = rest(idle.last_mut().unwrap()).await;
    let second = ask(&mut good, &presence(TOKEN, &line(Uuid::new_v4()))).await;

    assert_eq!(at_stream.as_deref(), Some(OK));
    assert!(first.starts_with("HTTP/1.1 200") && second.starts_with("HTTP/1.1 200"), "{first}\n{second}");
    assert!(turned_away.starts_with("HTTP/1.1 503") && turned_away.contains("retry-after"), "{turned_away}");
    until(|| refused(&harness, "too_many_connections") == 54).await;
    assert_eq!(harness.memory.count(), 3);
}

#[tokio::test]
async fn connections_that_show_a_bad_token_are_no_better_than_idle_ones() {
    let harness = harness();
    let addr = harness.http.unwrap();
    let mut bad = Vec::new();
    for _ in 0..20 {
        let mut stream = connect(addr).await;
        stream.write_all(presence("wrong", "{}").as_bytes()).await.unwrap();
        bad.push(stream);
    }

    let mut good = connect(addr).await;
    let answer = ask(&mut good, &presence(TOKEN, &line(Uuid::new_v4()))).await;

    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let last = rest(bad.last_mut().unwrap()).await;
    assert!(last.starts_with("HTTP/1.1 401") && last.contains("connection: close"), "{last}");
}

#[tokio::test]
async fn a_token_that_is_taken_away_lets_nobody_in_from_then_on() {
    let harness = harness();
    let addr = harness.http.unwrap();
    let file = harness.dir.path().join("token");
    let mut old = connect(addr).await;
    let before = ask(&mut old, &presence(TOKEN, &line(Uuid::new_v4()))).await;

    std::fs::write(&file, "another").unwrap();
    let after_change = ask(&mut old, &presence(TOKEN, &line(Uuid::new_v4()))).await;
    let is_closed = rest(&mut old).await.is_empty();
    let mut new = connect(addr).await;
    let with_the_other = ask(&mut new, &presence("another", &line(Uuid::new_v4()))).await;
    std::fs::write(&file, "\n").unwrap();
    let emptied = ask(&mut new, &presence("another", &line(Uuid::new_v4()))).await;
    std::fs::remove_file(&file).unwrap();
    let removed = ask(&mut connect(addr).await, &presence("another", "{}")).await;

    assert!(before.starts_with("HTTP/1.1 200") && with_the_other.starts_with("HTTP/1.1 200"));
    assert!(after_change.starts_with("HTTP/1.1 401") && is_closed, "{after_change}");
    assert!(emptied.starts_with("HTTP/1.1 401") && removed.starts_with("HTTP/1.1 401"), "{emptied}{removed}");
    assert_eq!(harness.memory.count(), 2);
}

#[tokio::test]
async fn a_token_file_that_does_not_come_stops_no_door() {
    let harness = harness();
    let addr = harness.http.unwrap();
    let file = harness.dir.path().join("token");
    let mut good = connect(addr).await;
    ask(&mut good, &presence(TOKEN, &line(Uuid::new_v4()))).await;
    std::fs::remove_file(&file).unwrap();
    nix::unistd::mkfifo(&file, nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();

    let mut asking = connect(addr).await;
    let bad = tokio::spawn(async move { ask(&mut asking, &presence("wrong", "{}")).await });
    let mut producer = harness.producer().await;
    producer.send(line(Uuid::new_v4())).await;
    let at_stream = producer.answer().await;
    let bad = bad.await.unwrap();
    let known = ask(&mut good, &presence(TOKEN, &line(Uuid::new_v4()))).await;

    assert_eq!(at_stream.as_deref(), Some(OK));
    assert!(bad.starts_with("HTTP/1.1 401"), "{bad}");
    assert!(known.starts_with("HTTP/1.1 200"), "what was known stays good: {known}");
    // Lets the reading end, and the runtime with it.
    std::fs::write(&file, TOKEN).unwrap();
}

#[tokio::test]
async fn refused_logins_are_counted() {
    let harness = harness();
    let mut stream = connect(harness.http.unwrap()).await;
    let form = "grant_type=client_credentials&client_id=x&client_secret=wrong";

    let answer = ask(&mut stream, &request("/oauth/token", "", form)).await;
    ask(&mut stream, &request("/oauth/token", "", "grant_type=password")).await;

    assert!(answer.contains("invalid_client"), "{answer}");
    assert_eq!((refused(&harness, "invalid_client"), refused(&harness, "unsupported_grant_type")), (1, 1));
}

#[tokio::test]
async fn a_compressed_body_is_refused_by_the_name_of_its_coding() {
    let harness = harness();
    let addr = harness.http.unwrap();
    let good = format!("Authorization: Bearer {TOKEN}\r\nContent-Type: application/json\r\n");
    let path = "/api/v2/events/users/presence";

    let gzip = request(path, &format!("{good}Content-Encoding: gzip\r\n"), "\u{1f}");
    let gzip = ask(&mut connect(addr).await, &gzip).await;
    let identity = request(path, &format!("{good}Content-Encoding: identity\r\n"), &line(Uuid::new_v4()));
    let identity = ask(&mut connect(addr).await, &identity).await;

    assert!(gzip.starts_with("HTTP/1.1 415") && gzip.contains("accept-encoding: identity"), "{gzip}");
    assert!(gzip.contains("Content-Encoding gzip") && gzip.contains("unsupported.media.type"), "{gzip}");
    assert!(identity.starts_with("HTTP/1.1 200"), "{identity}");
    assert_eq!(refused(&harness, "content_encoding"), 1);
}

#[tokio::test]
async fn lines_that_were_written_before_a_close_are_taken() {
    for lines in [1, 500, 2_000] {
        let harness = Harness::new(|_| {});
        let ids: Vec<Uuid> = (0..lines).map(|_| Uuid::new_v4()).collect();
        let mut text: String = ids.iter().map(|id| line(*id)).collect();
        // The last one without its end.
        text.pop();
        let mut stream = tokio::net::UnixStream::connect(&harness.path).await.unwrap();

        stream.write_all(text.as_bytes()).await.unwrap();
        drop(stream);

        until(|| harness.memory.count() == lines).await;
        assert_eq!(harness.memory.ids(), ids);
        harness.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_that_was_written_while_the_one_before_was_answered_is_taken_though_nobody_reads_the_answer() {
    let harness = Harness::new(|_| {});
    for nth in 0..2_000 {
        let mut stream = tokio::net::UnixStream::connect(&harness.path).await.unwrap();

        stream.write_all(line(Uuid::new_v4()).as_bytes()).await.unwrap();
        // The answer to it may be on its way when the next one comes, and when the producer closes.
        tokio::time::sleep(Duration::from_micros(nth % 400)).await;
        stream.write_all(line(Uuid::new_v4()).as_bytes()).await.unwrap();
        drop(stream);
    }

    until(|| harness.memory.count() == 4_000).await;
    harness.stop().await;
}

#[tokio::test]
async fn numbers_go_byte_for_byte() {
    let harness = Harness::new(|_| {});
    let mut producer = harness.producer().await;
    let numbers = "18446744073709551617,-9223372036854775809,1.10,1e400,-0,0.1e-400,1E+2";
    let sent = event(Uuid::new_v4()).replacen('{', &format!("{{\"newer\":[{numbers}],"), 1);
    let twice = event(Uuid::new_v4()).replacen('{', "{\"newer\":{\"a\":1,\"a\":2},", 1);

    producer.send(format!("{{\"userPresenceEvents\":[{sent}]}}\n")).await;
    let taken = producer.answer().await;
    producer.send(format!("{{\"userPresenceEvents\":[{twice}]}}\n")).await;
    let refused = producer.answer().await.unwrap();

    assert_eq!(taken.as_deref(), Some(OK));
    assert_eq!(harness.memory.events.lock().unwrap()[0].body, sent.as_bytes());
    assert!(refused.contains("newer.a: appears twice"), "{refused}");
}

#[tokio::test]
async fn a_socket_file_that_was_removed_is_told_and_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("events.sock");
    let socket = bind(&ingest(&path).stream).unwrap();
    let state = socket.file_state().unwrap();
    let harness = Harness::with_socket(dir, socket);
    let before = state.fault();

    std::fs::remove_file(&path).unwrap();
    let gone = state.fault();
    until(|| path.exists()).await;
    let mut producer = harness.producer().await;
    producer.send(line(Uuid::new_v4())).await;

    assert_eq!(producer.answer().await.as_deref(), Some(OK));
    assert_eq!((before, state.fault()), (None, None));
    assert!(gone.unwrap().contains("the socket file was removed"));
    harness.stop().await;
    assert!(!path.exists(), "the new one is ours, too");
}

#[tokio::test]
async fn a_socket_file_that_another_process_took_is_left_to_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("events.sock");
    let socket = bind(&ingest(&path).stream).unwrap();
    let state = socket.file_state().unwrap();

    std::fs::remove_file(&path).unwrap();
    let other = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let fault = state.fault();
    drop(socket);

    assert!(fault.unwrap().contains("another file lies in place of our socket"));
    assert!(path.exists(), "it is not ours to remove");
    assert_eq!(state.fault(), None, "a socket that is closed has no fault");
    drop(other);
}
