//! Decides what a response means. Pure: status, headers and body in, one [`Answer`] out.
//!
//! A body that the API did not write decides nothing: texts count only where they parse as its
//! `ApiErrorBody`, and only codes and permission names pass into reasons, which are logged.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use hyper::HeaderMap;
use serde_json::Value;

use super::retry_after::retry_after;
use super::types::{Answer, EventError, RateWindow, Verdict};

/// Bytes of a response that are read at most. The API's longest answer names 100 events; 1 MiB is
/// ten kilobytes for each.
pub(super) const BODY_LIMIT: usize = 1024 * 1024;

/// Longest code or permission name that is passed on. The API's longest known code has 40 bytes.
const NAME_MAX: usize = 100;

/// Permission names that a reason lists at most.
const PERMISSIONS_MAX: usize = 5;

/// Texts kept in which suspects may be named: several for each of 100 events.
const HINTS_MAX: usize = 1000;

/// What was read of a response's body.
#[derive(Clone, Copy, Debug)]
pub(super) enum Body<'a> {
    /// All of it.
    Whole(&'a [u8]),
    /// It was longer than [`BODY_LIMIT`].
    TooLong,
    /// The connection failed before its end; the words say how.
    Broken(&'a str),
    /// It came whole and cannot be decoded; the words say why.
    Undecodable(&'a str),
}

/// The vendor's mark on each of its answers.
pub(super) const CORRELATION_ID: &str = "inin-correlation-id";

/// JSON has no byte order mark, but some gateways write one.
pub(super) fn without_bom(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes)
}

/// What this response means at the wall time `now_ms`.
pub(super) fn answer(status: u16, headers: &HeaderMap, body: Body<'_>, now_ms: i64) -> Answer {
    let correlation_id = text(headers, CORRELATION_ID).map(Arc::from);
    let error = match body {
        Body::Whole(bytes) => ApiErrorBody::parse(bytes),
        Body::TooLong | Body::Broken(_) | Body::Undecodable(_) => ApiErrorBody::default(),
    };
    let by_api = correlation_id.is_some() || error.is_apis(status);
    Answer {
        verdict: verdict(status, correlation_id.is_some(), error, body),
        status: Some(status),
        correlation_id,
        retry_after: retry_after(headers, date_ms(headers), now_ms),
        rate: rate_window(headers),
        by_api,
    }
}

/// The response's `Date` in milliseconds since 1970.
pub(super) fn date_ms(headers: &HeaderMap) -> Option<i64> {
    let date = httpdate::parse_http_date(text(headers, "date")?).ok()?;
    i64::try_from(date.duration_since(UNIX_EPOCH).ok()?.as_millis()).ok()
}

/// `text` if it looks like one of the API's codes, so that it may be logged.
pub(super) fn code_like(text: &str) -> Option<&str> {
    let fits = !text.is_empty()
        && text.len() <= NAME_MAX
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'));
    fits.then_some(text)
}

fn verdict(status: u16, correlated: bool, error: ApiErrorBody, body: Body<'_>) -> Verdict {
    // These statuses mean nothing without their body: a cut 400 may have been a network fault.
    if let (200..=299 | 400 | 422, Body::Broken(words) | Body::Undecodable(words)) = (status, body) {
        let how = if matches!(body, Body::Broken(_)) { "broke off" } else { "cannot be read" };
        let reason = format!("{status}, its body {how}: {words}");
        return Verdict::Unavailable { reason, maybe_taken: status < 300 };
    }
    match status {
        200..=299 => taken(correlated, body),
        400 | 422 if error.code == "client.failed.request" => {
            Verdict::Unavailable { reason: error.reason(status), maybe_taken: true }
        }
        // Whoever wrote it, it was not the API: a gateway's answer must not condemn events.
        400 | 409 | 422 if !correlated && !error.is_apis(status) => Verdict::NotTheApi,
        400 | 422 => Verdict::Invalid { message: error.words(status), code: error.code, hints: error.hints },
        401 => Verdict::Unauthorized { reason: error.code_or(status) },
        403 => Verdict::Forbidden { reason: missing(&error).unwrap_or_else(|| error.code_or(status)) },
        409 => Verdict::Conflict { message: error.words(status) },
        413 => Verdict::TooLarge { message: error.words(status) },
        // 503 and the refusals say that nothing was done; behind the others the request may have run.
        408 | 425 | 429 | 503 => Verdict::Unavailable { reason: error.reason(status), maybe_taken: false },
        500.. => Verdict::Unavailable { reason: error.reason(status), maybe_taken: true },
        300..=399 => Verdict::Misconfigured { reason: format!("{status}, a redirect") },
        _ => Verdict::Misconfigured { reason: error.reason(status) },
    }
}

/// What the operator has to give to the client's role.
fn missing(error: &ApiErrorBody) -> Option<String> {
    error.permissions().map(|permissions| format!("missing permission {permissions}"))
}

/// A 2xx counts only in the API's own shape; a proxy's page must never pass for delivery.
fn taken(correlated: bool, body: Body<'_>) -> Verdict {
    let Body::Whole(bytes) = body else {
        return Verdict::NotTheApi;
    };
    let bytes = without_bom(bytes);
    if bytes.trim_ascii().is_empty() {
        return if correlated { Verdict::Taken { errors: Vec::new() } } else { Verdict::NotTheApi };
    }
    let Ok(Value::Object(object)) = serde_json::from_slice(bytes) else {
        return Verdict::NotTheApi;
    };
    match object.get("errors") {
        Some(Value::Array(errors)) => Verdict::Taken { errors: errors.iter().map(event_error).collect() },
        None | Some(Value::Null) if correlated => Verdict::Taken { errors: Vec::new() },
        _ => Verdict::NotTheApi,
    }
}

fn event_error(entry: &Value) -> EventError {
    let field = |name: &str| entry.get(name).and_then(Value::as_str);
    EventError {
        event_id: field("eventId").map(str::to_owned),
        message: field("message").or(entry.as_str()).unwrap_or_default().to_owned(),
        retryable: entry.get("retryable").and_then(Value::as_bool).unwrap_or(false),
    }
}

/// The API's `ApiErrorBody`, as far as we use it; empty where the body is something else.
#[derive(Debug, Default)]
struct ApiErrorBody {
    code: String,
    message: String,
    hints: Vec<String>,
    status: Option<u64>,
}

impl ApiErrorBody {
    fn parse(bytes: &[u8]) -> Self {
        let Ok(Value::Object(object)) = serde_json::from_slice(without_bom(bytes)) else {
            return Self::default();
        };
        let field = |name: &str| object.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let mut hints = Vec::new();
        for name in ["details", "errors"] {
            if let Some(value) = object.get(name) {
                collect_texts(value, &mut hints);
            }
        }
        let status = object.get("status").and_then(Value::as_u64);
        Self { code: field("code"), message: field("message"), hints, status }
    }

    /// It has what the API's errors have and a gateway's have not: `{"message":"Bad Request"}` is anybody's. One that
    /// is about another status is passed on by somebody.
    fn is_apis(&self, status: u16) -> bool {
        !self.code.is_empty() && self.status == Some(u64::from(status))
    }

    /// For the dead letter: the API's words, else its code, else the status.
    fn words(&self, status: u16) -> String {
        if self.message.is_empty() { self.code_or(status) } else { self.message.clone() }
    }

    fn code_or(&self, status: u16) -> String {
        code_like(&self.code).map_or_else(|| status.to_string(), str::to_owned)
    }

    /// For logs: the status and the code.
    fn reason(&self, status: u16) -> String {
        code_like(&self.code).map_or_else(|| status.to_string(), |code| format!("{status} {code}"))
    }

    /// The permissions that the message names, in its order, e.g. `conversation:conversation:inject`.
    fn permissions(&self) -> Option<String> {
        let mut names: Vec<&str> = Vec::new();
        let separates =
            |c: char| c.is_whitespace() || matches!(c, ',' | ';' | '[' | ']' | '(' | ')' | '"' | '\'');
        for token in self.message.split(separates) {
            let token = token.trim_matches(['.', ':']);
            if is_permission(token) && !names.contains(&token) && names.len() < PERMISSIONS_MAX {
                names.push(token);
            }
        }
        (!names.is_empty()).then(|| names.join(", "))
    }
}

/// `domain:entity:action`. Each part begins with a letter or is `*`, so that times of day don't pass.
fn is_permission(token: &str) -> bool {
    let part_fits = |part: &str| {
        part == "*"
            || (part.starts_with(|c: char| c.is_ascii_alphabetic())
                && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')))
    };
    token.len() <= NAME_MAX && token.split(':').count() == 3 && token.split(':').all(part_fits)
}

fn collect_texts(value: &Value, texts: &mut Vec<String>) {
    match value {
        Value::String(text) if texts.len() < HINTS_MAX && !text.is_empty() => texts.push(text.clone()),
        Value::Array(values) => values.iter().for_each(|value| collect_texts(value, texts)),
        Value::Object(fields) => fields.values().for_each(|value| collect_texts(value, texts)),
        _ => {}
    }
}

fn rate_window(headers: &HeaderMap) -> Option<RateWindow> {
    let number = |name: &str| text(headers, name)?.trim().parse::<u32>().ok();
    Some(RateWindow {
        count: number("inin-ratelimit-count")?,
        allowed: number("inin-ratelimit-allowed")?,
        reset: Duration::from_secs(u64::from(number("inin-ratelimit-reset")?)),
    })
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok().filter(|value| !value.is_empty())
}
