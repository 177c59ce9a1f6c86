//! The routes.

use std::collections::{HashSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use http_body_util::BodyExt;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use parking_lot::{Mutex, MutexGuard};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::clock::{Clock, Mono};
use crate::event::Lane;
use crate::socket::{Accepted, accept_loop};

use super::faults::{Dice, Faults, FaultsPatch, RequestFate};
use super::judge::{check, take, text};
use super::oauth::IssuedTokens;
use super::options::{Options, SandboxError};
use super::record::{RequestRecord, Seen, Stats};
use super::reply::{cut, error_body, failure, refusal};
use super::state::{MINUTE, SandboxState};
use super::validate::{self, Rejection};

type HttpConnection = hyper::server::conn::http1::Connection<TokioIo<TcpStream>, TowerToHyperService<Router>>;

/// How long an answer may take after a stop.
const STOP_LIMIT: Duration = Duration::from_secs(2);
/// What is read of a body before it is refused.
const READ_LIMIT: usize = 8 * 1024 * 1024;

/// A look into a running sandbox. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Handle {
    state: Arc<Mutex<SandboxState>>,
    clock: Clock,
    token_life: Duration,
}

impl Handle {
    fn lock(&self) -> MutexGuard<'_, SandboxState> {
        self.state.lock()
    }

    /// A request of any kind came: counts it, and what `count` says.
    fn came(&self, count: impl FnOnce(&mut Stats)) {
        let now = self.clock.mono();
        let mut state = self.lock();
        state.record.came(now);
        count(&mut state.record.stats);
    }

    /// Counts so far.
    pub fn stats(&self) -> Stats {
        self.lock().record.stats.clone()
    }

    /// Replaces the faults.
    pub fn set_faults(&self, faults: Faults) {
        self.lock().faults = faults;
    }
}

/// A bound sandbox.
#[derive(Debug)]
pub struct Sandbox {
    listener: TcpListener,
    addr: SocketAddr,
    handle: Handle,
}

impl Sandbox {
    /// Binds; serves nothing yet.
    ///
    /// # Errors
    /// If the address cannot be had.
    pub async fn bind(options: Options) -> Result<Self, SandboxError> {
        let bind = |source| SandboxError::Bind { addr: options.listen, source };
        let listener = TcpListener::bind(options.listen).await.map_err(bind)?;
        let addr = listener.local_addr().map_err(bind)?;
        let state = SandboxState {
            faults: options.faults,
            dice: Dice::new(options.seed),
            tokens: IssuedTokens::default(),
            record: RequestRecord::default(),
            window: VecDeque::new(),
            requests_per_minute: options.requests_per_minute,
            requests: 0,
        };
        let handle = Handle {
            state: Arc::new(Mutex::new(state)),
            clock: Clock::system(),
            token_life: options.token_life,
        };
        Ok(Self { listener, addr, handle })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// For looking in and for faults.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Serves until `stop`; every connection's task has ended when it returns.
    pub async fn serve(self, stop: CancellationToken) {
        let clock = self.handle.clock.clone();
        let router = router(self.handle);
        let welcome = |accepted: Accepted<TcpStream>| {
            let (stream, service) = (TokioIo::new(accepted.stream), TowerToHyperService::new(router.clone()));
            let connection = hyper::server::conn::http1::Builder::new().serve_connection(stream, service);
            finish(connection, stop.clone())
        };
        accept_loop(self.listener, "sandbox", &clock, &stop, welcome).await;
    }
}

/// Serves one connection; at `stop` the answer under way still leaves.
async fn finish(connection: HttpConnection, stop: CancellationToken) {
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        _ = connection.as_mut() => return,
        () = stop.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    // An error here is a client that went away or a fault that was asked for.
    let _ = tokio::time::timeout(STOP_LIMIT, connection).await;
}

fn router(handle: Handle) -> Router {
    let mut router = Router::new();
    for lane in Lane::ALL {
        let take = move |state: State<Handle>, request: Request| events(lane, state, request);
        router = router.route(lane.path(), post(take));
    }
    router
        .route("/oauth/token", post(login))
        .route("/api/v2/tokens/me", get(me))
        .route("/sandbox/stats", get(async |State(handle): State<Handle>| axum::Json(handle.stats())))
        .route("/sandbox/events", get(async |State(handle): State<Handle>| handle.lock().record.ndjson()))
        .route("/sandbox/rejected", get(async |State(handle): State<Handle>| handle.lock().record.rejected()))
        .route(
            "/sandbox/faults",
            put(change_faults)
                .get(async |State(handle): State<Handle>| axum::Json(handle.lock().faults.clone())),
        )
        .fallback(async || error_body(404, "not.found", "no such path"))
        .method_not_allowed_fallback(async || error_body(405, "method.not.allowed", "no such method here"))
        .layer(DefaultBodyLimit::max(READ_LIMIT))
        .layer(axum::middleware::map_response_with_state(handle.clone(), date))
        .with_state(handle)
}

/// Gives answers another date, if that is asked for.
async fn date(State(handle): State<Handle>, mut response: Response) -> Response {
    let offset = handle.lock().faults.date_offset_seconds;
    let now_s = handle.clock.unix_ms() / 1000 + offset;
    if offset != 0
        && let Ok(seconds) = u64::try_from(now_s)
        && let Ok(date) =
            httpdate::fmt_http_date(std::time::UNIX_EPOCH + Duration::from_secs(seconds)).parse()
    {
        response.headers_mut().insert(header::DATE, date);
    }
    response
}

async fn change_faults(State(handle): State<Handle>, body: Bytes) -> Response {
    let Ok(Value::Object(mut patch)) = serde_json::from_slice(&body) else {
        return error_body(400, "bad.request", "the body is not a JSON object");
    };
    let rate = patch.remove("requests_per_minute").and_then(|rate| rate.as_u64());
    let mut state = handle.lock();
    match state.faults.patched(FaultsPatch(patch)) {
        Ok(faults) => {
            state.faults = faults;
            if let Some(rate) = rate.and_then(|rate| u32::try_from(rate).ok()) {
                state.requests_per_minute = rate;
            }
            axum::Json(state.faults.clone()).into_response()
        }
        Err(error) => error_body(400, "bad.request", &error.to_string()),
    }
}

async fn login(State(handle): State<Handle>, headers: HeaderMap, body: Bytes) -> Response {
    handle.came(|stats| stats.logins += 1);
    if handle.lock().faults.refuse_login {
        let answer = json!({"error": "invalid_client", "description": "client not found or secret wrong"});
        return (StatusCode::BAD_REQUEST, axum::Json(answer)).into_response();
    }
    let basic = text(&headers, &header::AUTHORIZATION)
        .is_some_and(|value| value.starts_with("Basic ") && value.len() > 6);
    if !basic || !body.windows(18).any(|part| part == b"client_credentials") {
        let answer = json!({"error": "invalid_client", "description": "client credentials are missing"});
        return (StatusCode::BAD_REQUEST, axum::Json(answer)).into_response();
    }
    let mut state = handle.lock();
    let SandboxState { tokens, dice, .. } = &mut *state;
    let token = tokens.issue(dice, &handle.clock, handle.token_life);
    axum::Json(
        json!({"access_token": token, "token_type": "bearer", "expires_in": handle.token_life.as_secs()}),
    )
    .into_response()
}

async fn me(State(handle): State<Handle>, headers: HeaderMap) -> Response {
    handle.came(|_| ());
    let authorization = text(&headers, &header::AUTHORIZATION).unwrap_or_default();
    if !handle.lock().tokens.accepts(authorization, &handle.clock) {
        return error_body(401, "bad.credentials", "invalid token");
    }
    let id = handle.lock().faults.organisation.clone().unwrap_or_else(|| Uuid::nil().to_string());
    let organisation = json!({"id": id, "name": "sandbox"});
    axum::Json(json!({"organization": organisation})).into_response()
}

async fn events(lane: Lane, State(handle): State<Handle>, request: Request) -> Response {
    handle.came(|_| ());
    let (head, body) = request.into_parts();
    let limited = http_body_util::Limited::new(body, READ_LIMIT);
    let body = match limited.collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => {
            return error_body(413, "request.entity.too.large", "the body is far too large");
        }
        Err(_) => return cut(),
    };
    let (wait, fate, verdict, under_way) = {
        let mut state = handle.lock();
        let SandboxState { dice, faults, .. } = &mut *state;
        let fate = dice.request(faults);
        let outline = validate::outline(&body);
        state.record.begin(lane, &outline, body.len());
        state.requests += 1;
        let under_way = UnderWay { handle: handle.clone(), lane, keys: outline.keys, status: None };
        let verdict = check(&mut state, &handle.clock, lane, &head.headers, &body);
        (state.faults.wait(), fate, verdict, under_way)
    };
    tokio::time::sleep(wait).await;
    under_way.answer(fate, verdict)
}

/// A request between its beginning and its end, which comes even if the client goes away.
struct UnderWay {
    handle: Handle,
    lane: Lane,
    keys: HashSet<String>,
    status: Option<u16>,
}

impl UnderWay {
    fn answer(mut self, fate: RequestFate, verdict: Result<Vec<Seen>, Rejection>) -> Response {
        let handle = self.handle.clone();
        let mut state = handle.lock();
        let page = "<html>Welcome to the proxy</html>";
        let (status, mut response) = match (fate, verdict) {
            (RequestFate::Reset, _) => (None, cut()),
            (RequestFate::Status(status), _) => (Some(status), failure(status, &state.faults)),
            (RequestFate::Html, _) => {
                (Some(200), ([(header::CONTENT_TYPE, "text/html")], page).into_response())
            }
            (_, Err(refused)) => (Some(refused.status), refusal(&refused)),
            (fate, Ok(seen)) => {
                let errors = take(&mut state, self.lane, &seen);
                let taken = axum::Json(json!({"errors": errors})).into_response();
                if fate == RequestFate::LostAnswer { (None, cut()) } else { (Some(200), taken) }
            }
        };
        self.status = status;
        if fate != RequestFate::Html {
            add_headers(&mut response, &state, handle.clock.mono());
        }
        response
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.handle.lock().record.end(self.lane, &self.keys, self.status);
    }
}

fn add_headers(response: &mut Response, state: &SandboxState, now: Mono) {
    let reset = state.window.front().map_or(60, |start| MINUTE.saturating_sub(now.since(*start)).as_secs());
    let headers = response.headers_mut();
    let mut put = |name: &'static str, value: String| {
        if let Ok(value) = value.parse() {
            headers.insert(HeaderName::from_static(name), value);
        }
    };
    put("inin-correlation-id", Uuid::new_v4().to_string());
    put("inin-ratelimit-count", state.window.len().to_string());
    put("inin-ratelimit-allowed", state.requests_per_minute.to_string());
    put("inin-ratelimit-reset", reset.to_string());
    if response.status() == StatusCode::TOO_MANY_REQUESTS
        && !response.headers().contains_key(header::RETRY_AFTER)
    {
        response.headers_mut().insert(header::RETRY_AFTER, (reset + 1).into());
    }
}
