//! The client against a real HTTP server on loopback: paths, a failing renewal, an endless answer.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use trunkline::clock::Clock;
use trunkline::config;
use trunkline::event::Lane;
use trunkline::upstream::{Client, Outbound, Upstream, Verdict};

const GRANT: &str = r#"{"access_token":"token-1","expires_in":1000}"#;

/// API and login host: grants one token and refuses every other login, takes all events.
#[derive(Clone, Default)]
struct Server(Arc<Mutex<Vec<String>>>);

impl Server {
    async fn start(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(handle).with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        url
    }

    fn asked(&self, path: &str) -> usize {
        self.0.lock().unwrap().iter().filter(|asked| *asked == path).count()
    }
}

async fn handle(State(server): State<Server>, uri: Uri) -> (StatusCode, &'static str) {
    server.0.lock().unwrap().push(uri.path().to_owned());
    match (uri.path(), server.asked("/oauth/token")) {
        ("/oauth/token", 1) => (StatusCode::OK, GRANT),
        ("/oauth/token", _) => (StatusCode::SERVICE_UNAVAILABLE, ""),
        _ => (StatusCode::OK, r#"{"errors":[]}"#),
    }
}

fn client(api_url: &str, login_url: &str, clock: Clock) -> Client {
    let text = format!(
        "[upstream]\napi_url = \"{api_url}\"\nlogin_url = \"{login_url}\"\nclient_id = \"c\"\nclient_secret = \"s\"\n"
    );
    let config = config::from_toml_str(&text, Path::new("/conf"), std::iter::empty()).unwrap().config;
    Client::new(&config.upstream, clock).unwrap()
}

async fn verdict(client: &Client, lane: Lane) -> Verdict {
    client.send(Outbound { lane, body: Bytes::from_static(b"{}") }).await.verdict
}

fn taken() -> Verdict {
    Verdict::Taken { errors: Vec::new() }
}

#[tokio::test]
async fn each_lane_has_its_path() {
    let server = Server::default();
    let url = server.start().await;
    let client = client(&url, &url, Clock::manual(0));

    for lane in Lane::ALL {
        assert_eq!(verdict(&client, lane).await, taken());
    }

    let asked = server.0.lock().unwrap().clone();
    let paths = [
        "/oauth/token",
        "/api/v2/events/conversations",
        "/api/v2/events/users/presence",
        "/api/v2/events/users/routingstatus",
        "/api/v2/events/routing/customkpiattributions",
    ];
    assert_eq!(asked, paths);
}

#[tokio::test]
async fn a_good_token_is_used_on_through_the_pause_after_a_failed_renewal() {
    let server = Server::default();
    let url = server.start().await;
    let clock = Clock::manual(0);
    let client = client(&url, &url, clock.clone());
    let first = verdict(&client, Lane::Presence).await;
    clock.advance(Duration::from_secs(950));

    let renewing = verdict(&client, Lane::Presence).await;
    client.login().wait_for(|login| login.fault.is_some()).await.unwrap();
    let within_pause = verdict(&client, Lane::Presence).await;

    assert_eq!([first, renewing, within_pause], [taken(), taken(), taken()]);
    assert_eq!(server.asked("/oauth/token"), 2);
}

#[tokio::test]
async fn an_answer_without_end_is_cut_and_is_not_the_apis() {
    let login = Server::default().start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let api = format!("http://{}", listener.local_addr().unwrap());
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
    let client = client(&api, &login, Clock::manual(0));

    let found = verdict(&client, Lane::Presence).await;

    assert_eq!(found, Verdict::NotTheApi);
    let written = endless.await.unwrap();
    assert!(written < 64 * 1024 * 1024, "the client hung up after {written} bytes");
}
