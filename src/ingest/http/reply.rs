//! The answers that are not a success, in the API's shape.

use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde_json::json;
use uuid::Uuid;

/// Seconds after which a full door is worth another try.
const RETRY_AFTER: u64 = 5;
/// The header by which the API names a request.
const CORRELATION_ID: HeaderName = HeaderName::from_static("inin-correlation-id");

/// Why a request is not answered with 200.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum HttpRefusal {
    /// The body, the path's arrays, or a header does not fit.
    Bad(&'static str, String),
    /// No bearer, or not ours.
    Unauthorized(&'static str, &'static str),
    /// A browser's request.
    Forbidden,
    /// Not our path.
    NotFound,
    /// Not POST.
    MethodNotAllowed,
    /// The body did not come in time.
    TooSlow,
    /// Other long bodies and lines have all the room, and trying again helps.
    NoRoom,
    /// Too many bytes or events.
    TooLarge(String),
    /// Not JSON by its header.
    NotJson,
    /// Compressed, or coded in another way.
    Encoded(String),
    /// Nothing was accepted, and trying again helps.
    Unavailable(String),
}

impl HttpRefusal {
    const fn status(&self) -> StatusCode {
        match self {
            HttpRefusal::Bad(..) => StatusCode::BAD_REQUEST,
            HttpRefusal::Unauthorized(..) => StatusCode::UNAUTHORIZED,
            HttpRefusal::Forbidden => StatusCode::FORBIDDEN,
            HttpRefusal::NotFound => StatusCode::NOT_FOUND,
            HttpRefusal::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            HttpRefusal::TooSlow => StatusCode::REQUEST_TIMEOUT,
            HttpRefusal::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            HttpRefusal::NotJson | HttpRefusal::Encoded(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            HttpRefusal::NoRoom | HttpRefusal::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The API's code.
    const fn code(&self) -> &'static str {
        match self {
            HttpRefusal::Bad(code, _) | HttpRefusal::Unauthorized(code, _) => code,
            HttpRefusal::Forbidden => "not.authorized",
            HttpRefusal::NotFound => "not.found",
            HttpRefusal::MethodNotAllowed => "method.not.allowed",
            HttpRefusal::TooSlow => "client.timeout",
            HttpRefusal::TooLarge(_) => "request.entity.too.large",
            HttpRefusal::NotJson | HttpRefusal::Encoded(_) => "unsupported.media.type",
            HttpRefusal::NoRoom | HttpRefusal::Unavailable(_) => "service.unavailable",
        }
    }

    /// Code in metrics and logs.
    pub(super) const fn reason(&self) -> &'static str {
        match self {
            HttpRefusal::Bad(..) => "bad_body",
            HttpRefusal::Unauthorized(..) => "unauthorized",
            HttpRefusal::Forbidden => "origin",
            HttpRefusal::NotFound => "not_found",
            HttpRefusal::MethodNotAllowed => "method",
            HttpRefusal::TooSlow => "slow_body",
            HttpRefusal::NoRoom => "no_room",
            HttpRefusal::TooLarge(_) => "body_too_large",
            HttpRefusal::NotJson => "media_type",
            HttpRefusal::Encoded(_) => "content_encoding",
            HttpRefusal::Unavailable(_) => "unavailable",
        }
    }

    fn message(&self) -> String {
        match self {
            HttpRefusal::Bad(_, message)
            | HttpRefusal::TooLarge(message)
            | HttpRefusal::Unavailable(message) => message.clone(),
            HttpRefusal::Unauthorized(_, message) => (*message).to_owned(),
            HttpRefusal::Forbidden => "requests from web pages are refused (Origin header)".to_owned(),
            HttpRefusal::NotFound => {
                "trunkline serves only the Events API; use a second client for the rest".to_owned()
            }
            HttpRefusal::MethodNotAllowed => "only POST is allowed here".to_owned(),
            HttpRefusal::TooSlow => "the body did not arrive within 30 seconds".to_owned(),
            HttpRefusal::NoRoom => {
                "no room for a long body within 10 seconds (ingest.max_pending)".to_owned()
            }
            HttpRefusal::NotJson => "the body must have Content-Type application/json".to_owned(),
            HttpRefusal::Encoded(coding) => {
                format!("Content-Encoding {coding} is not supported; send the body uncompressed")
            }
        }
    }

    fn body(&self) -> Bytes {
        let body = json!({
            "message": self.message(),
            "code": self.code(),
            "status": self.status().as_u16(),
            "contextId": Uuid::new_v4(),
            "details": [],
            "errors": [],
        });
        Bytes::from(body.to_string())
    }

    /// What is left of the body would be taken for the next request.
    const fn leaves_body(&self) -> bool {
        matches!(
            self,
            HttpRefusal::TooSlow | HttpRefusal::NoRoom | HttpRefusal::TooLarge(_) | HttpRefusal::Encoded(_)
        )
    }

    /// As bytes, for a connection whose requests are not read.
    pub(super) fn to_raw(&self) -> Bytes {
        let (status, body) = (self.status(), self.body());
        let reason = status.canonical_reason().unwrap_or_default();
        let mut raw = format!(
            "HTTP/1.1 {} {reason}\r\ncontent-type: application/json\r\nretry-after: {RETRY_AFTER}\r\n\
             connection: close\r\ncontent-length: {}\r\n\r\n",
            status.as_u16(),
            body.len(),
        )
        .into_bytes();
        raw.extend_from_slice(&body);
        Bytes::from(raw)
    }
}

impl IntoResponse for HttpRefusal {
    fn into_response(self) -> Response {
        let status = self.status();
        let mut response = answer(status, self.body());
        let headers = response.headers_mut();
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER));
        }
        if status == StatusCode::METHOD_NOT_ALLOWED {
            headers.insert(header::ALLOW, HeaderValue::from_static("POST"));
        }
        if matches!(self, HttpRefusal::Encoded(_)) {
            headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        }
        if self.leaves_body() {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

/// JSON with the headers that the API sends.
pub(super) fn answer(status: StatusCode, body: Bytes) -> Response {
    let mut response = (status, body).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let id = Uuid::new_v4().to_string();
    headers.insert(CORRELATION_ID, HeaderValue::try_from(id).expect("a UUID is plain text"));
    response
}
