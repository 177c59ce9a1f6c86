//! The paths: the lanes' of the Events API, and the login host's.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, post};

use crate::event::{Door, Lane, answer};
use crate::socket::Peer;

use super::super::{ConnectionSlot, DoorContext, Sink, Taken, take};
use super::auth::Authenticator;
use super::body;
use super::reply::{HttpRefusal, answer as reply};

/// Most bytes of a login's form.
const MAX_FORM: usize = 16 * 1024;

/// Longest name of a coding that an answer repeats. Known ones have 8.
const MAX_CODING: usize = 32;

/// What a connection's requests need.
#[derive(Debug)]
pub(super) struct HttpState<S> {
    pub(super) context: Arc<DoorContext<S>>,
    pub(super) auth: Arc<Authenticator>,
    pub(super) peer: Peer,
    pub(super) slot: Arc<ConnectionSlot>,
}

impl<S> Clone for HttpState<S> {
    fn clone(&self) -> Self {
        Self {
            context: self.context.clone(),
            auth: self.auth.clone(),
            peer: self.peer,
            slot: self.slot.clone(),
        }
    }
}

/// The routes for a connection.
pub(super) fn router<S: Sink>(state: HttpState<S>) -> Router {
    let mut router = Router::new();
    for lane in Lane::ALL {
        router = router.route(lane.path(), any(events::<S>));
    }
    router
        .route("/oauth/token", post(token::<S>).fallback(wrong_method::<S>))
        .fallback(not_found::<S>)
        .with_state(state)
}

impl<S: Sink> HttpState<S> {
    /// As the operator wants it now.
    fn auth(&self) -> &Authenticator {
        self.auth.configure(&self.context.settings().config.http);
        &self.auth
    }

    /// Counts and logs a refusal of a whole request.
    fn refuse(&self, refused: HttpRefusal) -> Response {
        self.context.refuse(Door::Http, self.peer, refused.reason());
        refused.into_response()
    }
}

async fn not_found<S: Sink>(State(state): State<HttpState<S>>) -> Response {
    state.refuse(HttpRefusal::NotFound)
}

async fn wrong_method<S: Sink>(State(state): State<HttpState<S>>) -> Response {
    state.refuse(HttpRefusal::MethodNotAllowed)
}

async fn token<S: Sink>(State(state): State<HttpState<S>>, headers: HeaderMap, body: Body) -> Response {
    if headers.contains_key(header::ORIGIN) {
        return state.refuse(HttpRefusal::Forbidden);
    }
    if let Err(refused) = check_encoding(&headers) {
        return state.refuse(refused);
    }
    let form = match body::read(body, MAX_FORM, &state.context.admission, &state.context.clock).await {
        Ok(form) => form,
        Err(refused) => return state.refuse(refused),
    };
    match state.auth().token(&headers, &form.bytes).await {
        Ok(response) => {
            state.slot.prove();
            response
        }
        Err(error) => {
            state.context.refuse(Door::Http, state.peer, error.code());
            error.response()
        }
    }
}

async fn events<S: Sink>(State(state): State<HttpState<S>>, request: Request) -> Response {
    let lane = Lane::from_path(request.uri().path()).expect("only lanes' paths are routed here");
    match take_events(&state, lane, request).await {
        Ok(response) => response,
        Err(NotTaken::Counted(refused)) => refused.into_response(),
        Err(NotTaken::Uncounted(refused)) => state.refuse(refused),
    }
}

/// Why nothing of a request was taken.
enum NotTaken {
    /// Counted event by event, where it was found.
    Counted(HttpRefusal),
    Uncounted(HttpRefusal),
}

impl From<HttpRefusal> for NotTaken {
    fn from(refused: HttpRefusal) -> Self {
        NotTaken::Uncounted(refused)
    }
}

async fn take_events<S: Sink>(
    state: &HttpState<S>,
    lane: Lane,
    request: Request,
) -> Result<Response, NotTaken> {
    let (parts, body) = request.into_parts();
    if parts.method != Method::POST {
        return Err(HttpRefusal::MethodNotAllowed.into());
    }
    if parts.headers.contains_key(header::ORIGIN) {
        return Err(HttpRefusal::Forbidden.into());
    }
    state.auth().check(&parts.headers).await?;
    state.slot.prove();
    if !is_json(&parts.headers) {
        return Err(HttpRefusal::NotJson.into());
    }
    check_encoding(&parts.headers)?;
    let context = &state.context;
    let max = context.settings().config.max_line;
    let whole = body::read(body, max, &context.admission, &context.clock).await?;
    let _pending = context.admission.pending(whole.bytes.len()).await;
    drop(whole.room);
    let Taken { mut intake, events } =
        take(&whole.bytes, context, Door::Http, state.peer).map_err(|error| {
            let said = error.error_body();
            NotTaken::Counted(match said.status {
                413 => HttpRefusal::TooLarge(said.message),
                _ => HttpRefusal::Bad(said.code, said.message),
            })
        })?;
    if let Some(other) = intake.lanes.iter().find(|found| **found != lane) {
        let message = format!("the body has events of {}; this path takes those of {lane}", other.path());
        return Err(HttpRefusal::Bad("bad.request", message).into());
    }
    let results = context.sink.submit(events).await;
    let accepted = intake.settle(results, context);
    if accepted == 0
        && let Some(refusal) = intake.refused.iter().find(|refusal| refusal.retryable)
    {
        return Err(NotTaken::Counted(HttpRefusal::Unavailable(refusal.message.clone())));
    }
    Ok(reply(StatusCode::OK, answer::http(&intake.refused)))
}

/// A compressed body is refused by its header: what its bytes are called otherwise leads nobody to the cause.
fn check_encoding(headers: &HeaderMap) -> Result<(), HttpRefusal> {
    let codings = headers.get_all(header::CONTENT_ENCODING).iter();
    let codings = codings.flat_map(|value| value.to_str().unwrap_or("that is no text").split(','));
    let found =
        codings.map(str::trim).find(|name| !name.is_empty() && !name.eq_ignore_ascii_case("identity"));
    match found {
        None => Ok(()),
        Some(name) => Err(HttpRefusal::Encoded(name.chars().take(MAX_CODING).collect())),
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let given = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let media_type = given.and_then(|given| given.split(';').next()).map(str::trim);
    media_type.is_some_and(|found| found.eq_ignore_ascii_case("application/json"))
}
