//! Accepts connections and serves them until a stop.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio_util::either::Either;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::config;
use crate::event::Door;
use crate::metrics::DoorLabel;
use crate::socket::{
    self, Accepted, BindError, Http1, Listener, Peer, PeerLimits, UnixSocket, Watch, accept_loop,
};

use super::super::{ConnectionSlot, Crowded, DoorContext, Sink};
use super::auth::Authenticator;
use super::reply::HttpRefusal;
use super::routes::{HttpState, router};

/// How long peers and requests may take. A body that has not come ten seconds after a stop was not answered for.
const HTTP1: Http1 = Http1 {
    limits: PeerLimits {
        head: Duration::from_secs(10),
        idle: Duration::from_secs(60),
        unread: Duration::from_secs(60),
    },
    stop_limit: Duration::from_secs(10),
    body_with_head: None,
};

/// Permission bits of a unix socket: those of the stream socket by default.
const MODE: u32 = 0o660;

/// A socket that listens for HTTP.
#[derive(Debug)]
pub enum HttpListener {
    /// On loopback.
    Tcp(TcpListener),
    /// By a file.
    Unix(UnixSocket),
}

type HttpStream = Either<TcpStream, UnixStream>;

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

    /// For who asks whether its file is there; `None` without a file of ours.
    pub fn file_state(&self) -> Option<socket::FileState> {
        match self {
            Self::Tcp(_) => None,
            Self::Unix(socket) => socket.file_state(),
        }
    }
}

impl Listener for HttpListener {
    type Stream = HttpStream;

    async fn accept(&mut self) -> std::io::Result<Accepted<HttpStream>> {
        Ok(match self {
            Self::Tcp(listener) => {
                let Accepted { stream, peer } = Listener::accept(listener).await?;
                Accepted { stream: Either::Left(stream), peer }
            }
            Self::Unix(socket) => {
                let Accepted { stream, peer } = socket.accept().await?;
                Accepted { stream: Either::Right(stream), peer }
            }
        })
    }
}

/// Accepts and serves until `stop`; returns when every request in hand is answered.
pub async fn serve_http<S: Sink>(
    listener: HttpListener,
    context: Arc<DoorContext<S>>,
    stop: CancellationToken,
) {
    let auth = Arc::new(Authenticator::new(&context.settings().config.http));
    // An operator hears of an empty file now, not when the first producer is refused.
    auth.look().await;
    accept_loop(listener, Door::Http.name(), &context.clock, &stop, |accepted| {
        let admitted = context.admission.connect(accepted.peer.known_uid());
        welcome(accepted, admitted, context.clone(), auth.clone(), stop.clone())
    })
    .await;
}

async fn welcome<S: Sink>(
    Accepted { stream, peer }: Accepted<HttpStream>,
    admitted: Result<ConnectionSlot, Crowded>,
    context: Arc<DoorContext<S>>,
    auth: Arc<Authenticator>,
    stop: CancellationToken,
) {
    let slot = match admitted {
        Ok(slot) => Arc::new(slot),
        Err(crowded) => return turn_away(stream, peer, &context, crowded.to_string()).await,
    };
    let mut leaving = Box::pin({
        let slot = slot.clone();
        async move { slot.must_leave().await }
    });
    if slot.is_hurried() && !speaks_in_time(&stream, leaving.as_mut()).await {
        drop((leaving, slot));
        let why = "closed to make room for others; it had sent nothing".to_owned();
        return turn_away(stream, peer, &context, why).await;
    }
    let open = context.metrics.connections.get_or_create_owned(&DoorLabel { door: Door::Http.name() });
    open.inc();
    let watch = Watch::new(&context.clock);
    let routes = router(HttpState { context: context.clone(), auth, peer, slot: slot.clone() });
    let respond = |request: Request| {
        let (routes, slot) = (routes.clone(), slot.clone());
        async move {
            let Ok(response) = routes.oneshot(request).await;
            close_unless_trusted(response, &slot)
        }
    };
    let ended = tokio::select! {
        ended = HTTP1.serve(stream, &watch, &stop, respond) => ended,
        () = leaving.as_mut() => {
            context.refuse(Door::Http, peer, "too_many_connections");
            Some("no_token")
        }
    };
    if let Some(why) = ended {
        tracing::debug!(door = Door::Http.name(), why, "a connection was closed");
    }
    open.dec();
}

async fn turn_away<S: Sink>(stream: HttpStream, peer: Peer, context: &DoorContext<S>, why: String) {
    context.refuse(Door::Http, peer, "too_many_connections");
    context.rejections.say(stream, HttpRefusal::Unavailable(why).to_raw()).await;
}

/// False if a peer has sent nothing when its place is needed.
async fn speaks_in_time(stream: &HttpStream, leaving: impl Future<Output = ()>) -> bool {
    let Either::Left(tcp) = stream else { return true };
    let mut first = [0];
    tokio::select! {
        biased;
        peeked = tcp.peek(&mut first) => peeked.is_ok(),
        () = leaving => false,
    }
}

/// Ends a connection whose place is short and that showed no good token, or whose token is good no more.
fn close_unless_trusted(mut response: Response, slot: &ConnectionSlot) -> Response {
    let is_token_gone = slot.is_proven() && response.status() == StatusCode::UNAUTHORIZED;
    if slot.is_hurried() || is_token_gone {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}
