//! Answers that are not a success: the API's error body, and connections that end.

use axum::body::{Body, Bytes};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use uuid::Uuid;

use super::faults::Faults;
use super::validate::Rejection;

pub(super) fn failure(status: u16, faults: &Faults) -> Response {
    let mut response = error_body(status, "sandbox.fault", "injected by the sandbox");
    if let (429 | 503, Some(seconds)) = (status, faults.retry_after_seconds) {
        response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    }
    response
}

pub(super) fn refusal(refused: &Rejection) -> Response {
    error_body(refused.status, refused.code, &refused.message)
}

pub(super) fn error_body(status: u16, code: &str, message: &str) -> Response {
    let body = json!({"message": message, "code": code, "status": status, "contextId": Uuid::new_v4(), "details": [], "errors": []});
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, axum::Json(body)).into_response()
}

/// A body that fails at once: the connection ends with no whole answer.
pub(super) fn cut() -> Response {
    Response::builder().header(header::CONTENT_LENGTH, 1000).body(Body::new(BrokenBody)).unwrap_or_default()
}

struct BrokenBody;

impl hyper::body::Body for BrokenBody {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<hyper::body::Frame<Bytes>, std::io::Error>>> {
        std::task::Poll::Ready(Some(Err(std::io::ErrorKind::ConnectionReset.into())))
    }
}
