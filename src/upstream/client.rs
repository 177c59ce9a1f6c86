//! The API as the relay uses it: a token where one is needed, one answer for each request.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use parking_lot::RwLock;
use tokio::sync::watch;

use super::http::{End, Unsent, Wire, address};
use super::probe::SKEW_MAX_SECONDS;
use super::response::{self, Body};
use super::token::{Token, Tokens};
use super::types::{Answer, Login, Outbound, Upstream, Verdict};
use crate::clock::Clock;
use crate::config;

/// The reason for which a new token cannot help.
const IP_NOT_AUTHORIZED: &str = "ip.not.authorized";

/// What was begun for one account is not sent with another's token; whether it may be is decided anew.
const ACCOUNT_CHANGED: &str = "the account was changed meanwhile";

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
        /// The account that this was told of, for [`Client::clear`].
        epoch: u64,
    },
    /// Why it did not.
    Unknown(String),
}

/// The API over HTTP. Cheap to clone; clones share connections and token.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    site: RwLock<Arc<Site>>,
    tokens: Arc<Tokens>,
    clock: Clock,
    skew_ms: AtomicI64,
}

/// Where requests go, and how. Those under way keep the one they began with.
struct Site {
    wire: Arc<Wire>,
    api_url: String,
    host: String,
}

impl Site {
    fn new(settings: &config::Upstream) -> Result<Self, ClientError> {
        let api = address(&settings.endpoints.api_url, "upstream.api_url")?;
        let login = address(&settings.endpoints.login_url, "upstream.login_url")?;
        Ok(Self {
            wire: Arc::new(Wire::new(settings, api.is_plain && login.is_plain)?),
            api_url: settings.endpoints.api_url.trim_end_matches('/').to_owned(),
            host: api.shown,
        })
    }
}

/// New settings that are known to work and are not in force yet.
pub struct Prepared {
    site: Site,
    settings: config::Upstream,
}

impl fmt::Debug for Prepared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prepared").field("host", &self.site.host).finish_non_exhaustive()
    }
}

impl Client {
    /// Sets up connections; sends nothing yet.
    ///
    /// # Errors
    /// If an address, the proxy or the CA file can't be used. A missing secret is none: it shows in
    /// [`Client::login`] and in verdicts.
    pub fn new(settings: &config::Upstream, clock: Clock) -> Result<Self, ClientError> {
        Ok(Self(Arc::new(Inner {
            site: RwLock::new(Arc::new(Site::new(settings)?)),
            tokens: Arc::new(Tokens::new(&settings.endpoints, settings.credentials.clone(), clock.clone())),
            clock,
            skew_ms: AtomicI64::new(SKEW_UNKNOWN),
        })))
    }

    /// Makes all that `settings` need, and changes nothing.
    ///
    /// # Errors
    /// As [`Client::new`].
    pub fn prepare(settings: &config::Upstream) -> Result<Prepared, ClientError> {
        Ok(Prepared { site: Site::new(settings)?, settings: settings.clone() })
    }

    /// Keeps to new settings from now on; requests under way end as they began. Logs in at once if the
    /// credentials or the secret in its file have changed, or if the last login failed; says how that went.
    pub async fn configure(&self, prepared: Prepared) -> Option<Login> {
        let Prepared { site, settings } = prepared;
        *self.0.site.write() = Arc::new(site);
        let is_news = self.0.tokens.configure(&settings.endpoints, settings.credentials).await;
        if !is_news {
            return None;
        }
        let site = self.site();
        let fault = self.0.tokens.renew_now(&site.wire).await;
        Some(Login { fault, ..self.login().borrow().clone() })
    }

    fn site(&self) -> Arc<Site> {
        self.0.site.read().clone()
    }

    /// How the last login went, now and from now on.
    pub fn login(&self) -> watch::Receiver<Login> {
        self.0.tokens.login()
    }

    /// Gets a token now if there is none, and says how that went; one that ages is renewed meanwhile.
    pub async fn log_in(&self) -> Login {
        // The outcome is published either way; what is published is what is told.
        let _outcome = self.0.tokens.token(&self.site().wire).await;
        self.login().borrow().clone()
    }

    /// From now on no account sends anything unless it is cleared: for whoever keeps events that are meant for one.
    pub fn guard(&self) {
        self.0.tokens.clearance().guard();
    }

    /// Lets the account send, and no other.
    pub fn clear(&self, epoch: u64) {
        self.0.tokens.clearance().clear(epoch);
    }

    /// Whether the account now may send.
    pub fn is_cleared(&self) -> bool {
        self.0.tokens.clearance().is_cleared()
    }

    /// The account now. Another number is another client, or a token file with another token.
    pub fn epoch(&self) -> u64 {
        self.0.tokens.clearance().epoch()
    }

    /// The API's host, with the port if it is not the scheme's own.
    pub fn host(&self) -> String {
        self.site().host.clone()
    }

    /// How far our wall clock is ahead of the server's by its last `Date`, to the second; `None`
    /// before the first answer.
    pub fn clock_skew_seconds(&self) -> Option<i64> {
        let skew_ms = self.0.skew_ms.load(Ordering::Relaxed);
        (skew_ms != SKEW_UNKNOWN).then_some(skew_ms / 1000)
    }

    /// Whose token it is: the organisation.
    pub async fn me(&self) -> Me {
        let Inner { tokens, clock, .. } = &*self.0;
        let site = self.site();
        let Site { wire, api_url, .. } = &*site;
        let token = match tokens.token(wire).await {
            Ok(token) => token,
            Err(fault) => return Me::Unknown(fault.reason),
        };
        let raw = match wire.get(&format!("{api_url}/api/v2/tokens/me"), &token).await {
            Ok(raw) => raw,
            Err(unsent) => return Me::Unknown(unsent.words),
        };
        if let Some(date_ms) = response::date_ms(&raw.headers) {
            clock.confirm(date_ms);
            self.note_skew(clock.unix_ms().saturating_sub(date_ms));
        }
        if raw.status == 401 {
            // While nothing is sent nobody else would find out, and a new one would not be read.
            tokens.invalidate(&token);
        }
        let body: serde_json::Value = serde_json::from_slice(&raw.body).unwrap_or_default();
        let field = |name: &str| body["organization"][name].as_str().map(str::to_owned);
        match field("id") {
            Some(id) => Me::Known { name: field("name").unwrap_or_default(), id, epoch: token.epoch() },
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

    async fn post(&self, site: &Site, request: &Outbound, token: &Token) -> Answer {
        let url = format!("{}{}", site.api_url, request.lane.path());
        let sent = site.wire.post_events(&url, request.body.clone(), token).await;
        let now_ms = self.0.clock.unix_ms();
        let mut answer = match sent {
            Ok(raw) => {
                if let Some(date_ms) = response::date_ms(&raw.headers) {
                    self.0.clock.confirm(date_ms);
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
        f.debug_struct("Client").field("host", &self.host()).finish_non_exhaustive()
    }
}

impl Upstream for Client {
    async fn send(&self, request: Outbound) -> Answer {
        let tokens = &self.0.tokens;
        let epoch = tokens.clearance().epoch();
        let site = self.site();
        let wire = &site.wire;
        let token = match tokens.token(wire).await {
            Ok(token) if token.epoch() == epoch => token,
            Ok(_) => return unsent(ACCOUNT_CHANGED),
            Err(fault) => return fault.answer(),
        };
        if !tokens.clearance().may_send(epoch).await {
            return unsent("whose token this is, is not known yet");
        }
        let answer = self.post(&site, &request, &token).await;
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
            Ok(fresh) if fresh.epoch() != epoch => return unsent(ACCOUNT_CHANGED),
            Ok(fresh) if fresh.expose() != token.expose() => fresh,
            Ok(_) => return answer,
            Err(fault) => return fault.answer(),
        };
        let answer = self.post(&site, &request, &fresh).await;
        if answer.status.is_some() && !matches!(answer.verdict, Verdict::Unauthorized { .. }) {
            tokens.confirm(&fresh);
        }
        answer
    }
}

/// The answer to a request that was not made.
fn unsent(reason: &str) -> Answer {
    Answer {
        verdict: Verdict::Unavailable { reason: reason.to_owned(), maybe_taken: false },
        status: None,
        correlation_id: None,
        retry_after: None,
        rate: None,
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
