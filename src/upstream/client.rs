//! The API as the relay uses it: a token where one is needed, one answer for each request.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use tokio::sync::watch;

use super::probe::SKEW_MAX_SECONDS;
use super::response::{self, Body};
use super::token::{Token, Tokens};
use super::types::{Answer, Login, Outbound, Upstream, Verdict};
use super::wire::{End, Unsent, Wire, address};
use crate::clock::Clock;
use crate::config;

/// The reason for which a new token cannot help.
const IP_NOT_AUTHORIZED: &str = "ip.not.authorized";

/// No response has told the server's time yet.
const SKEW_UNKNOWN: i64 = i64::MIN;

/// Why no client can be made of the configuration.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// An address is no URL, or is not https and not loopback.
    #[error("{key} must be an https URL with a host (http only for loopback)")]
    Address {
        /// The key that holds it.
        key: &'static str,
    },
    /// The proxy's URL is not one. It is not shown: it may hold a password.
    #[error("upstream.proxy is not a proxy's URL; write http://host:port")]
    Proxy,
    /// The file with extra roots can't be read.
    #[error("upstream.ca_file {} can't be read", path.display())]
    CaFileRead {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file with extra roots holds no certificate.
    #[error("upstream.ca_file {} holds no certificate in PEM", path.display())]
    CaFileFormat {
        /// The file.
        path: PathBuf,
    },
    /// TLS can't be set up: most likely the system has no roots.
    #[error("TLS can't be set up; install the system's CA certificates or set upstream.ca_file")]
    Tls,
}

/// Whose token it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Me {
    /// The API said so.
    Known {
        /// Organisation's name.
        name: String,
        /// Organisation's id.
        id: String,
    },
    /// Why it did not.
    Unknown(String),
}

/// The API over HTTP. Cheap to clone; clones share connections and token.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    wire: Wire,
    tokens: Tokens,
    api_url: String,
    host: String,
    clock: Clock,
    skew_ms: AtomicI64,
}

impl Client {
    /// Sets up connections; sends nothing yet.
    ///
    /// # Errors
    /// If an address, the proxy or the CA file can't be used. A missing secret is none: it shows in
    /// [`Client::login`] and in verdicts.
    pub fn new(settings: &config::Upstream, clock: Clock) -> Result<Self, ClientError> {
        let api = address(&settings.endpoints.api_url, "upstream.api_url")?;
        let login = address(&settings.endpoints.login_url, "upstream.login_url")?;
        let plain = api.is_plain && login.is_plain;
        let host = api.shown;
        Ok(Self(Arc::new(Inner {
            wire: Wire::new(settings, plain)?,
            tokens: Tokens::new(&settings.endpoints, settings.credentials.clone(), clock.clone()),
            api_url: settings.endpoints.api_url.trim_end_matches('/').to_owned(),
            host,
            clock,
            skew_ms: AtomicI64::new(SKEW_UNKNOWN),
        })))
    }

    /// How the last login went, now and from now on.
    pub fn login(&self) -> watch::Receiver<Login> {
        self.0.tokens.login()
    }

    /// Gets a token now if there is none, and says how that went.
    pub async fn log_in(&self) -> Login {
        // The outcome is published either way; what is published is what is told.
        let _outcome = self.0.tokens.token(&self.0.wire).await;
        self.login().borrow().clone()
    }

    /// The API's host, with the port if it is not the scheme's own.
    pub fn host(&self) -> &str {
        &self.0.host
    }

    /// How far our wall clock is ahead of the server's by its last `Date`, to the second; `None`
    /// before the first answer.
    pub fn clock_skew_seconds(&self) -> Option<i64> {
        let skew_ms = self.0.skew_ms.load(Ordering::Relaxed);
        (skew_ms != SKEW_UNKNOWN).then_some(skew_ms / 1000)
    }

    /// Whose token it is: the organisation.
    pub async fn me(&self) -> Me {
        let Inner { tokens, wire, api_url, clock, .. } = &*self.0;
        let token = match tokens.token(wire).await {
            Ok(token) => token,
            Err(fault) => return Me::Unknown(fault.reason),
        };
        let raw = match wire.get(&format!("{api_url}/api/v2/tokens/me"), &token).await {
            Ok(raw) => raw,
            Err(unsent) => return Me::Unknown(unsent.words),
        };
        if let Some(date_ms) = response::date_ms(&raw.headers) {
            self.note_skew(clock.unix_ms().saturating_sub(date_ms));
        }
        let body: serde_json::Value = serde_json::from_slice(&raw.body).unwrap_or_default();
        let field = |name: &str| body["organization"][name].as_str().map(str::to_owned);
        match field("id") {
            Some(id) => Me::Known { name: field("name").unwrap_or_default(), id },
            None => Me::Unknown(format!("status {}, which names no organisation", raw.status)),
        }
    }

    /// Keeps the skew, and tells when it becomes too large or fits again: telephony reports break on it.
    fn note_skew(&self, skew_ms: i64) {
        let is_off = |skew_ms: i64| skew_ms != SKEW_UNKNOWN && skew_ms.abs() / 1000 > SKEW_MAX_SECONDS;
        let before = self.0.skew_ms.swap(skew_ms, Ordering::Relaxed);
        match (is_off(before), is_off(skew_ms)) {
            (false, true) => tracing::warn!(
                seconds = skew_ms / 1000,
                "this host's clock differs from the API's: reports break on that; let it follow NTP"
            ),
            (true, false) => tracing::info!("this host's clock fits the API's again"),
            _ => {}
        }
    }

    async fn post(&self, request: &Outbound, token: &Token) -> Answer {
        let url = format!("{}{}", self.0.api_url, request.lane.path());
        let sent = self.0.wire.post_events(&url, request.body.clone(), token).await;
        let now_ms = self.0.clock.unix_ms();
        let mut answer = match sent {
            Ok(raw) => {
                if let Some(date_ms) = response::date_ms(&raw.headers) {
                    self.note_skew(now_ms.saturating_sub(date_ms));
                }
                let body = match &raw.end {
                    End::Whole => Body::Whole(&raw.body),
                    End::TooLong => Body::TooLong,
                    End::Broken(words) => Body::Broken(words),
                };
                response::answer(raw.status, &raw.headers, body, now_ms)
            }
            Err(Unsent { words, maybe_taken }) => Answer {
                verdict: Verdict::Unavailable { reason: words, maybe_taken },
                status: None,
                correlation_id: None,
                retry_after: None,
                rate: None,
            },
        };
        scrub(&mut answer, token.expose());
        answer
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("host", &self.0.host).finish_non_exhaustive()
    }
}

impl Upstream for Client {
    async fn send(&self, request: Outbound) -> Answer {
        let Inner { tokens, wire, .. } = &*self.0;
        let token = match tokens.token(wire).await {
            Ok(token) => token,
            Err(fault) => return fault.answer(),
        };
        let answer = self.post(&request, &token).await;
        let Verdict::Unauthorized { reason } = &answer.verdict else {
            if answer.status.is_some() {
                tokens.confirm(&token);
            }
            return answer;
        };
        if reason == IP_NOT_AUTHORIZED {
            return answer;
        }
        tokens.invalidate(&token);
        let fresh = match tokens.token(wire).await {
            Ok(fresh) if fresh.expose() != token.expose() => fresh,
            Ok(_) => return answer,
            Err(fault) => return fault.answer(),
        };
        let answer = self.post(&request, &fresh).await;
        if answer.status.is_some() && !matches!(answer.verdict, Verdict::Unauthorized { .. }) {
            tokens.confirm(&fresh);
        }
        answer
    }
}

/// Takes the token out of whatever the other side said, in case something on the way echoes requests.
fn scrub(answer: &mut Answer, token: &str) {
    let clean = |text: &mut String| {
        if text.contains(token) {
            *text = text.replace(token, "[token]");
        }
    };
    match &mut answer.verdict {
        Verdict::Taken { errors } => errors.iter_mut().for_each(|error| {
            clean(&mut error.message);
            error.event_id.iter_mut().for_each(clean);
        }),
        Verdict::Invalid { code, message, hints } => {
            clean(code);
            clean(message);
            hints.iter_mut().for_each(clean);
        }
        Verdict::Conflict { message } | Verdict::TooLarge { message } => clean(message),
        Verdict::Unauthorized { reason }
        | Verdict::Forbidden { reason }
        | Verdict::Misconfigured { reason }
        | Verdict::Unavailable { reason, .. } => clean(reason),
        Verdict::NotTheApi => {}
    }
    if answer.correlation_id.as_deref().is_some_and(|id| id.contains(token)) {
        answer.correlation_id = None;
    }
}
