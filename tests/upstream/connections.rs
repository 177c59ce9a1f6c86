//! Connections that lead nowhere: a tunnel or balancer that is dead behind goes on acknowledging.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::rustls::{ServerConfig, crypto};
use trunkline::config;
use trunkline::upstream::Verdict;

use crate::kit::{OK, Server, client, file, taken, verdict};

/// What the far side saw and does.
#[derive(Default)]
struct Seen {
    connections: AtomicUsize,
    pings: AtomicUsize,
    /// The one that answers; those before it take all and say nothing.
    answers_from: AtomicUsize,
    answers_pings: Mutex<bool>,
}

impl Seen {
    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

/// Types of HTTP/2 frames (RFC 9113, 6).
mod frame {
    pub(super) const DATA: u8 = 0;
    pub(super) const HEADERS: u8 = 1;
    pub(super) const SETTINGS: u8 = 4;
    pub(super) const PING: u8 = 6;
    pub(super) const ACK: u8 = 1;
    pub(super) const END_STREAM: u8 = 1;
    pub(super) const END_HEADERS: u8 = 4;
}

async fn write_frame(
    stream: &mut (impl AsyncWrite + Unpin),
    (kind, flags, id): (u8, u8, u32),
    payload: &[u8],
) -> std::io::Result<()> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(id.to_be_bytes());
    bytes.extend(payload);
    stream.write_all(&bytes).await?;
    stream.flush().await
}

/// One HTTP/2 connection, the `nth`.
async fn serve_h2(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    nth: usize,
    seen: &Seen,
) -> std::io::Result<()> {
    let mut preface = [0; 24];
    stream.read_exact(&mut preface).await?;
    write_frame(&mut stream, (frame::SETTINGS, 0, 0), &[]).await?;
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        stream.read_exact(&mut payload).await?;
        let (kind, flags) = (head[3], head[4]);
        let id = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        match kind {
            frame::SETTINGS if flags & frame::ACK == 0 => {
                write_frame(&mut stream, (frame::SETTINGS, frame::ACK, 0), &[]).await?;
            }
            frame::PING if flags & frame::ACK == 0 => {
                seen.pings.fetch_add(1, Ordering::SeqCst);
                if *seen.answers_pings.lock().unwrap() {
                    write_frame(&mut stream, (frame::PING, frame::ACK, 0), &payload).await?;
                }
            }
            frame::DATA
                if flags & frame::END_STREAM != 0 && nth >= seen.answers_from.load(Ordering::SeqCst) =>
            {
                // `:status 200` is the eighth of HPACK's static table (RFC 7541, A).
                write_frame(&mut stream, (frame::HEADERS, frame::END_HEADERS, id), &[0x88]).await?;
                write_frame(&mut stream, (frame::DATA, frame::END_STREAM, id), OK.as_bytes()).await?;
            }
            _ => {}
        }
    }
}

/// An API that speaks HTTP/2; its certificate.
async fn h2_api(seen: Arc<Seen>) -> (u16, String) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let mut tls = ServerConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    tls.alpn_protocols = vec![b"h2".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(tls));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, seen) = (acceptor.clone(), seen.clone());
            tokio::spawn(async move {
                let stream = acceptor.accept(stream).await?;
                let nth = seen.connections.fetch_add(1, Ordering::SeqCst);
                serve_h2(stream, nth, &seen).await
            });
        }
    });
    (port, made.cert.pem())
}

/// Settings for that API, with a login host that is well.
fn h2_settings(login: &Server, port: u16, ca: &std::path::Path) -> config::UpstreamConfig {
    let mut settings = login.settings();
    settings.endpoints.api_url = format!("https://localhost:{port}");
    settings.ca_file = Some(ca.to_owned());
    settings
}

#[tokio::test]
async fn after_a_request_that_timed_out_the_next_takes_another_http_2_connection() {
    let seen = Arc::new(Seen { answers_from: 1.into(), answers_pings: Mutex::new(true), ..Seen::default() });
    let (port, pem) = h2_api(seen.clone()).await;
    let (_dir, ca) = file(&pem);
    let login = Server::start().await;
    let mut settings = h2_settings(&login, port, &ca);
    settings.request_timeout = Duration::from_secs(2);
    let client = client(&settings);

    let first = verdict(&client).await;
    let second = verdict(&client).await;

    assert!(matches!(first, Verdict::Unavailable { maybe_taken: true, .. }), "{first:?}");
    assert_eq!(second, taken());
    assert_eq!(seen.connections(), 2);
}

#[tokio::test]
async fn an_http_2_connection_whose_pings_stay_unanswered_is_given_up_before_the_request_times_out() {
    let seen = Arc::new(Seen { answers_from: 1.into(), ..Seen::default() });
    let (port, pem) = h2_api(seen.clone()).await;
    let (_dir, ca) = file(&pem);
    let login = Server::start().await;
    let mut settings = h2_settings(&login, port, &ca);
    settings.request_timeout = Duration::from_secs(9);
    let client = client(&settings);

    let first = verdict(&client).await;
    let second = verdict(&client).await;

    let reason = "the connection is dead: no answer to HTTP/2 pings";
    assert_eq!(first, Verdict::Unavailable { reason: reason.to_owned(), maybe_taken: true });
    assert_eq!(second, taken());
    assert_eq!((seen.connections(), seen.pings.load(Ordering::SeqCst)), (2, 1));
}

/// An API that speaks HTTP/1.1. Its first two connections go dead after an answer each.
async fn http_1_api(seen: Arc<Seen>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let seen = seen.clone();
            let nth = seen.connections.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(async move {
                let (mut request, mut answered) = (Vec::new(), 0);
                while stream.read_buf(&mut request).await? > 0 {
                    let is_whole = request.ends_with(&crate::kit::request().body);
                    if !is_whole || (nth < 2 && answered > 0) {
                        continue;
                    }
                    request.clear();
                    if nth < 2 {
                        // Both are there before either answers: the second request opens its own.
                        while seen.connections() < 2 {
                            tokio::task::yield_now().await;
                        }
                    }
                    answered += 1;
                    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{OK}", OK.len());
                    stream.write_all(head.as_bytes()).await?;
                }
                std::io::Result::Ok(())
            });
        }
    });
    url
}

#[tokio::test]
async fn after_a_request_that_timed_out_no_other_connection_of_before_is_used() {
    let seen = Arc::new(Seen::default());
    let login = Server::start().await;
    let mut settings = login.settings();
    settings.endpoints.api_url = http_1_api(seen.clone()).await;
    settings.request_timeout = Duration::from_secs(2);
    let client = client(&settings);
    let both = tokio::join!(verdict(&client), verdict(&client));
    assert_eq!(both, (taken(), taken()));

    let lost = verdict(&client).await;
    let next = verdict(&client).await;

    assert_eq!(lost, Verdict::Unavailable { reason: "timed out after 2s".to_owned(), maybe_taken: true });
    assert_eq!(next, taken());
    assert_eq!(seen.connections(), 3);
}
