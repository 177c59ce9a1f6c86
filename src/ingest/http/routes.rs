//! The paths: four of the Events API, and the login host's.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, post};

use crate::event::{Door, Lane, answer};
use crate::socket::Peer;

use super::super::{DoorContext, Sink, take};
use super::body;
use super::login::Login;
use super::reply::{Refused, answer as reply};

/// Most bytes of a login's form.
const MAX_FORM: usize = 16 * 1024;

/// What a connection's requests need.
#[derive(Debug)]
pub(super) struct Site<S> {
    pub(super) context: Arc<DoorContext<S>>,
    pub(super) login: Arc<Login>,
    pub(super) peer: Peer,
}

impl<S> Clone for Site<S> {
    fn clone(&self) -> Self {
        Self { context: self.context.clone(), login: self.login.clone(), peer: self.peer }
    }
}

/// The routes for a connection.
pub(super) fn router<S: Sink>(site: Site<S>) -> Router {
    let mut router = Router::new();
    for lane in Lane::ALL {
        router = router.route(lane.path(), any(events::<S>));
    }
    router
        .route("/oauth/token", post(token::<S>).fallback(wrong_method::<S>))
        .fallback(not_found::<S>)
        .with_state(site)
}

impl<S: Sink> Site<S> {
    /// As the operator wants it now.
    fn login(&self) -> &Login {
        self.login.configure(&self.context.settings().config.http);
        &self.login
    }

    /// Counts and logs a refusal of a whole request.
    fn refuse(&self, refused: Refused) -> Response {
        self.context.refuse(Door::Http, self.peer, refused.reason());
        refused.into_response()
    }
}

async fn not_found<S: Sink>(State(site): State<Site<S>>) -> Response {
    site.refuse(Refused::NotFound)
}

async fn wrong_method<S: Sink>(State(site): State<Site<S>>) -> Response {
    site.refuse(Refused::MethodNotAllowed)
}

async fn token<S: Sink>(State(site): State<Site<S>>, headers: HeaderMap, body: Body) -> Response {
    if headers.contains_key(header::ORIGIN) {
        return site.refuse(Refused::Forbidden);
    }
    match body::read(body, MAX_FORM, &site.context.admission, &site.context.clock).await {
        Ok(form) => site.login().token(&headers, &form.bytes),
        Err(refused) => site.refuse(refused),
    }
}

async fn events<S: Sink>(State(site): State<Site<S>>, request: Request) -> Response {
    let lane = Lane::from_path(request.uri().path()).expect("only lanes' paths are routed here");
    match take_events(&site, lane, request).await {
        Ok(response) => response,
        // What `take` refuses is counted there.
        Err((refused, true)) => refused.into_response(),
        Err((refused, false)) => site.refuse(refused),
    }
}

async fn take_events<S: Sink>(
    site: &Site<S>,
    lane: Lane,
    request: Request,
) -> Result<Response, (Refused, bool)> {
    let (parts, body) = request.into_parts();
    let uncounted = |refused| (refused, false);
    if parts.method != Method::POST {
        return Err(uncounted(Refused::MethodNotAllowed));
    }
    if parts.headers.contains_key(header::ORIGIN) {
        return Err(uncounted(Refused::Forbidden));
    }
    site.login().check(&parts.headers).map_err(uncounted)?;
    if !is_json(&parts.headers) {
        return Err(uncounted(Refused::NotJson));
    }
    let context = &site.context;
    let max = context.settings().config.max_line;
    let whole = body::read(body, max, &context.admission, &context.clock).await.map_err(uncounted)?;
    let _pending = context.admission.pending(whole.bytes.len()).await;
    drop(whole.room);
    let (mut taken, events) = take(&whole.bytes, context, Door::Http, site.peer).map_err(|error| {
        let said = error.error_body();
        match said.status {
            413 => (Refused::TooLarge(said.message), true),
            _ => (Refused::Bad(said.code, said.message), true),
        }
    })?;
    if let Some(other) = taken.lanes.iter().find(|found| **found != lane) {
        let message = format!("the body has events of {}; this path takes those of {lane}", other.path());
        return Err(uncounted(Refused::Bad("bad.request", message)));
    }
    let results = context.sink.submit(events).await;
    let accepted = taken.settle(results, context);
    if accepted == 0
        && let Some(refusal) = taken.refused.iter().find(|refusal| refusal.retryable)
    {
        return Err((Refused::Unavailable(refusal.message.clone()), true));
    }
    Ok(reply(StatusCode::OK, answer::http(&taken.refused)))
}

fn is_json(headers: &HeaderMap) -> bool {
    let given = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let media_type = given.and_then(|given| given.split(';').next()).map(str::trim);
    media_type.is_some_and(|found| found.eq_ignore_ascii_case("application/json"))
}
