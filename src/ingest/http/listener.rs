//! Accepts connections and serves them until a stop.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::Request;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::{Service, ServiceExt};

use crate::config;
use crate::event::Door;
use crate::metrics::DoorLabel;
use crate::socket::{self, BindError, Peer, UnixSocket};

use super::super::{DoorContext, Sink};
use super::login::Login;
use super::reply::Refused;
use super::routes::{Site, router};
use super::watched::{Watch, Watched};

/// Pause after a failed accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long a request in hand may take after a stop: above the 40 s that a body and its wait for room may take.
const STOP_LIMIT: Duration = Duration::from_secs(45);
/// Permission bits of a unix socket: those of the stream socket by default.
const MODE: u32 = 0o660;
/// What hyper may hold of a head.
const HEAD_BYTES: usize = 64 * 1024;

/// A socket that listens for HTTP.
#[derive(Debug)]
pub enum HttpListener {
    /// On loopback.
    Tcp(TcpListener),
    /// By a file.
    Unix(UnixSocket),
}

impl HttpListener {
    /// Binds `ingest.http.listen`; `None` if the door is off. Must be called within a runtime.
    ///
    /// # Errors
    /// If the address is in use or a socket file cannot be made.
    pub fn bind(config: &config::HttpConfig) -> Result<Option<Self>, BindError> {
        let Some(listen) = &config.listen else { return Ok(None) };
        Ok(Some(match listen.strip_prefix("unix:") {
            Some(path) => Self::Unix(UnixSocket::bind(Path::new(path), MODE, None)?),
            None => Self::Tcp(socket::bind_tcp(listen)?),
        }))
    }

    /// Address of a TCP socket.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(socket) => socket.local_addr().ok(),
            Self::Unix(_) => None,
        }
    }
}

/// Accepts and serves until `stop`; returns when every request in hand is answered.
pub async fn serve_http<S: Sink>(
    listener: HttpListener,
    context: Arc<DoorContext<S>>,
    stop: CancellationToken,
) {
    let login = Arc::new(Login::new(&context.settings().config.http, context.clock.clone()));
    let tasks = TaskTracker::new();
    loop {
        let (context, login, stopping) = (context.clone(), login.clone(), stop.clone());
        let accepted = match &listener {
            HttpListener::Tcp(socket) => match stop.run_until_cancelled(socket.accept()).await {
                None => break,
                Some(Ok((stream, _))) => {
                    // Answers are small and awaited: none may wait for company.
                    let _ = stream.set_nodelay(true);
                    tasks.spawn(welcome(stream, Peer::UNKNOWN, None, context, login, stopping));
                    Ok(())
                }
                Some(Err(error)) => Err(error),
            },
            HttpListener::Unix(socket) => match stop.run_until_cancelled(socket.accept()).await {
                None => break,
                Some(Ok(stream)) => {
                    if let Ok(peer) = Peer::of(&stream) {
                        tasks.spawn(welcome(stream, peer, Some(peer.uid), context, login, stopping));
                    }
                    Ok(())
                }
                Some(Err(error)) => Err(error),
            },
        };
        if let Err(error) = accepted {
            tracing::warn!(door = Door::Http.name(), %error, "cannot accept a connection");
            let _ = stop.run_until_cancelled(tokio::time::sleep(ACCEPT_PAUSE)).await;
        }
    }
    drop(listener);
    tasks.close();
    tasks.wait().await;
}

async fn welcome<S: Sink, T: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: T,
    peer: Peer,
    uid: Option<u32>,
    context: Arc<DoorContext<S>>,
    login: Arc<Login>,
    stop: CancellationToken,
) {
    let slot = context.admission.connect(uid);
    let crowded = slot.as_ref().err().map(|crowded| Refused::Unavailable(crowded.to_string()));
    if crowded.is_some() {
        context.notes.refused(Door::Http, peer, "too_many_connections");
    }
    let open = context.metrics.connections.get_or_create_owned(&DoorLabel { door: Door::Http.name() });
    open.inc();
    serve_one(stream, Site { context, login, peer }, crowded, stop).await;
    open.dec();
    drop(slot);
}

async fn serve_one<S: Sink, T: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: T,
    site: Site<S>,
    crowded: Option<Refused>,
    stop: CancellationToken,
) {
    let watch = Watch::new(site.context.clock.clone());
    let (watching, is_crowded) = (watch.clone(), crowded.is_some());
    let routes = router(site);
    let service = hyper::service::service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
        let (watch, crowded, mut routes) = (watching.clone(), crowded.clone(), routes.clone());
        watch.request_came();
        async move {
            let response = match crowded {
                Some(refused) => axum::response::IntoResponse::into_response(refused),
                None => {
                    let ready = ServiceExt::<Request>::ready(&mut routes).await?;
                    ready.call(request.map(axum::body::Body::new)).await?
                }
            };
            watch.answered();
            Ok::<_, std::convert::Infallible>(response)
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(None)
        .keep_alive(!is_crowded)
        .max_buf_size(HEAD_BYTES)
        .serve_connection(TokioIo::new(Watched { stream, watch: watch.clone() }), service);
    tokio::pin!(connection);
    tokio::select! {
        // A producer that goes away in the middle is no fault of ours.
        _ = connection.as_mut() => return,
        why = watch.ends() => {
            tracing::debug!(door = Door::Http.name(), why, "a connection was closed");
            return;
        }
        () = stop.cancelled() => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = tokio::time::timeout(STOP_LIMIT, connection).await;
}
