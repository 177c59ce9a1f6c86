//! What goes wrong on the way, and settings that cannot work.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use trunkline::clock::Clock;
use trunkline::config;
use trunkline::upstream::{Client, ClientError, Upstream, Verdict};

use crate::kit::{
    NOW_MS, OK, ROOT_PEM, Reply, SECRET, Server, assert_hides, client, file, raw_server, request, say,
    settings, taken, unavailable, verdict,
};

#[tokio::test]
async fn a_closed_port_is_told_in_plain_words() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let closed = listener.local_addr().unwrap();
    drop(listener);
    let server = Server::start().await;
    let mut api_down = server.settings();
    api_down.endpoints.api_url = format!("http://{closed}");
    let mut login_down = server.settings();
    login_down.endpoints.login_url = format!("http://{closed}");

    let api = verdict(&client(&api_down)).await;
    let login = verdict(&client(&login_down)).await;

    assert_eq!(api, unavailable("connection refused", false));
    assert_eq!(login, unavailable("login host not reachable: connection refused", false));
}

#[tokio::test]
async fn an_answer_that_never_comes_times_out_and_may_have_been_taken() {
    let server = Server::start().await.on_api([Reply::Hang]);
    let mut settings = server.settings();
    // Long enough for the login before it, on a busy machine too.
    settings.request_timeout = Duration::from_secs(2);
    let client = client(&settings);

    assert_eq!(verdict(&client).await, unavailable("timed out after 2s", true));
}

#[tokio::test]
async fn a_connection_that_breaks_may_have_been_taken() {
    let partial: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"errors\":[";
    let head_only: &[u8] = b"HTTP/1.1 200 O";
    let bad_chunk: &[u8] =
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nnonsense\r\n{}\r\n0\r\n\r\n";
    let cases = [
        (&b""[..], "reset"),
        (partial, "200, its body broke off"),
        (head_only, "connection"),
        (bad_chunk, "200, its body broke off: the answer is not valid HTTP"),
    ];
    let server = Server::start().await;

    for (bytes, words) in cases {
        let mut settings = server.settings();
        settings.endpoints.api_url = format!("http://{}", raw_server(bytes).await);
        let found = verdict(&client(&settings)).await;

        let Verdict::Unavailable { reason, maybe_taken: true } = &found else {
            panic!("{found:?}");
        };
        assert!(reason.contains(words), "{reason}");
    }
}

#[tokio::test]
async fn an_endless_answer_is_read_to_its_limit_only() {
    let server = Server::start().await.on_api([say(200, &format!("{OK}{}", " ".repeat(1024 * 1024)))]);
    let client = client(&server.settings());

    assert_eq!(verdict(&client).await, Verdict::NotTheApi);
}

#[tokio::test]
async fn a_port_that_speaks_no_tls_is_told_as_tls() {
    let server = Server::start().await;
    let (_dir, path) = file(ROOT_PEM);
    let mut settings = server.settings();
    settings.endpoints.api_url = format!("https://{}", server.address);
    settings.ca_file = Some(path);

    let Verdict::Unavailable { reason, maybe_taken: false } = verdict(&client(&settings)).await else {
        panic!("a connection without TLS");
    };

    assert_eq!(reason, "TLS: the server does not speak TLS; is this an http port, or a proxy's?");
}

#[tokio::test]
async fn an_explicit_proxy_is_used_and_its_password_stays_hidden() {
    let proxy = Server::start().await.on_api([say(407, "")]);
    let mut settings = settings("http://127.0.0.1:9");
    settings.proxy = Some(format!("http://user:{SECRET}@{}", proxy.address));
    let client = client(&settings);

    let found = client.send(request()).await;

    assert_eq!(found.verdict, Verdict::Misconfigured { reason: "407".into() });
    assert_eq!(proxy.logins(), 1);
    assert!(proxy.api_asked()[0].headers.contains_key("proxy-authorization"));
    assert_hides(&found, SECRET);
    assert_hides(&client, SECRET);
}

#[test]
fn settings_that_cannot_work_are_refused_without_their_secrets() {
    let refusal = |settings: config::UpstreamConfig| {
        let error = Client::new(&settings, Clock::manual(NOW_MS)).unwrap_err();
        assert_hides(&error, SECRET);
        assert!(!error.to_string().contains(SECRET));
        error
    };
    let plain = settings("http://127.0.0.1:9");
    let (_dir, no_pem) = file("no certificate");

    let address = refusal(settings(&format!("http://user:{SECRET}@example.invalid")));
    let proxy =
        refusal(config::UpstreamConfig { proxy: Some(format!("http://u:{SECRET}@[")), ..plain.clone() });
    let missing =
        refusal(config::UpstreamConfig { ca_file: Some("/nonexistent/ca".into()), ..plain.clone() });
    let format = refusal(config::UpstreamConfig { ca_file: Some(no_pem), ..plain });

    assert!(matches!(address, ClientError::Address { key: "upstream.api_url" }));
    assert!(matches!(proxy, ClientError::Proxy));
    assert!(matches!(missing, ClientError::CaFileRead { .. }));
    assert!(matches!(format, ClientError::CaFileFormat { .. }));
}

#[tokio::test]
async fn an_answer_that_is_no_http_is_told_as_that() {
    let server = Server::start().await;
    let heads: [&[u8]; 3] = [
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        b"\x15\x03\x01\x00\x02\x02\x46",
        b"HTTP/1.1 200 OK\r\ncontent-length: 13\r\ncontent-length: 7\r\n\r\n{\"errors\":[]}",
    ];

    for head in heads {
        let mut settings = server.settings();
        settings.endpoints.api_url = format!("http://{}", raw_server(head).await);
        let found = verdict(&client(&settings)).await;

        assert_eq!(found, unavailable("the answer is not valid HTTP", true), "{}", head.escape_ascii());
    }
}

#[tokio::test]
async fn other_peoples_bad_headers_do_not_cost_an_answer() {
    let server = Server::start().await;
    let many: String = (0..120).map(|n| format!("x-{n}: 1\r\n")).collect();
    let heads = ["X Bad: 1\r\n", "X-Folded: a\r\n b\r\n", &many];

    for head in heads {
        let mut settings = server.settings();
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: 13\r\n{head}\r\n{OK}");
        settings.endpoints.api_url = format!("http://{}", raw_server(answer.leak().as_bytes()).await);
        let found = verdict(&client(&settings)).await;

        assert_eq!(found, taken(), "{head}");
    }
}

#[tokio::test]
async fn an_answer_without_end_is_cut_and_is_not_the_apis() {
    let server = Server::start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut settings = server.settings();
    settings.endpoints.api_url = format!("http://{}", listener.local_addr().unwrap());
    let endless = tokio::spawn(async move {
        let (mut connection, _) = listener.accept().await.unwrap();
        connection.read_u8().await.unwrap();
        connection.write_all(b"HTTP/1.1 200 OK\r\n\r\n{\"errors\":[]}").await.unwrap();
        let mut written = 0;
        while connection.write_all(&[b' '; 64 * 1024]).await.is_ok() {
            written += 64 * 1024;
        }
        written
    });

    let found = verdict(&client(&settings)).await;

    assert_eq!(found, Verdict::NotTheApi);
    let written = endless.await.unwrap();
    assert!(written < 64 * 1024 * 1024, "the client hung up after {written} bytes");
}
