//! HTTP/1.1 connections with time limits for slow or idle peers.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;

use super::idle_timeout::{PeerLimits, Watch, Watched};

/// What hyper may hold of a head.
const HEAD_BYTES: usize = 64 * 1024;

/// How a connection is served.
#[derive(Clone, Copy, Debug)]
pub struct Http1 {
    /// For the peer.
    pub limits: PeerLimits,
    /// How long a request in hand may take after a stop.
    pub stop_limit: Duration,
}

impl Http1 {
    /// Serves until the peer goes, or keeps us waiting for too long, or `stop`. Says why if the end was ours.
    pub async fn serve<R: Future<Output = Response> + Send>(
        self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        watch: &Watch,
        stop: &CancellationToken,
        respond: impl Fn(Request) -> R,
    ) -> Option<&'static str> {
        let service = hyper::service::service_fn(|request: hyper::Request<Incoming>| {
            watch.request_came();
            let response = respond(request.map(Body::new));
            let watch = watch.clone();
            async move {
                let response = response.await;
                Ok::<_, Infallible>(response.map(|body| AnswerBody { body, watch }))
            }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(None)
            .max_buf_size(HEAD_BYTES)
            .serve_connection(TokioIo::new(Watched { stream, watch: watch.clone() }), service);
        tokio::pin!(connection);
        tokio::select! {
            // A peer that goes away in the middle is not our fault.
            _ = connection.as_mut() => return None,
            why = watch.ends(&self.limits) => return Some(why),
            () = stop.cancelled() => {}
        }
        connection.as_mut().graceful_shutdown();
        let _ = tokio::time::timeout(self.stop_limit, connection).await;
        None
    }
}

/// Tells the watch when the last of it was taken.
struct AnswerBody {
    body: Body,
    watch: Watch,
}

impl Drop for AnswerBody {
    fn drop(&mut self) {
        self.watch.answered();
    }
}

impl HttpBody for AnswerBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
