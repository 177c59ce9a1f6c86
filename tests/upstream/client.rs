//! The client and its token against a real HTTP server on loopback.

use std::collections::VecDeque;
use std::fmt::Debug;
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
use trunkline::upstream::{Client, ClientError, Outbound, RateLimiter, Standing, Upstream, Verdict};

const SECRET: &str = "s3cret-of-the-test";
const NOW_MS: i64 = 1_795_521_600_000;
const OK: &str = r#"{"errors":[]}"#;

/// A root made for this test; nothing was ever signed with it and its key is gone.
const ROOT_PEM: &str = "-----BEGIN CERTIFICATE-----
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
enum Reply {
    Say(u16, String),
    /// As `Say`, with one more header.
    With(u16, &'static str, String, String),
    Hang,
    /// A 503, once it is let go.
    Held(Arc<Notify>),
}

/// What the server was asked.
#[derive(Clone)]
struct Asked {
    path: String,
    headers: HeaderMap,
    body: Bytes,
}

#[derive(Default)]
struct Book {
    api: VecDeque<Reply>,
    login: VecDeque<Reply>,
    api_asked: Vec<Asked>,
    login_asked: Vec<Asked>,
    logins: usize,
    /// Logins take this long, so that others can come meanwhile.
    login_delay: Duration,
}

/// The API and the login host. Unscripted requests go well: tokens are `token-1`, `token-2`, …
#[derive(Clone)]
struct Server {
    address: SocketAddr,
    book: Arc<Mutex<Book>>,
}

impl Server {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Server { address: listener.local_addr().unwrap(), book: Arc::default() };
        let router = Router::new().fallback(handle).with_state(server.book.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        server
    }

    fn on_api(self, replies: impl IntoIterator<Item = Reply>) -> Self {
        self.book.lock().unwrap().api.extend(replies);
        self
    }

    fn on_login(self, replies: impl IntoIterator<Item = Reply>) -> Self {
        self.book.lock().unwrap().login.extend(replies);
        self
    }

    fn api_asked(&self) -> Vec<Asked> {
        self.book.lock().unwrap().api_asked.clone()
    }

    fn logins(&self) -> usize {
        self.book.lock().unwrap().login_asked.len()
    }

    fn settings(&self) -> config::UpstreamConfig {
        settings(&format!("http://{}", self.address))
    }
}

async fn handle(State(book): State<Arc<Mutex<Book>>>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
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
        Reply::Hang => std::future::pending().await,
        Reply::Held(let_go) => {
            let_go.notified().await;
            StatusCode::SERVICE_UNAVAILABLE.into_response()
        }
    }
}

/// Reads a request on each connection, writes `bytes` and closes, for answers that axum cannot give.
async fn raw_server(bytes: &'static [u8]) -> SocketAddr {
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

fn say(status: u16, body: &str) -> Reply {
    Reply::Say(status, body.to_owned())
}

fn unauthorized(code: &str) -> Reply {
    say(401, &format!(r#"{{"message":"no","code":"{code}","status":401}}"#))
}

fn settings(url: &str) -> config::UpstreamConfig {
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

fn with_secret_file(mut settings: config::UpstreamConfig, path: &Path) -> config::UpstreamConfig {
    settings.credentials =
        Credentials::Client { id: "client-1".into(), secret: None, secret_files: vec![path.to_owned()] };
    settings
}

fn with_token_file(mut settings: config::UpstreamConfig, path: &Path) -> config::UpstreamConfig {
    settings.credentials = Credentials::AccessTokenFile(path.to_owned());
    settings
}

fn file(content: &str) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("secret");
    std::fs::write(&path, content).unwrap();
    (dir, path)
}

fn request() -> Outbound {
    Outbound { lane: Lane::Presence, body: Bytes::from_static(br#"{"userPresenceEvents":[{}]}"#) }
}

async fn verdict(client: &Client) -> Verdict {
    client.send(request()).await.verdict
}

fn client(settings: &config::UpstreamConfig) -> Client {
    Client::new(settings, Clock::manual(NOW_MS)).unwrap()
}

fn taken() -> Verdict {
    Verdict::Taken { errors: Vec::new() }
}

fn refused(reason: &str) -> Verdict {
    Verdict::Unauthorized { reason: reason.into() }
}

fn unavailable(reason: &str, maybe_taken: bool) -> Verdict {
    Verdict::Unavailable { reason: reason.into(), maybe_taken }
}

fn bearer(asked: &Asked) -> &str {
    asked.headers["authorization"].to_str().unwrap()
}

fn assert_hides(shown: &impl Debug, secret: &str) {
    let shown = format!("{shown:?}");
    assert!(!shown.contains(secret), "{shown}");
}

#[tokio::test]
async fn a_request_arrives_as_the_api_wants_it() {
    let reply = Reply::With(200, "inin-correlation-id", "c-1".into(), OK.into());
    let server = Server::start().await.on_api([reply]);
    let client = client(&server.settings());

    let answer = client.send(request()).await;

    assert_eq!(answer.verdict, taken());
    assert_eq!(answer.status, Some(200));
    assert_eq!(answer.correlation_id.as_deref(), Some("c-1"));
    let asked = &server.api_asked()[0];
    assert_eq!(asked.path, "/api/v2/events/users/presence");
    assert_eq!(asked.body, request().body);
    assert_eq!(asked.headers["content-type"], "application/json");
    assert_eq!(asked.headers["accept"], "application/json");
    assert_eq!(asked.headers["user-agent"], format!("trunkline/{}", env!("CARGO_PKG_VERSION")));
    assert_eq!(bearer(asked), "Bearer token-1");
    let login = server.book.lock().unwrap().login_asked[0].clone();
    assert_eq!(login.body, "grant_type=client_credentials");
    assert_eq!(login.headers["content-type"], "application/x-www-form-urlencoded");
    assert_eq!(bearer(&login), "Basic Y2xpZW50LTE6czNjcmV0LW9mLXRoZS10ZXN0");
}

#[tokio::test]
async fn a_page_with_status_200_delivers_nothing() {
    let server = Server::start().await.on_api([say(200, "<html>hotel network</html>")]);
    let client = client(&server.settings());

    assert_eq!(verdict(&client).await, Verdict::NotTheApi);
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let reply = Reply::With(307, "location", "/elsewhere".into(), String::new());
    let server = Server::start().await.on_api([reply]);
    let client = client(&server.settings());

    let found = verdict(&client).await;

    assert_eq!(found, Verdict::Misconfigured { reason: "307, a redirect".into() });
    assert_eq!(server.api_asked().len(), 1);
}

#[tokio::test]
async fn a_login_is_made_once_for_all_who_wait() {
    let server = Server::start().await;
    server.book.lock().unwrap().login_delay = Duration::from_millis(100);
    let client = client(&server.settings());

    let sent: Vec<_> = (0..20)
        .map(|_| {
            tokio::spawn({
                let client = client.clone();
                async move { verdict(&client).await }
            })
        })
        .collect();
    for sent in sent {
        assert_eq!(sent.await.unwrap(), taken());
    }

    assert_eq!(server.logins(), 1);
    assert_eq!(server.api_asked().len(), 20);
}

#[tokio::test]
async fn a_refused_login_is_shared_by_all_who_wait() {
    let server = Server::start().await.on_login(vec![say(400, r#"{"error":"invalid_client"}"#); 20]);
    server.book.lock().unwrap().login_delay = Duration::from_millis(100);
    let client = client(&server.settings());

    let sent: Vec<_> = (0..20)
        .map(|_| {
            tokio::spawn({
                let client = client.clone();
                async move { verdict(&client).await }
            })
        })
        .collect();
    for sent in sent {
        let found = sent.await.unwrap();
        assert_eq!(found, refused("login refused: invalid_client (client id client-1)"));
    }

    assert_eq!(server.logins(), 1);
    assert!(server.api_asked().is_empty());
}

#[tokio::test]
async fn a_401_gets_one_new_token_and_one_retry() {
    let server = Server::start().await.on_api([unauthorized("bad.credentials")]);
    let client = client(&server.settings());

    assert_eq!(verdict(&client).await, taken());

    let asked = server.api_asked();
    assert_eq!(asked.iter().map(bearer).collect::<Vec<_>>(), ["Bearer token-1", "Bearer token-2"]);
    assert_eq!(server.logins(), 2);
}

#[derive(Debug, Default)]
struct CountingLimiter(std::sync::atomic::AtomicUsize);

impl RateLimiter for CountingLimiter {
    fn acquire(&self) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async {
            self.0.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        })
    }
}

#[tokio::test]
async fn whatever_the_relay_did_not_start_asks_the_pace_first() {
    let server = Server::start().await.on_api([unauthorized("bad.credentials")]);
    let client = client(&server.settings());
    let limiter = Arc::new(CountingLimiter::default());
    client.keep_to(limiter.clone());

    assert_eq!(verdict(&client).await, taken());
    let _ = client.token_owner().await;

    // All but the relay's own request: two logins, the repeat, the question whose token it is.
    assert_eq!(
        limiter.0.load(std::sync::atomic::Ordering::SeqCst),
        server.logins() + server.api_asked().len() - 1
    );
    assert_eq!((server.logins(), server.api_asked().len()), (2, 3));
}

#[tokio::test]
async fn a_token_that_was_taken_may_be_replaced_again_at_once() {
    let no = || unauthorized("bad.credentials");
    let server = Server::start().await.on_api([no(), say(200, OK), no(), say(200, OK)]);
    let client = client(&server.settings());

    assert_eq!(verdict(&client).await, taken());
    assert_eq!(verdict(&client).await, taken());

    assert_eq!(server.logins(), 3);
}

#[tokio::test]
async fn an_api_that_refuses_fresh_tokens_does_not_hammer_the_login_host() {
    let server = Server::start().await.on_api(vec![unauthorized("bad.credentials"); 100]);
    let clock = Clock::manual(NOW_MS);
    let client = Client::new(&server.settings(), clock.clone()).unwrap();

    assert_eq!(verdict(&client).await, refused("bad.credentials"));
    for _ in 0..20 {
        assert!(matches!(verdict(&client).await, Verdict::Unauthorized { .. }));
    }
    let at_once = server.logins();
    clock.advance(Duration::from_secs(1));
    for _ in 0..20 {
        assert!(matches!(verdict(&client).await, Verdict::Unauthorized { .. }));
    }

    assert_eq!(at_once, 2);
    assert_eq!(server.logins(), 3);
}

#[tokio::test]
async fn an_address_that_may_not_log_in_gets_no_new_token() {
    let server = Server::start().await.on_api([unauthorized("ip.not.authorized")]);
    let client = client(&server.settings());

    assert_eq!(verdict(&client).await, refused("ip.not.authorized"));

    assert_eq!(server.logins(), 1);
    assert_eq!(server.api_asked().len(), 1);
}

#[tokio::test]
async fn a_secret_that_was_changed_after_a_refusal_is_picked_up() {
    let server = Server::start().await.on_login([say(401, r#"{"error":"invalid_client"}"#)]);
    let (_dir, path) = file("wrong\n");
    let clock = Clock::manual(NOW_MS);
    let client = Client::new(&with_secret_file(server.settings(), &path), clock.clone()).unwrap();

    let before = verdict(&client).await;
    std::fs::write(&path, format!("{SECRET}\r\n")).unwrap();
    let within_pause = verdict(&client).await;
    clock.advance(Duration::from_secs(1));
    let after = verdict(&client).await;

    let reason = "login refused: invalid_client (client id client-1)";
    assert_eq!((before, within_pause, after), (refused(reason), refused(reason), taken()));
    let asked = server.book.lock().unwrap().login_asked.clone();
    assert_eq!(asked.len(), 2);
    assert_eq!(bearer(&asked[1]), "Basic Y2xpZW50LTE6czNjcmV0LW9mLXRoZS10ZXN0");
}

#[tokio::test]
async fn a_missing_secret_names_the_path_and_is_found_when_it_comes() {
    let server = Server::start().await;
    let (_dir, path) = file("");
    std::fs::remove_file(&path).unwrap();
    let clock = Clock::manual(NOW_MS);
    let client = Client::new(&with_secret_file(server.settings(), &path), clock.clone()).unwrap();

    let before = verdict(&client).await;
    let fault = client.login().borrow().fault.clone();
    std::fs::write(&path, SECRET).unwrap();
    clock.advance(Duration::from_secs(1));
    let after = verdict(&client).await;

    let reason =
        format!("no secret found in {}; put it there, readable by the daemon's user only", path.display());
    assert_eq!(before, refused(&reason));
    assert_eq!(fault, Some(reason));
    assert_eq!(after, taken());
    assert_eq!(server.logins(), 1);
}

#[tokio::test]
async fn an_empty_secret_file_is_told_with_its_path() {
    let server = Server::start().await;
    let (_dir, path) = file("\n");
    let client = client(&with_secret_file(server.settings(), &path));

    let found = verdict(&client).await;

    assert_eq!(found, refused(&format!("{} is empty; write the secret into it", path.display())));
    assert_eq!(server.logins(), 0);
}

#[tokio::test]
async fn a_token_is_renewed_before_it_runs_out_and_used_on_while_that_fails() {
    let clock = Clock::manual(NOW_MS);
    let server = Server::start().await;
    let client = Client::new(&server.settings(), clock.clone()).unwrap();
    assert_eq!(verdict(&client).await, taken());

    clock.advance(Duration::from_secs(899));
    assert_eq!(verdict(&client).await, taken());
    let young = server.logins();
    clock.advance(Duration::from_secs(1));
    let server = server.on_login([say(503, "")]);
    let mut told = client.login();
    assert_eq!(verdict(&client).await, taken());
    let login = told.wait_for(|login| login.fault.is_some()).await.unwrap().clone();
    clock.advance(Duration::from_secs(1));
    assert_eq!(verdict(&client).await, taken());
    told.wait_for(|login| login.fault.is_none()).await.unwrap();
    assert_eq!(verdict(&client).await, taken());

    assert_eq!(young, 1);
    assert_eq!(login.fault.as_deref(), Some("login host answers 503"));
    assert_eq!(login.expires_at_ms, Some(NOW_MS + 1_000_000));
    assert_eq!(server.logins(), 3);
    let bearers: Vec<_> = server.api_asked().iter().map(|asked| bearer(asked).to_owned()).collect();
    assert_eq!(
        bearers,
        ["Bearer token-1", "Bearer token-1", "Bearer token-1", "Bearer token-1", "Bearer token-2"]
    );
}

#[tokio::test]
async fn a_login_host_that_hangs_does_not_hold_up_what_a_good_token_can_send() {
    let clock = Clock::manual(NOW_MS);
    let server = Server::start().await;
    let client = Client::new(&server.settings(), clock.clone()).unwrap();
    assert_eq!(verdict(&client).await, taken());
    clock.advance(Duration::from_secs(900));
    let let_go = Arc::new(Notify::new());
    let server = server.on_login([Reply::Held(let_go.clone())]);

    let sent = [verdict(&client).await, verdict(&client).await, verdict(&client).await];
    let mut told = client.login();
    let meanwhile = told.borrow().fault.is_none();
    let_go.notify_one();
    let failed = told.wait_for(|login| login.fault.is_some()).await.unwrap().clone();

    assert_eq!(sent, [taken(), taken(), taken()]);
    assert!(meanwhile, "they waited for the login");
    assert_eq!(server.logins(), 2);
    assert_eq!(failed.expires_at_ms, Some(NOW_MS + 1_000_000));
}

#[tokio::test]
async fn the_login_shows_in_the_status() {
    let server = Server::start().await;
    let client = client(&server.settings());
    let login = client.login();
    let before = login.borrow().clone();

    let told = client.log_in().await;

    assert_eq!(before.expires_at_ms, None);
    assert_eq!(told.expires_at_ms, Some(NOW_MS + 1_000_000));
    assert_eq!(*login.borrow(), told);
    assert_eq!(client.host(), server.address.to_string());
}

#[tokio::test]
async fn the_login_hosts_rate_limit_is_waited_for() {
    let body = r#"{"error":"invalid_request","error_description":"rate limit exceeded"}"#;
    let server = Server::start().await.on_login([Reply::With(400, "retry-after", "7".into(), body.into())]);
    let clock = Clock::manual(NOW_MS);
    let client = Client::new(&server.settings(), clock.clone()).unwrap();

    let answer = client.send(request()).await;
    clock.advance(Duration::from_secs(7));
    let early = verdict(&client).await;
    clock.advance(Duration::from_secs(1));
    let late = verdict(&client).await;

    let limited = unavailable("login host's rate limit exceeded", false);
    assert_eq!(answer.retry_after, Some(Duration::from_secs(8)));
    assert_eq!((answer.verdict, early, late), (limited.clone(), limited, taken()));
}

#[tokio::test]
async fn an_access_token_file_is_read_again_after_a_401() {
    let server = Server::start().await.on_api([say(200, OK), unauthorized("bad.credentials")]);
    let (_dir, path) = file("old-token\n");
    let client = client(&with_token_file(server.settings(), &path));

    assert_eq!(verdict(&client).await, taken());
    std::fs::write(&path, "new-token\n").unwrap();
    let begun_before = verdict(&client).await;
    assert_eq!(verdict(&client).await, taken());

    // It may be another organisation's: what was begun for the one before is not sent with it.
    assert_eq!(begun_before, unavailable("the account was changed meanwhile", false));
    let bearers: Vec<_> = server.api_asked().iter().map(|asked| bearer(asked).to_owned()).collect();
    assert_eq!(bearers, ["Bearer old-token", "Bearer old-token", "Bearer new-token"]);
    assert_eq!(server.logins(), 0);
}

#[tokio::test]
async fn a_token_that_a_reload_found_in_the_file_sends_nothing_until_it_is_cleared() {
    let server = Server::start().await;
    let (_dir, path) = file("old-token");
    let settings = with_token_file(server.settings(), &path);
    let client = client(&settings);
    client.gate().guard(Standing::Pending);
    client.log_in().await;
    client.gate().decide(client.gate().account().epoch, Standing::Cleared);
    let before = verdict(&client).await;

    std::fs::write(&path, "new-token").unwrap();
    client.configure(Client::prepare(&settings).unwrap()).await;
    let is_cleared = client.gate().account().standing == Standing::Cleared;
    let sending = tokio::spawn({
        let client = client.clone();
        async move { verdict(&client).await }
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    let asked = server.api_asked().len();
    client.gate().decide(client.gate().account().epoch, Standing::Cleared);

    assert_eq!((before, sending.await.unwrap()), (taken(), taken()));
    assert_eq!((is_cleared, asked), (false, 1));
    assert_eq!(bearer(&server.api_asked()[1]), "Bearer new-token");
}

#[tokio::test]
async fn an_access_token_that_nobody_renewed_is_not_tried_twice() {
    let server = Server::start().await.on_api([unauthorized("bad.credentials")]);
    let (_dir, path) = file("old-token");
    let client = client(&with_token_file(server.settings(), &path));

    assert_eq!(verdict(&client).await, refused("bad.credentials"));

    assert_eq!(server.api_asked().len(), 1);
}

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
    let cases = [(&b""[..], "reset"), (partial, "200, its body broke off"), (head_only, "connection")];
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

    assert!(reason.starts_with("TLS: "), "{reason}");
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

#[tokio::test]
async fn neither_secret_nor_token_shows_anywhere() {
    let echo = |token: &str| {
        format!(
            r#"{{"message":"saw {token}","code":"{token}","details":["{token}"],"errors":[{{"eventId":"{token}","message":"{token}"}}]}}"#
        )
    };
    for status in [200, 400, 401, 403, 404, 409, 413, 503] {
        let replies = [1, 2].map(|n| {
            let header = format!("token-{n}");
            Reply::With(status, "inin-correlation-id", header.clone(), echo(&header))
        });
        let server = Server::start().await.on_api(replies);
        let client = client(&server.settings());

        let answer = client.send(request()).await;

        assert_eq!(answer.status, Some(status));
        for hidden in ["token-1", "token-2", SECRET] {
            assert_hides(&answer, hidden);
            assert_hides(&client, hidden);
            assert_hides(&*client.login().borrow(), hidden);
        }
    }
}

#[tokio::test]
async fn a_login_host_that_echoes_the_secret_is_not_quoted() {
    let body = format!(r#"{{"error":"{SECRET}","error_description":"{SECRET}"}}"#);
    for status in [200, 302, 400, 401, 403, 404, 429, 503] {
        let server = Server::start().await.on_login([say(status, &body)]);
        let client = client(&server.settings());

        let answer = client.send(request()).await;

        assert!(!matches!(answer.verdict, Verdict::Taken { .. }));
        assert_hides(&answer, SECRET);
        assert_hides(&*client.login().borrow(), SECRET);
    }
}

#[tokio::test]
async fn the_skew_of_our_clock_is_read_from_the_answers_date() {
    let date = "Tue, 24 Nov 2026 12:00:30 GMT";
    let server = Server::start().await.on_api([Reply::With(200, "date", date.into(), OK.into())]);
    let client = client(&server.settings());
    let before = client.clock_skew_seconds();

    client.send(request()).await;

    assert_eq!((before, client.clock_skew_seconds()), (None, Some(-30)));
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
