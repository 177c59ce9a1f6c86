//! Serves the admin socket and, if wanted, the read-only address. A connection that is slow holds up itself.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::context::AdminContext;
use super::overview::Overview;
use super::routes;
use crate::socket::{Peer, UnixSocket};

/// Connections at once; more wait to be accepted.
const CONNECTIONS_MAX: usize = 64;
/// A request's head must come within this; an idle connection ends with it.
const HEAD_WITHIN: Duration = Duration::from_secs(10);
/// How long an answer under way may take after a stop.
const STOP_LIMIT: Duration = Duration::from_secs(2);
/// Pause after a failed accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves the operator until `stop`.
pub async fn serve(socket: UnixSocket, context: AdminContext, stop: CancellationToken) {
    let accepting = Accepting::new(stop);
    while let Some(next) = accepting.next(socket.accept()).await {
        let Some((stream, place)) = next else { continue };
        let Ok(peer) = Peer::of(&stream) else { continue };
        accepting.serve(stream, routes::operator(&context, peer), place);
    }
    drop(socket);
    accepting.end().await;
}

/// Serves probes and scrapers until `stop`.
pub async fn serve_metrics(listener: TcpListener, overview: Arc<Overview>, stop: CancellationToken) {
    let accepting = Accepting::new(stop);
    while let Some(next) = accepting.next(listener.accept()).await {
        let Some(((stream, _), place)) = next else { continue };
        let _ = stream.set_nodelay(true);
        accepting.serve(stream, routes::public(overview.clone()), place);
    }
    drop(listener);
    accepting.end().await;
}

/// Connections of one listener.
struct Accepting {
    stop: CancellationToken,
    tasks: TaskTracker,
    places: Arc<Semaphore>,
}

impl Accepting {
    fn new(stop: CancellationToken) -> Self {
        Self { stop, tasks: TaskTracker::new(), places: Arc::new(Semaphore::new(CONNECTIONS_MAX)) }
    }

    /// The next connection with its place, or nothing after a fault; `None` after a stop.
    async fn next<T>(
        &self,
        accept: impl Future<Output = io::Result<T>>,
    ) -> Option<Option<(T, OwnedSemaphorePermit)>> {
        let place = self.stop.run_until_cancelled(self.places.clone().acquire_owned()).await?.ok()?;
        match self.stop.run_until_cancelled(accept).await? {
            Ok(stream) => Some(Some((stream, place))),
            Err(error) => {
                tracing::warn!(%error, "cannot accept an operator's connection");
                self.stop.run_until_cancelled(tokio::time::sleep(ACCEPT_PAUSE)).await?;
                Some(None)
            }
        }
    }

    fn serve(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        router: Router,
        place: OwnedSemaphorePermit,
    ) {
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_WITHIN)
                .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
            tokio::pin!(connection);
            tokio::select! {
                // Whoever goes away in the middle is no fault of ours.
                _ = connection.as_mut() => {}
                () = stop.cancelled() => {
                    connection.as_mut().graceful_shutdown();
                    let _ = tokio::time::timeout(STOP_LIMIT, connection).await;
                }
            }
            drop(place);
        });
    }

    async fn end(self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}
