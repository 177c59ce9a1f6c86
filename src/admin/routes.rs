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

use super::change::{self, ChangeError, Desk, LaneChoice};
use super::context::{AdminContext, Phase, ReloadAnswer};
use super::filter::{Filter, LettersRequest};
use super::letters::{self, LettersSummary, Lines};
use super::{gauges, health, report_of, trace_of};
use crate::socket::Peer;

/// Longest request body: a filter with its fields.
const BODY_MAX: usize = 256 * 1024;
/// Lines of an answer that wait for a slow reader.
const LINES_WAITING: usize = 64;

/// What a connection's requests need.
#[derive(Clone, Debug)]
pub(super) struct Site {
    pub(super) house: Arc<AdminContext>,
    pub(super) desk: Arc<Desk>,
    /// `None` on TCP.
    pub(super) peer: Option<Peer>,
}

/// What a scraper or a probe may read.
pub(super) fn public(site: Site) -> Router {
    public_routes().fallback(not_found).method_not_allowed_fallback(wrong_method).with_state(site)
}

fn public_routes() -> Router<Site> {
    Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/healthz", get(healthz))
        .route("/metrics", get(metrics))
}

/// What an operator may.
pub(super) fn operator(site: Site) -> Router {
    public_routes()
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
        .fallback(not_found)
        .method_not_allowed_fallback(wrong_method)
        .layer(axum::extract::DefaultBodyLimit::max(BODY_MAX))
        .with_state(site)
}

#[derive(Serialize)]
struct Fault {
    message: String,
    status: u16,
}

fn fault(status: StatusCode, message: impl Into<String>) -> Response {
    (status, Json(Fault { message: message.into(), status: status.as_u16() })).into_response()
}

async fn not_found() -> Response {
    fault(StatusCode::NOT_FOUND, "no such path here; on TCP only /livez, /readyz, /healthz and /metrics are")
}

async fn wrong_method() -> Response {
    fault(StatusCode::METHOD_NOT_ALLOWED, "this path takes another method")
}

/// One line of text, for people who call it by hand.
fn verdict(reasons: &[String]) -> Response {
    match reasons {
        [] => (StatusCode::OK, "ok\n").into_response(),
        reasons => (StatusCode::SERVICE_UNAVAILABLE, format!("{}\n", reasons.join("\n"))).into_response(),
    }
}

async fn livez(State(site): State<Site>) -> Response {
    // A loop that has ended since we stop is not stuck.
    if *site.house.phase.borrow() == Phase::Stopping {
        return verdict(&[]);
    }
    let stalled = site.house.vitality.stalled(site.house.clock.mono());
    let words =
        stalled.into_iter().map(|(name, age)| format!("{name} has not moved for {} s", age.as_secs()));
    verdict(&words.collect::<Vec<_>>())
}

async fn readyz(State(site): State<Site>) -> Response {
    let vitals = report_of::vitals(&site.house).await;
    let phase = *site.house.phase.borrow();
    verdict(&health::not_ready(phase, &vitals).into_iter().collect::<Vec<_>>())
}

async fn healthz(State(site): State<Site>) -> Response {
    let vitals = report_of::vitals(&site.house).await;
    verdict(&report_of::gather(&site.house, &vitals, None).reasons)
}

async fn metrics(State(site): State<Site>, headers: HeaderMap) -> Response {
    gauges::refresh(&site.house);
    let accepts = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let (kind, text) = if accepts.contains("application/openmetrics-text") {
        ("application/openmetrics-text; version=1.0.0; charset=utf-8", site.house.metrics.render())
    } else {
        ("text/plain; version=0.0.4; charset=utf-8", site.house.metrics.render_classic())
    };
    ([(header::CONTENT_TYPE, kind)], text).into_response()
}

async fn status(State(site): State<Site>) -> Response {
    Json(report_of::report(&site.house).await).into_response()
}

#[derive(Deserialize)]
struct Wanted {
    id: String,
}

async fn trace(State(site): State<Site>, Query(Wanted { id }): Query<Wanted>) -> Response {
    match trace_of::trace(&site.house, &id).await {
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

impl Site {
    fn operator(&self) -> Peer {
        self.peer.unwrap_or(Peer { uid: u32::MAX, pid: None })
    }
}

async fn pause(State(site): State<Site>, Json(choice): Json<LaneChoice>) -> Response {
    changed(site.desk.pause(&site.house, &choice, true, site.operator()).await)
}

async fn resume(State(site): State<Site>, Json(choice): Json<LaneChoice>) -> Response {
    changed(site.desk.pause(&site.house, &choice, false, site.operator()).await)
}

async fn adopt(State(site): State<Site>) -> Response {
    changed(change::adopt(&site.house, site.operator()).await)
}

async fn reload(State(site): State<Site>) -> Response {
    let answer = change::reload(&site.house, format!("uid {}", site.operator().uid)).await;
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

async fn list(State(site): State<Site>, Json(wanted): Json<ListWanted>) -> Response {
    in_lines(move |lines| {
        let done = letters::list(&site.house.dead_letters, &wanted.filter, wanted.with_events, lines);
        if wanted.with_events {
            tell_access(&site, "shown to", &LettersSummary { done, ..LettersSummary::default() });
        }
    })
}

async fn export(State(site): State<Site>, Json(filter): Json<Filter>) -> Response {
    in_lines(move |lines| {
        let done = letters::export(&site.house.dead_letters, &filter, lines);
        tell_access(&site, "exported by", &LettersSummary { done, ..LettersSummary::default() });
    })
}

async fn replay(State(site): State<Site>, Json(request): Json<LettersRequest>) -> Response {
    in_lines(move |lines| {
        let summary = letters::replay(&site.house.dead_letters, &site.house.doors, &request, lines);
        if !request.dry_run {
            tell_access(&site, "replayed by", &summary);
        }
    })
}

async fn discard(State(site): State<Site>, Json(request): Json<LettersRequest>) -> Response {
    in_lines(move |lines| {
        let summary = letters::discard(&site.house.dead_letters, &request, lines);
        if !request.dry_run {
            tell_access(&site, "discarded by", &summary);
        }
    })
}

/// Who looked at calls, or changed what becomes of them.
fn tell_access(site: &Site, what: &str, summary: &LettersSummary) {
    let Peer { uid, pid } = site.operator();
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
