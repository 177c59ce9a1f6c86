//! HTTP/1.1 connections with time limits for slow or idle peers.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;

use super::idle_timeout::{PeerLimits, Watch, Watched};

/// What hyper may hold of a head.
const HEAD_BYTES: usize = 64 * 1024;

/// For a peer once we stop: what it has not begun or finished by then is not waited for.
const AT_STOP: PeerLimits =
    PeerLimits { head: Duration::from_secs(1), idle: Duration::from_secs(1), unread: Duration::from_secs(3) };

/// How a connection is served.
#[derive(Clone, Copy, Debug)]
pub struct Http1 {
    /// For the peer.
    pub limits: PeerLimits,
    /// How long a request in hand may take after a stop.
    pub stop_limit: Duration,
    /// Largest body of requests whose body counts to their head: it is read before the request is answered, and
    /// within the same limit. `None`: whoever answers reads it, with limits of its own.
    pub body_with_head: Option<usize>,
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
            let watch = watch.clone();
            let respond = &respond;
            async move {
                let request = match self.body_with_head {
                    Some(max) => match with_body(request, max).await {
                        Ok(request) => request,
                        Err(refusal) => {
                            watch.request_came();
                            return Ok::<_, Infallible>(refusal.map(|body| AnswerBody { body, watch }));
                        }
                    },
                    None => request.map(Body::new),
                };
                watch.request_came();
                let response = respond(request).await;
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
        tokio::select! {
            _ = tokio::time::timeout(self.stop_limit, connection) => {}
            _ = watch.ends(&AT_STOP) => {}
        }
        None
    }
}

/// The request with its whole body, or what it is answered without.
async fn with_body(request: hyper::Request<Incoming>, max: usize) -> Result<Request, Response> {
    let (parts, body) = request.into_parts();
    let too_large =
        || (StatusCode::PAYLOAD_TOO_LARGE, format!("the body is over {max} bytes\n")).into_response();
    if body.size_hint().lower() > max as u64 {
        return Err(too_large());
    }
    match Limited::new(body, max).collect().await {
        Ok(body) => Ok(Request::from_parts(parts, Body::from(body.to_bytes()))),
        Err(error) if error.is::<LengthLimitError>() => Err(too_large()),
        Err(_) => Err((StatusCode::BAD_REQUEST, "the body is cut short\n").into_response()),
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

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio::time::Instant;

    use super::*;
    use crate::clock::Clock;

    const HTTP1: Http1 = Http1 {
        limits: PeerLimits {
            head: Duration::from_secs(10),
            idle: Duration::from_secs(60),
            unread: Duration::from_secs(60),
        },
        stop_limit: Duration::from_secs(10),
        body_with_head: Some(100),
    };

    /// How long a connection goes on after a stop if `sent` came before it, in seconds.
    async fn stops_after(sent: &str) -> u64 {
        let (mut peer, ours) = tokio::io::duplex(1024);
        peer.write_all(sent.as_bytes()).await.unwrap();
        let (watch, stop) = (Watch::new(&Clock::tokio(0)), CancellationToken::new());
        let respond = |_| async { Response::default() };
        let serving = HTTP1.serve(ours, &watch, &stop, respond);
        let stopping = async {
            tokio::time::sleep(Duration::from_millis(500)).await;
            stop.cancel();
            Instant::now()
        };
        let (_, stopped) = tokio::join!(serving, stopping);
        stopped.elapsed().as_secs()
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_waits_for_no_request_that_has_not_come() {
        let part_of_a_body = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\n{";
        for sent in ["", "P", "\r\n", "POST / HTTP/1.1\r\nHost: x\r\n", part_of_a_body] {
            let seconds = stops_after(sent).await;

            assert!(seconds <= 1, "{sent:?}: {seconds}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_counts_to_its_head_has_its_limits() {
        for (length, body, expected) in
            [(5, "12345", Some("200 OK")), (200, "1", Some("413 Payload Too Large")), (5, "1", None)]
        {
            let (mut peer, ours) = tokio::io::duplex(1024);
            let request = format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n{body}");
            peer.write_all(request.as_bytes()).await.unwrap();
            let (watch, stop) = (Watch::new(&Clock::tokio(0)), CancellationToken::new());
            let respond = |request: Request| async move {
                let body = request.into_body().collect().await.unwrap().to_bytes();
                assert_eq!(body, "12345");
                Response::default()
            };

            HTTP1.serve(ours, &watch, &stop, respond).await;

            let mut answer = String::new();
            tokio::io::AsyncReadExt::read_to_string(&mut peer, &mut answer).await.unwrap();
            assert!(expected.is_none_or(|status| answer.contains(status)), "{answer}");
        }
    }
}
