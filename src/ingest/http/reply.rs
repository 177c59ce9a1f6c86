//! The answers that are no success, in the API's shape.

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
pub(super) enum Refused {
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
    /// Nothing was accepted, and trying again helps.
    Unavailable(String),
}

impl Refused {
    const fn status(&self) -> StatusCode {
        match self {
            Refused::Bad(..) => StatusCode::BAD_REQUEST,
            Refused::Unauthorized(..) => StatusCode::UNAUTHORIZED,
            Refused::Forbidden => StatusCode::FORBIDDEN,
            Refused::NotFound => StatusCode::NOT_FOUND,
            Refused::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Refused::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Refused::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Refused::NotJson => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Refused::NoRoom | Refused::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The API's code.
    const fn code(&self) -> &'static str {
        match self {
            Refused::Bad(code, _) | Refused::Unauthorized(code, _) => code,
            Refused::Forbidden => "not.authorized",
            Refused::NotFound => "not.found",
            Refused::MethodNotAllowed => "method.not.allowed",
            Refused::TooSlow => "client.timeout",
            Refused::TooLarge(_) => "request.entity.too.large",
            Refused::NotJson => "unsupported.media.type",
            Refused::NoRoom | Refused::Unavailable(_) => "service.unavailable",
        }
    }

    /// Code in metrics and logs.
    pub(super) const fn reason(&self) -> &'static str {
        match self {
            Refused::Bad(..) => "bad_body",
            Refused::Unauthorized(..) => "unauthorized",
            Refused::Forbidden => "origin",
            Refused::NotFound => "not_found",
            Refused::MethodNotAllowed => "method",
            Refused::TooSlow => "slow_body",
            Refused::NoRoom => "no_room",
            Refused::TooLarge(_) => "body_too_large",
            Refused::NotJson => "media_type",
            Refused::Unavailable(_) => "unavailable",
        }
    }

    fn message(&self) -> &str {
        match self {
            Refused::Bad(_, message) | Refused::TooLarge(message) | Refused::Unavailable(message) => message,
            Refused::Unauthorized(_, message) => message,
            Refused::Forbidden => "requests of web pages are not taken (header Origin)",
            Refused::NotFound => "trunkline takes only the Events API; keep a second client for the rest",
            Refused::MethodNotAllowed => "only POST is taken here",
            Refused::TooSlow => "the body did not come within 30 seconds",
            Refused::NoRoom => {
                "other long bodies and lines had all the room for 10 seconds (ingest.max_pending)"
            }
            Refused::NotJson => "the body must have Content-Type application/json",
        }
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let status = self.status();
        let body = json!({
            "message": self.message(),
            "code": self.code(),
            "status": status.as_u16(),
            "contextId": Uuid::new_v4(),
            "details": [],
            "errors": [],
        });
        let mut response = answer(status, Bytes::from(body.to_string()));
        let headers = response.headers_mut();
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER));
        }
        if status == StatusCode::METHOD_NOT_ALLOWED {
            headers.insert(header::ALLOW, HeaderValue::from_static("POST"));
        }
        // What is left of the body would be taken for the next request.
        if matches!(self, Refused::TooSlow | Refused::NoRoom | Refused::TooLarge(_)) {
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
