//! The paths: what anybody may read, and what only the unix socket answers.

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use bytes::Bytes;
use http_body_util::StreamBody;
use hyper::body::Frame;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;

use super::change::{ChangeError, LaneChoice};
use super::context::AdminContext;
use super::filter::{Filter, LettersRequest};
use super::letters::{self, LettersSummary, Lines};
use super::overview::Overview;
use super::request::ReloadAnswer;
use super::state::Lifecycle;
use super::{gauges, health, report_of};
use crate::socket::Peer;

/// Longest request body: a filter with its fields.
pub(super) const BODY_MAX: usize = 256 * 1024;
/// Lines of an answer that wait for a slow reader.
const LINES_WAITING: usize = 64;

/// One operator's connection.
#[derive(Clone, Debug)]
struct Operator {
    context: AdminContext,
    peer: Peer,
}

/// What a scraper or a probe may read.
pub(super) fn public(overview: Arc<Overview>) -> Router {
    health_routes(overview).fallback(not_found).method_not_allowed_fallback(wrong_method)
}

fn health_routes(overview: Arc<Overview>) -> Router {
    Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/healthz", get(healthz))
        .route("/metrics", get(metrics))
        .with_state(overview)
}

/// What an operator may.
pub(super) fn operator(context: &AdminContext, peer: Peer) -> Router {
    Router::new()
        .route("/status", get(status))
        .route("/trace", get(trace))
        .route("/pause", post(pause))
        .route("/resume", post(resume))
        .route("/adopt", post(adopt))
        .route("/reload", post(reload))
        .route("/dead-letters/list", post(list))
        .route("/dead-letters/export", post(export))
        .route("/dead-letters/replay", post(replay))
        .route("/dead-letters/discard", post(discard))
        .with_state(Operator { context: context.clone(), peer })
        .merge(health_routes(context.overview.clone()))
        .fallback(not_found)
        .method_not_allowed_fallback(wrong_method)
}

#[derive(Serialize)]
struct AdminErrorBody {
    message: String,
    status: u16,
}

fn fault(status: StatusCode, message: impl Into<String>) -> Response {
    (status, Json(AdminErrorBody { message: message.into(), status: status.as_u16() })).into_response()
}

async fn not_found() -> Response {
    fault(StatusCode::NOT_FOUND, "no such path; TCP serves only /livez, /readyz, /healthz and /metrics")
}

async fn wrong_method() -> Response {
    fault(StatusCode::METHOD_NOT_ALLOWED, "method not allowed for this path")
}

/// One line of text, for people who call it by hand.
fn verdict(reasons: &[String]) -> Response {
    match reasons {
        [] => (StatusCode::OK, "ok\n").into_response(),
        reasons => (StatusCode::SERVICE_UNAVAILABLE, format!("{}\n", reasons.join("\n"))).into_response(),
    }
}

async fn livez(State(overview): State<Arc<Overview>>) -> Response {
    // A loop that has ended since we stop is not stuck.
    if overview.lifecycle() == Lifecycle::Stopping {
        return verdict(&[]);
    }
    let stalled = overview.heartbeat.stalled();
    let words = stalled
        .into_iter()
        .map(|stalled| format!("{} has not moved for {} s", stalled.name, stalled.silent_for.as_secs()));
    verdict(&words.collect::<Vec<_>>())
}

async fn readyz(State(overview): State<Arc<Overview>>) -> Response {
    let queue = overview.heartbeat.ask_queue().await;
    let not_ready = health::not_ready(overview.lifecycle(), &queue, overview.door_fault());
    verdict(&not_ready.into_iter().collect::<Vec<_>>())
}

async fn healthz(State(overview): State<Arc<Overview>>) -> Response {
    let queue = overview.heartbeat.ask_queue().await;
    verdict(&report_of::gather(&overview, &queue, None).reasons)
}

async fn metrics(State(overview): State<Arc<Overview>>, headers: HeaderMap) -> Response {
    gauges::refresh(&overview);
    let accepts = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let (kind, text) = if accepts.contains("application/openmetrics-text") {
        ("application/openmetrics-text; version=1.0.0; charset=utf-8", overview.metrics.render())
    } else {
        ("text/plain; version=0.0.4; charset=utf-8", overview.metrics.render_classic())
    };
    ([(header::CONTENT_TYPE, kind)], text).into_response()
}

async fn status(State(at): State<Operator>) -> Response {
    Json(report_of::report(&at.context.overview).await).into_response()
}

#[derive(Deserialize)]
struct Wanted {
    id: String,
}

async fn trace(State(at): State<Operator>, Query(Wanted { id }): Query<Wanted>) -> Response {
    match at.context.tracer.trace(&id).await {
        Ok(trace) => Json(trace).into_response(),
        Err(error) => fault(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}

fn changed<T: Serialize>(result: Result<T, ChangeError>) -> Response {
    match result {
        Ok(answer) => Json(answer).into_response(),
        Err(error @ ChangeError::NoLane(_)) => fault(StatusCode::BAD_REQUEST, error.to_string()),
        Err(error @ ChangeError::Stopping) => fault(StatusCode::SERVICE_UNAVAILABLE, error.to_string()),
        Err(error) => fault(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}

async fn pause(State(at): State<Operator>, Json(choice): Json<LaneChoice>) -> Response {
    changed(at.context.controls.pause(&choice, true, at.peer).await)
}

async fn resume(State(at): State<Operator>, Json(choice): Json<LaneChoice>) -> Response {
    changed(at.context.controls.pause(&choice, false, at.peer).await)
}

async fn adopt(State(at): State<Operator>) -> Response {
    changed(at.context.controls.adopt(at.peer).await)
}

async fn reload(State(at): State<Operator>) -> Response {
    let answer = at.context.controls.reload(format!("uid {}", at.peer.uid)).await;
    match answer {
        Ok(answer @ ReloadAnswer::Refused { .. }) => {
            (StatusCode::UNPROCESSABLE_ENTITY, Json(answer)).into_response()
        }
        other => changed(other),
    }
}

#[derive(Deserialize)]
struct ListWanted {
    #[serde(flatten)]
    filter: Filter,
    #[serde(default)]
    with_events: bool,
}

async fn list(State(at): State<Operator>, Json(wanted): Json<ListWanted>) -> Response {
    in_lines(move |lines| {
        let done = letters::list(&at.context.letters.dead_letters, &wanted.filter, wanted.with_events, lines);
        if wanted.with_events {
            tell_access(at.peer, "shown to", &LettersSummary { done, ..LettersSummary::default() });
        }
    })
}

async fn export(State(at): State<Operator>, Json(filter): Json<Filter>) -> Response {
    in_lines(move |lines| {
        let done = letters::export(&at.context.letters.dead_letters, &filter, lines);
        tell_access(at.peer, "exported by", &LettersSummary { done, ..LettersSummary::default() });
    })
}

async fn replay(State(at): State<Operator>, Json(request): Json<LettersRequest>) -> Response {
    in_lines(move |lines| {
        let summary =
            letters::replay(&at.context.letters.dead_letters, &at.context.letters.doors, &request, lines);
        if !request.dry_run {
            tell_access(at.peer, "replayed by", &summary);
        }
    })
}

async fn discard(State(at): State<Operator>, Json(request): Json<LettersRequest>) -> Response {
    in_lines(move |lines| {
        let summary = letters::discard(&at.context.letters.dead_letters, &request, lines);
        if !request.dry_run {
            tell_access(at.peer, "discarded by", &summary);
        }
    })
}

/// Who looked at calls, or changed what becomes of them.
fn tell_access(peer: Peer, what: &str, summary: &LettersSummary) {
    let Peer { uid, pid } = peer;
    let (done, refused, stopped) = (summary.done, summary.refused, summary.stopped.as_deref());
    tracing::info!(uid, pid, done, refused, stopped, "dead letters {what} an operator");
}

/// An answer that is written while `work` runs on a blocking thread; it ends when who asked is gone.
fn in_lines(work: impl FnOnce(&Lines) + Send + 'static) -> Response {
    let (lines, written) = mpsc::channel::<Bytes>(LINES_WAITING);
    tokio::task::spawn_blocking(move || work(&lines));
    let frames = ReceiverStream::new(written).map(|line| Ok::<_, Infallible>(Frame::data(line)));
    let body = Body::new(StreamBody::new(frames));
    ([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response()
}
