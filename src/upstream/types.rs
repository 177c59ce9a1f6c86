//! What goes to the API and what comes back, free of HTTP.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::event::Lane;

/// A request body for one endpoint.
#[derive(Clone, Debug)]
pub struct Outbound {
    /// Endpoint.
    pub lane: Lane,
    /// Request body, JSON.
    pub body: Bytes,
}

/// What came back for one request.
#[derive(Clone, Debug)]
pub struct Answer {
    /// What it means.
    pub verdict: Verdict,
    /// HTTP status, if there was a response.
    pub status: Option<u16>,
    /// `ININ-Correlation-Id`.
    pub correlation_id: Option<Arc<str>>,
    /// `Retry-After` as a wait from now; a date is turned into one; at most 24 h.
    pub retry_after: Option<Duration>,
    /// `inin-ratelimit-*`, if the response had them.
    pub rate: Option<RateWindow>,
    /// It bears the API's marks: the correlation id, or `code` and `status` in its body. Without them it may be
    /// anybody's on the way there.
    pub by_api: bool,
}

impl Answer {
    /// There was no response, or no request.
    pub(super) fn without_response(verdict: Verdict) -> Self {
        Self { verdict, status: None, correlation_id: None, retry_after: None, rate: None, by_api: false }
    }
}

/// The server's word on its rate limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateWindow {
    /// Requests counted in this window.
    pub count: u32,
    /// Requests allowed in it.
    pub allowed: u32,
    /// Time until it ends.
    pub reset: Duration,
}

/// An event's entry in the answer's `errors`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventError {
    /// As the API gave it; `None` if absent or null.
    pub event_id: Option<String>,
    /// The API's words. May quote personal data: for the dead letter only.
    pub message: String,
    /// Sending the same again may help; absent counts as `false`.
    pub retryable: bool,
}

/// What a response, or its absence, means. One variant per row of the answers table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// 2xx in the API's shape: who is not listed was taken.
    Taken {
        /// The events it did not take.
        errors: Vec<EventError>,
    },
    /// 2xx in another shape (a proxy's page), or 400, 409 or 422 without the API's marks: nothing was delivered, and
    /// nothing is wrong with the request.
    NotTheApi,
    /// 400 or 422: the request is wrong.
    Invalid {
        /// The API's code, e.g. `constraint.validation`; empty if none.
        code: String,
        /// The API's words. May quote personal data: for the dead letter only.
        message: String,
        /// Texts of `details` and `errors` in which suspects may be named.
        hints: Vec<String>,
    },
    /// 409.
    Conflict {
        /// The API's words, for the dead letter.
        message: String,
    },
    /// 413. Without the API's marks it is about something on the way.
    TooLarge {
        /// The API's words, for the dead letter.
        message: String,
    },
    /// 401, also with a fresh token; or no token to be had because the login was refused.
    Unauthorized {
        /// A code or our own words, fit for log and status.
        reason: String,
    },
    /// 403.
    Forbidden {
        /// The missing permission if the message names one, else the code; fit for log and status.
        reason: String,
    },
    /// 404, 405, 415, 3xx: the address or the network's answer is not the API's.
    Misconfigured {
        /// What was found, fit for log and status.
        reason: String,
    },
    /// 408, 429, 5xx, network, timeout, 400 `client.failed.request`, login not reachable.
    Unavailable {
        /// What was found, fit for log and status: `503`, `timed out after 30s`, `connection refused`.
        reason: String,
        /// The request may have been taken: its answer was lost.
        maybe_taken: bool,
    },
}

/// How the last login went, for status.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoginStatus {
    /// When the token runs out, milliseconds since 1970; `None` without a token.
    pub expires_at_ms: Option<i64>,
    /// Why there is no token, fit for log and status.
    pub fault: Option<String>,
}

/// Says when a request may start: all requests of a process keep to one pace.
pub trait RateLimiter: fmt::Debug + Send + Sync {
    /// Returns when one may start, and counts it.
    fn acquire(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}

/// The API as the relay sees it. Cheap to clone.
pub trait Upstream: Clone + Send + Sync + 'static {
    /// Sends one request and waits for its answer, at most `connect_timeout` and `request_timeout`.
    /// Never fails: a failure is a verdict.
    fn send(&self, request: Outbound) -> impl Future<Output = Answer> + Send;

    /// An operator wants it tried now: nothing is waited out before the next login.
    fn try_now(&self) {}
}
