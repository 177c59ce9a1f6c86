//! Serves the admin socket and, if wanted, the read-only address. A connection that is slow holds up itself.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::connection_slots::ConnectionSlots;
use super::context::AdminContext;
use super::overview::Overview;
use super::routes;
use crate::clock::Clock;
use crate::socket::{Http1, PeerLimits, Rejections, UnixSocket, Watch, accept_loop};

/// How an operator is served. A long list may be paged through by hand, so reading it may take minutes.
const OPERATOR: Http1 = Http1 {
    limits: PeerLimits {
        head: Duration::from_secs(10),
        idle: Duration::from_secs(10),
        unread: Duration::from_secs(600),
    },
    stop_limit: Duration::from_secs(2),
    body_with_head: Some(routes::BODY_MAX),
};

/// How a probe or a scraper is served.
const PROBE: Http1 =
    Http1 { limits: PeerLimits { unread: Duration::from_secs(10), ..OPERATOR.limits }, ..OPERATOR };

/// Serves the operator until `stop`.
pub async fn serve(socket: UnixSocket, context: AdminContext, stop: CancellationToken) {
    let connections = Connections::new(OPERATOR, &context.overview.clock, &stop);
    accept_loop(socket, "admin", &connections.clock, &stop, |accepted| {
        connections.clone().serve(accepted.stream, routes::operator(&context, accepted.peer))
    })
    .await;
}

/// Serves probes and scrapers until `stop`.
pub async fn serve_metrics(listener: TcpListener, overview: Arc<Overview>, stop: CancellationToken) {
    let connections = Connections::new(PROBE, &overview.clock, &stop);
    accept_loop(listener, "metrics", &connections.clock, &stop, |accepted| {
        connections.clone().serve(accepted.stream, routes::public(overview.clone()))
    })
    .await;
}

/// What the connections of a listener share.
#[derive(Clone, Debug)]
struct Connections {
    http1: Http1,
    clock: Clock,
    stop: CancellationToken,
    slots: ConnectionSlots,
    rejections: Rejections,
}

impl Connections {
    fn new(http1: Http1, clock: &Clock, stop: &CancellationToken) -> Self {
        Self {
            http1,
            clock: clock.clone(),
            stop: stop.clone(),
            slots: ConnectionSlots::default(),
            rejections: Rejections::default(),
        }
    }

    async fn serve(self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, routes: Router) {
        let watch = Watch::new(&self.clock);
        let Some(slot) = self.slots.take(&watch) else {
            let words = "HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
            return self.rejections.say(stream, Bytes::from_static(words.as_bytes())).await;
        };
        let respond = |request: Request| {
            let routes = routes.clone();
            async move {
                let Ok(response) = routes.oneshot(request).await;
                response
            }
        };
        let serving = self.http1.serve(stream, &watch, &self.stop, respond);
        if let Some(Some(why)) = slot.must_leave.run_until_cancelled(serving).await {
            tracing::debug!(why, "an operator's connection was closed");
        }
    }
}
