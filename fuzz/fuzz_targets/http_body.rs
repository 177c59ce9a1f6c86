//! The HTTP door answers any request as it says, and the sink gets exactly what is answered with 200.
//!
//! Input: flags (1 byte), then as text: method, space, path · line feed · a header a line · empty line · the
//! body. Flags: bit 0, anybody may; bits 1 and 2, what the sink says; bit 3, the body comes in pieces; bit 6,
//! it is long; bit 7, it is cut short.

#![no_main]

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, LazyLock, Mutex};
use std::task::{Context, Poll};

use axum::Router;
use axum::body::Body;
use base64::Engine;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, Uri, header};
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use tokio::runtime::Runtime;
use tower::ServiceExt;
use trunkline::clock::Clock;
use trunkline::config::{self, UnknownPolicy};
use trunkline::event::{Door, Envelope, Lane, ParsedBody, Receipt, parse_body};
use trunkline::ingest::{DoorContext, DoorSettings, Sink, fuzzing};
use trunkline::socket::Peer;
use trunkline::metrics::Metrics;
use trunkline::queue::{AppendError, Appended};
use uuid::Uuid;

const TOKEN: &str = "open-sesame";
const NOW_MS: i64 = 1_790_000_000_000;
const MAX_BODY: usize = 67_000;
/// Above what a body may have in memory unaccounted, with room for the rest of it.
const PADDING: usize = 66_000;
const MAX_FORM: usize = 16 * 1024;
const MAX_PENDING: usize = 200_000;

/// Says to each event what it was told to say.
#[derive(Clone, Default)]
struct Memory(Arc<Mutex<(u8, Vec<Envelope>)>>);

impl Memory {
    fn result(says: u8, nth: usize) -> Result<Appended, AppendError> {
        match says {
            0 => Ok(Appended::Stored(nth as u64)),
            1 => Err(AppendError::Full { max_bytes: 1 }),
            2 if nth.is_multiple_of(2) => Err(AppendError::Storage("a secret fault".to_owned())),
            2 => Ok(Appended::Duplicate),
            _ => Err(AppendError::TooLarge { actual_bytes: 2, max_bytes: 1 }),
        }
    }
}

impl Sink for Memory {
    fn submit(
        &self,
        events: Vec<Envelope>,
    ) -> impl Future<Output = Vec<Result<Appended, AppendError>>> + Send + 'static {
        let mut memory = self.0.lock().unwrap();
        let results = (0..events.len()).map(|nth| Self::result(memory.0, nth)).collect();
        memory.1.extend(events);
        async move { results }
    }
}

/// A door with its sink.
struct DoorKit {
    memory: Memory,
    context: Arc<DoorContext<Memory>>,
    routes: Router,
}

impl DoorKit {
    fn new(allow_anonymous: bool) -> Self {
        let token_file = std::env::temp_dir().join(format!("trunkline-fuzz-token-{}", std::process::id()));
        std::fs::write(&token_file, TOKEN).unwrap();
        let config = config::IngestConfig {
            max_line: MAX_BODY,
            max_event: 1_000,
            max_pending: MAX_PENDING,
            max_connections: 2,
            max_unacked: 2,
            unknown: UnknownPolicy::Forward,
            extra_arrays: Vec::new(),
            stream: config::StreamConfig { path: "/".into(), mode: 0, group: None, allow_uids: Vec::new() },
            http: config::HttpConfig { listen: None, token_file: Some(token_file), allow_anonymous },
        };
        let memory = Memory::default();
        let metrics = Arc::new(Metrics::new());
        let settings = DoorSettings::new(config).expect("no user is named");
        // It stands still.
        let clock = Clock::manual(NOW_MS);
        let context = Arc::new(DoorContext::new(settings, memory.clone(), clock, metrics));
        let routes = fuzzing::routes(context.clone(), Peer { uid: 7, pid: None });
        Self { memory, context, routes }
    }

    fn parse(&self, body: &Bytes) -> Option<ParsedBody> {
        let receipt = Receipt { now_ms: NOW_MS, door: Door::Http, uid: 7 };
        let settings = self.context.settings();
        parse_body(body, &settings.catalogue, &settings.rules(), &receipt, &mut Uuid::new_v4).ok()
    }
}

static KITS: LazyLock<[DoorKit; 2]> = LazyLock::new(|| [DoorKit::new(false), DoorKit::new(true)]);

static RUNTIME: LazyLock<Runtime> =
    LazyLock::new(|| tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap());

/// A body that comes in pieces, the last of which may be a fault. Like hyper's, it knows the length that was announced.
struct Pieces {
    left: VecDeque<io::Result<Bytes>>,
    announced: Option<u64>,
}

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        Poll::Ready(self.left.pop_front().map(|piece| piece.map(Frame::data)))
    }

    fn size_hint(&self) -> SizeHint {
        self.announced.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

fuzz_target!(|input: &[u8]| {
    let Some((flags, text)) = input.split_first() else { return };
    let Some((mut request, body)) = read(text) else { return };
    let mut body = body.to_vec();
    if flags & 64 != 0 {
        body.resize(body.len() + PADDING, b' ');
    }
    let body = Bytes::from(body);
    let is_anonymous = flags & 1 != 0;
    let says = flags >> 1 & 3;
    let is_cut = flags & 128 != 0;
    let kit = &KITS[usize::from(is_anonymous)];
    *kit.memory.0.lock().unwrap() = (says, Vec::new());
    let length = if flags & 8 == 0 { usize::MAX } else { 100 };
    let pieces = body.chunks(length).map(|piece| Ok(body.slice_ref(piece)));
    let fault = is_cut.then(|| Err(io::ErrorKind::UnexpectedEof.into()));
    let announced = announced(request.headers());
    *request.body_mut() = Body::new(Pieces { left: pieces.chain(fault).collect(), announced });
    let (method, uri, headers) = (request.method().clone(), request.uri().clone(), request.headers().clone());

    let (status, answer) = RUNTIME.block_on(async {
        let response = kit.routes.clone().oneshot(request).await.unwrap();
        check_headers(response.headers());
        (response.status(), response.into_body().collect().await.unwrap().to_bytes())
    });

    assert_eq!(kit.context.admission.pending_free(), MAX_PENDING);
    let stored = std::mem::take(&mut kit.memory.0.lock().unwrap().1);
    let json: Value = match serde_json::from_slice(&answer) {
        Err(_) if method == Method::HEAD && answer.is_empty() => Value::Null,
        json => json.unwrap(),
    };
    assert!(json.is_object() || method == Method::HEAD);
    if status != StatusCode::OK {
        assert!(stored.is_empty() || status == StatusCode::SERVICE_UNAVAILABLE);
        assert!(method == Method::HEAD || json["status"] == status.as_u16() || json["error"].is_string());
    }
    match Lane::from_path(uri.path()) {
        Some(lane) => {
            let body = (&body, is_cut);
            let expected = events(kit, lane, &method, &headers, is_anonymous, body, says);
            assert_eq!(status.as_u16(), expected, "{json}");
            if status == StatusCode::OK {
                check_taken(kit, lane, body.0, says, &stored, &json);
            }
        }
        None if uri.path() == "/oauth/token" => {
            let expected = login(&method, &headers, is_anonymous, (&body, is_cut));
            assert_eq!(status.as_u16(), expected, "{json}");
            if status == StatusCode::OK {
                assert_eq!(json["access_token"], if is_anonymous { "anonymous" } else { TOKEN });
            } else {
                assert!(!json.to_string().contains(TOKEN));
            }
        }
        None => assert_eq!(status, StatusCode::NOT_FOUND),
    }
});

fn read(text: &[u8]) -> Option<(Request<Body>, &[u8])> {
    let at = memchr::memmem::find(text, b"\n\n").unwrap_or(text.len());
    let body = text.get(at + 2..).unwrap_or_default();
    let mut lines = text[..at].split(|byte| *byte == b'\n');
    let line = lines.next()?;
    let (method, uri) = line.split_at(line.iter().position(|byte| *byte == b' ')?);
    let method = Method::from_bytes(method).ok()?;
    let mut request = Request::builder().method(method).uri(Uri::try_from(&uri[1..]).ok()?);
    for line in lines {
        let Some(at) = line.iter().position(|byte| *byte == b':') else { continue };
        request = request.header(line[..at].trim_ascii(), line[at + 1..].trim_ascii());
    }
    Some((request.body(Body::empty()).ok()?, body))
}

fn check_headers(headers: &HeaderMap) {
    assert_eq!(headers[header::CONTENT_TYPE], "application/json");
    assert_eq!(headers[header::CACHE_CONTROL], "no-store");
    headers["inin-correlation-id"].to_str().unwrap().parse::<Uuid>().unwrap();
}

/// The status that a lane's path must answer with.
fn events(
    kit: &DoorKit,
    lane: Lane,
    method: &Method,
    headers: &HeaderMap,
    is_anonymous: bool,
    (body, is_cut): (&Bytes, bool),
    says: u8,
) -> u16 {
    if method != Method::POST {
        return 405;
    }
    if headers.contains_key("origin") {
        return 403;
    }
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let authorization = text("authorization");
    let is_bearer = authorization.to_ascii_lowercase().starts_with("bearer ");
    let has_token = is_bearer && authorization[7..].trim() == TOKEN;
    if !is_anonymous && !has_token {
        return 401;
    }
    let media_type = text("content-type").split(';').next().unwrap_or_default().trim();
    if !media_type.eq_ignore_ascii_case("application/json") || is_encoded(headers) {
        return 415;
    }
    if is_too_long(headers, body, MAX_BODY) {
        return 413;
    }
    if is_cut {
        return 400;
    }
    // No body of this size has too many events.
    let Some(parsed) = kit.parse(body) else { return 400 };
    if parsed.lanes.iter().any(|found| *found != lane) {
        return 400;
    }
    let results: Vec<_> = (0..parsed.events.len()).map(|nth| Memory::result(says, nth)).collect();
    let is_retryable = |error: &AppendError| !matches!(error, AppendError::TooLarge { .. });
    let is_full = results.iter().any(|result| result.as_ref().is_err_and(is_retryable));
    if is_full && results.iter().all(Result::is_err) { 503 } else { 200 }
}

fn is_too_long(headers: &HeaderMap, body: &[u8], max: usize) -> bool {
    body.len() > max || announced(headers).is_some_and(|length| length > max as u64)
}

fn announced(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn is_encoded(headers: &HeaderMap) -> bool {
    headers.get_all(header::CONTENT_ENCODING).iter().any(|value| {
        let Ok(value) = value.to_str() else { return true };
        value.split(',').map(str::trim).any(|name| !name.is_empty() && !name.eq_ignore_ascii_case("identity"))
    })
}

/// Whoever is not listed is with the sink, and nobody else.
fn check_taken(kit: &DoorKit, lane: Lane, body: &Bytes, says: u8, stored: &[Envelope], json: &Value) {
    let parsed = kit.parse(body).unwrap();
    let given: Vec<_> = parsed.events.iter().map(|event| (&event.array, event.event_time_ms)).collect();
    let got: Vec<_> = stored.iter().map(|event| (&event.array, event.event_time_ms)).collect();
    assert_eq!(given, got);
    assert!(stored.iter().all(|event| event.lane == lane && event.door == Door::Http && event.uid == 7));
    let refused = (0..stored.len()).filter(|nth| Memory::result(says, *nth).is_err()).count();
    let errors = json["errors"].as_array().unwrap();
    assert_eq!(errors.len(), parsed.refused.len() + refused);
    for error in errors {
        assert_eq!(error.as_object().unwrap().len(), 3);
        assert!(error["message"].is_string() && error["retryable"].is_boolean());
    }
    assert!(!json.to_string().contains("a secret fault"));
}

/// The status that the login must answer with.
fn login(method: &Method, headers: &HeaderMap, is_anonymous: bool, (form, is_cut): (&[u8], bool)) -> u16 {
    if method != Method::POST {
        return 405;
    }
    if headers.contains_key("origin") {
        return 403;
    }
    if is_encoded(headers) {
        return 415;
    }
    if is_too_long(headers, form, MAX_FORM) {
        return 413;
    }
    if is_cut {
        return 400;
    }
    let all = |wanted: &'static str| form_urlencoded::parse(form).filter(move |(name, _)| name == wanted);
    if all("grant_type").last().is_none_or(|(_, grant)| grant != "client_credentials") {
        return 400;
    }
    let secret =
        basic(headers).or_else(|| all("client_secret").next().map(|(_, secret)| secret.into_owned()));
    if secret.is_some_and(|secret| is_anonymous || secret == TOKEN) { 200 } else { 400 }
}

fn basic(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, rest) = value.split_once(' ')?;
    let decoded = base64::engine::general_purpose::STANDARD.decode(rest.trim()).ok()?;
    let (_, secret) = std::str::from_utf8(&decoded).ok()?.split_once(':')?;
    scheme.eq_ignore_ascii_case("basic").then(|| secret.to_owned())
}
