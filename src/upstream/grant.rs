//! Decides what the login host's answer means, and when to log in again. Pure.

use std::time::Duration;

use hyper::HeaderMap;
use secrecy::SecretString;
use serde_json::Value;

use super::fault;
use super::response::{CORRELATION_ID, date_ms, without_bom};
use super::retry_after::{believed, retry_after};
use super::types::{Answer, Verdict};

/// Life of a token that comes without `expires_in`: the shortest that the vendor grants.
const LIFE_DEFAULT: Duration = Duration::from_secs(5 * 60);

/// A token that is said to live shorter is used this long, or until it is refused: else nearly each request would be
/// preceded by a login.
const LIFE_MIN: Duration = Duration::from_secs(10);

/// The longest life that the vendor grants.
const LIFE_MAX: Duration = Duration::from_secs(48 * 60 * 60);

/// How long before its end a token is renewed at the latest.
const RENEW_AHEAD: Duration = Duration::from_secs(60);

/// First pause after a failed login, doubled up to [`PAUSE_MAX`] with each that follows.
const PAUSE_MIN: Duration = Duration::from_secs(1);

/// Longest pause between logins that are refused.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// What is told of a login host that lets nobody in for a while.
pub(super) const RATE_LIMIT: &str = "login host's rate limit exceeded";

/// The codes of OAuth (RFC 6749, 4.1.2.1 and 5.2). Others are not repeated: a host that echoes the
/// request must not bring a secret into a log.
const OAUTH_CODES: [&str; 9] = [
    "invalid_client",
    "invalid_request",
    "invalid_grant",
    "invalid_scope",
    "unauthorized_client",
    "unsupported_grant_type",
    "access_denied",
    "server_error",
    "temporarily_unavailable",
];

/// A token as it was granted.
#[derive(Debug)]
pub(super) struct Grant {
    /// The token.
    pub(super) token: SecretString,
    /// How long it is valid; `None`: until it is refused.
    pub(super) life: Option<Duration>,
}

/// Why there is no token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LoginFault {
    /// What kind it is.
    pub(super) kind: LoginFaultKind,
    /// What was found, fit for log and status.
    pub(super) reason: String,
    /// The login host's `Retry-After`.
    pub(super) retry_after: Option<Duration>,
    /// Its answer has the vendor's correlation id.
    pub(super) by_api: bool,
}

/// Kinds of login fault, by the verdict that follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LoginFaultKind {
    /// The credentials are not accepted.
    Refused,
    /// The credentials are missing: the login host was not asked.
    NoSecret,
    /// The login host is unwell or not reachable, or wants us to wait.
    Unavailable,
    /// What answers is not a login host.
    Misconfigured,
}

impl LoginFault {
    /// A fault without `Retry-After`.
    pub(super) fn new(kind: LoginFaultKind, reason: impl Into<String>) -> Self {
        Self { kind, reason: reason.into(), retry_after: None, by_api: false }
    }

    /// The verdict on a request that had to stay here for want of a token.
    pub(super) fn answer(self) -> Answer {
        let reason = self.reason;
        let verdict = match self.kind {
            LoginFaultKind::Refused | LoginFaultKind::NoSecret => Verdict::Unauthorized { reason },
            LoginFaultKind::Unavailable => Verdict::Unavailable { reason, maybe_taken: false },
            LoginFaultKind::Misconfigured => Verdict::Misconfigured { reason },
        };
        Answer { retry_after: self.retry_after, by_api: self.by_api, ..Answer::without_response(verdict) }
    }

    /// How long the next login waits after this fault, the `failures`th in a row.
    ///
    /// An unreachable host is asked each second at most and no rarer, so that delivery goes on soon
    /// after an outage; the relay's own backoff comes on top. Not where asking does harm: a rate limit,
    /// and a proxy that may lock the account whose password it refused.
    pub(super) fn pause(&self, failures: u32) -> Duration {
        let pause = match (self.kind, self.retry_after) {
            (_, Some(wait)) => return believed(wait, self.by_api).max(PAUSE_MIN),
            (LoginFaultKind::NoSecret, None) => PAUSE_MIN,
            (LoginFaultKind::Unavailable, None) if !self.is_refusal() => PAUSE_MIN,
            _ => PAUSE_MIN.saturating_mul(1 << failures.saturating_sub(1).min(6)),
        };
        pause.min(PAUSE_MAX)
    }

    fn is_refusal(&self) -> bool {
        self.reason == RATE_LIMIT || self.reason.contains(fault::PROXY_LOGIN)
    }
}

/// What the login host's answer means; `client_id` is named in a refusal.
pub(super) fn grant(
    status: u16,
    headers: &HeaderMap,
    body: &[u8],
    now_ms: i64,
    client_id: &str,
) -> Result<Grant, LoginFault> {
    let body: Value = serde_json::from_slice(without_bom(body)).unwrap_or_default();
    let code = body.get("error").and_then(Value::as_str).unwrap_or_default();
    let code = OAUTH_CODES.iter().find(|known| **known == code).copied();
    let told = code.map_or_else(|| status.to_string(), str::to_owned);
    let unavailable = |reason: String| LoginFault {
        kind: LoginFaultKind::Unavailable,
        reason,
        retry_after: retry_after(headers, date_ms(headers), now_ms),
        by_api: headers.contains_key(CORRELATION_ID),
    };
    match status {
        200..=299 => granted(&body),
        // The login host reports its rate limit as a 400.
        400 if says_rate_limit(&body) => Err(unavailable(RATE_LIMIT.to_owned())),
        400 | 401 | 403 => Err(LoginFault::new(
            LoginFaultKind::Refused,
            format!("login refused: {told} (client id {client_id})"),
        )),
        429 => Err(unavailable(RATE_LIMIT.to_owned())),
        408 | 425 | 500.. => Err(unavailable(format!("login host answers {status}"))),
        _ => Err(LoginFault::new(
            LoginFaultKind::Misconfigured,
            format!("login host answers {status}; check upstream.region or login_url"),
        )),
    }
}

/// Age at which a token of this `life` is renewed: at 90 % or a minute before its end, whichever is
/// earlier. A life under two minutes is used for half at least, else each request would log in.
pub(super) fn renewal_age(life: Duration) -> Duration {
    let ahead = life.saturating_sub(RENEW_AHEAD).max(life / 2);
    ahead.min(life.mul_f64(0.9))
}

fn granted(body: &Value) -> Result<Grant, LoginFault> {
    let token = body.get("access_token").and_then(Value::as_str).unwrap_or_default();
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        let reason = "login host's answer has no token; was it a proxy's page?";
        return Err(LoginFault::new(LoginFaultKind::Unavailable, reason));
    }
    let life = body.get("expires_in").map_or(LIFE_DEFAULT, life);
    Ok(Grant { token: SecretString::from(token.to_owned()), life: Some(life) })
}

/// Some write the number as a text. Zero, or what is not a number, says nothing: hosts send it that hand out a cached
/// token in its last second, or that mean "without an end".
fn life(expires_in: &Value) -> Duration {
    let seconds = expires_in.as_f64().or_else(|| expires_in.as_str()?.trim().parse().ok());
    match seconds.map(Duration::try_from_secs_f64) {
        Some(Ok(life)) if life >= LIFE_MIN => life.min(LIFE_MAX),
        Some(Ok(life)) if life >= Duration::from_secs(1) => LIFE_MIN,
        Some(Err(_)) if seconds.is_some_and(|seconds| seconds > 0.0) => LIFE_MAX,
        _ => LIFE_DEFAULT,
    }
}

fn says_rate_limit(body: &Value) -> bool {
    ["error_description", "description", "message"].iter().any(|name| {
        let text = body.get(*name).and_then(Value::as_str).unwrap_or_default();
        text.to_ascii_lowercase().contains("rate limit exceeded")
    })
}
