//! An API and a login host on loopback that answer as a test wants it, and clients for them.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use secrecy::SecretString;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use trunkline::clock::Clock;
use trunkline::config::{self, Credentials, Endpoints};
use trunkline::event::Lane;
use trunkline::upstream::{Client, Outbound, Upstream, Verdict};

pub(super) const SECRET: &str = "s3cret-of-the-test";
pub(super) const NOW_MS: i64 = 1_795_521_600_000;
pub(super) const OK: &str = r#"{"errors":[]}"#;

/// A root made for this test; nothing was ever signed with it and its key is gone.
pub(super) const ROOT_PEM: &str = "-----BEGIN CERTIFICATE-----
MIIBkjCCATmgAwIBAgIUcoHt9vhMDq5powt0URmm1Khmdo0wCgYIKoZIzj0EAwIw
HjEcMBoGA1UEAwwTdHJ1bmtsaW5lIHRlc3Qgcm9vdDAgFw0yNjExMjQxMTUxNTVa
GA8yMTI2MTAzMTExNTE1NVowHjEcMBoGA1UEAwwTdHJ1bmtsaW5lIHRlc3Qgcm9v
dDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABMqkUDjgYwFDzPUoXedoxkUcqeFb
AjV2AiZ7JuBmSwbaUwrK/I9eSa/Tjofou3ICGUR3ybFQ+FBr5dpsnrW6xdmjUzBR
MB0GA1UdDgQWBBSacwR74sgNwj0tWB3PMK9cIBmOZjAfBgNVHSMEGDAWgBSacwR7
4sgNwj0tWB3PMK9cIBmOZjAPBgNVHRMBAf8EBTADAQH/MAoGCCqGSM49BAMCA0cA
MEQCIF3l9QUND0r2Ycsv3FOLdfFs3aHXosWtGIvb6dWkdJpBAiBNW1MTZvOpLWyk
ZF4fPdjMhGtFiVy8XsGKuEA0IsxS3Q==
-----END CERTIFICATE-----
";

/// What the server does with one request.
#[derive(Clone)]
pub(super) enum Reply {
    Say(u16, String),
    /// As `Say`, with one more header.
    With(u16, &'static str, String, String),
    /// As `With`, with a body that is no text.
    Bytes(u16, &'static str, &'static str, Vec<u8>),
    Hang,
    /// A 503, once it is let go.
    Held(Arc<Notify>),
}

/// What the server was asked.
#[derive(Clone)]
pub(super) struct Asked {
    pub(super) path: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

#[derive(Default)]
pub(super) struct Book {
    pub(super) api: VecDeque<Reply>,
    pub(super) login: VecDeque<Reply>,
    pub(super) api_asked: Vec<Asked>,
    pub(super) login_asked: Vec<Asked>,
    pub(super) logins: usize,
    /// Logins take this long, so that others can come meanwhile.
    pub(super) login_delay: Duration,
}

/// The API and the login host. Unscripted requests go well: tokens are `token-1`, `token-2`, …
#[derive(Clone)]
pub(super) struct Server {
    pub(super) address: SocketAddr,
    pub(super) book: Arc<Mutex<Book>>,
}

impl Server {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Server { address: listener.local_addr().unwrap(), book: Arc::default() };
        let router = Router::new().fallback(handle).with_state(server.book.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        server
    }

    pub(super) fn on_api(self, replies: impl IntoIterator<Item = Reply>) -> Self {
        self.book.lock().unwrap().api.extend(replies);
        self
    }

    pub(super) fn on_login(self, replies: impl IntoIterator<Item = Reply>) -> Self {
        self.book.lock().unwrap().login.extend(replies);
        self
    }

    pub(super) fn api_asked(&self) -> Vec<Asked> {
        self.book.lock().unwrap().api_asked.clone()
    }

    pub(super) fn logins(&self) -> usize {
        self.book.lock().unwrap().login_asked.len()
    }

    pub(super) fn settings(&self) -> config::UpstreamConfig {
        settings(&format!("http://{}", self.address))
    }
}

pub(super) async fn handle(
    State(book): State<Arc<Mutex<Book>>>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let asked = Asked { path: uri.path().to_owned(), headers, body };
    let (reply, delay) = {
        let mut book = book.lock().unwrap();
        if asked.path == "/oauth/token" {
            book.login_asked.push(asked);
            let reply = book.login.pop_front();
            let reply = reply.unwrap_or_else(|| {
                book.logins += 1;
                say(200, &format!(r#"{{"access_token":"token-{}","expires_in":1000}}"#, book.logins))
            });
            (reply, book.login_delay)
        } else {
            book.api_asked.push(asked);
            (book.api.pop_front().unwrap_or_else(|| say(200, OK)), Duration::ZERO)
        }
    };
    tokio::time::sleep(delay).await;
    match reply {
        Reply::Say(status, body) => (StatusCode::from_u16(status).unwrap(), body).into_response(),
        Reply::With(status, name, value, body) => {
            (StatusCode::from_u16(status).unwrap(), [(name, value)], body).into_response()
        }
        Reply::Bytes(status, name, value, body) => {
            (StatusCode::from_u16(status).unwrap(), [(name, value)], body).into_response()
        }
        Reply::Hang => std::future::pending().await,
        Reply::Held(let_go) => {
            let_go.notified().await;
            StatusCode::SERVICE_UNAVAILABLE.into_response()
        }
    }
}

/// Reads a request on each connection, writes `bytes` and closes, for answers that axum cannot give.
pub(super) async fn raw_server(bytes: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            let mut request = [0; 16 * 1024];
            let _read = connection.read(&mut request).await;
            let _written = connection.write_all(bytes).await;
            if bytes.is_empty() {
                connection.set_zero_linger().unwrap();
            }
        }
    });
    address
}

pub(super) fn gzip(body: &str) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(body.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

pub(super) fn say(status: u16, body: &str) -> Reply {
    Reply::Say(status, body.to_owned())
}

pub(super) fn unauthorized(code: &str) -> Reply {
    say(401, &format!(r#"{{"message":"no","code":"{code}","status":401}}"#))
}

pub(super) fn settings(url: &str) -> config::UpstreamConfig {
    config::UpstreamConfig {
        endpoints: Endpoints { region: None, api_url: url.to_owned(), login_url: url.to_owned() },
        credentials: Credentials::Client {
            id: "client-1".into(),
            secret: Some(SecretString::from(SECRET)),
            secret_files: Vec::new(),
        },
        connect_timeout: Duration::from_secs(5),
        request_timeout: Duration::from_secs(10),
        proxy: None,
        ca_file: None,
    }
}

pub(super) fn with_secret_file(mut settings: config::UpstreamConfig, path: &Path) -> config::UpstreamConfig {
    settings.credentials =
        Credentials::Client { id: "client-1".into(), secret: None, secret_files: vec![path.to_owned()] };
    settings
}

pub(super) fn with_token_file(mut settings: config::UpstreamConfig, path: &Path) -> config::UpstreamConfig {
    settings.credentials = Credentials::AccessTokenFile(path.to_owned());
    settings
}

pub(super) fn file(content: &str) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("secret");
    std::fs::write(&path, content).unwrap();
    (dir, path)
}

pub(super) fn request() -> Outbound {
    Outbound { lane: Lane::Presence, body: Bytes::from_static(br#"{"userPresenceEvents":[{}]}"#) }
}

pub(super) async fn verdict(client: &Client) -> Verdict {
    client.send(request()).await.verdict
}

pub(super) fn client(settings: &config::UpstreamConfig) -> Client {
    Client::new(settings, Clock::manual(NOW_MS)).unwrap()
}

pub(super) fn taken() -> Verdict {
    Verdict::Taken { errors: Vec::new() }
}

pub(super) fn refused(reason: &str) -> Verdict {
    Verdict::Unauthorized { reason: reason.into() }
}

pub(super) fn unavailable(reason: &str, maybe_taken: bool) -> Verdict {
    Verdict::Unavailable { reason: reason.into(), maybe_taken }
}

pub(super) fn bearer(asked: &Asked) -> &str {
    asked.headers["authorization"].to_str().unwrap()
}

pub(super) fn assert_hides(shown: &impl Debug, secret: &str) {
    let shown = format!("{shown:?}");
    assert!(!shown.contains(secret), "{shown}");
}
