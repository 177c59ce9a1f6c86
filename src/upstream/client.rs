//! The API as the relay uses it: a token where one is needed, one answer for each request.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use tokio::sync::watch;

use super::fault::ClientError;
use super::gate::{Permit, SendGate};
use super::http::{BodyEnd, HttpClient, Raw, Transport, Unsent, address};
use super::proxy::Proxies;
use super::response::{self, Body};
use super::scrub::scrub;
use super::secret::Token;
use super::skew::ClockSkew;
use super::token::TokenCache;
use super::types::{Answer, LoginStatus, Outbound, RateLimiter, Upstream, Verdict};
use crate::clock::Clock;
use crate::config;

/// The reason for which a new token cannot help.
const IP_NOT_AUTHORIZED: &str = "ip.not.authorized";

/// What was begun for one account is not sent with another's token; whether it may be is decided again.
const ACCOUNT_CHANGED: &str = "the account was changed meanwhile";

/// How long after its start the relay's request may leave without being counted again. Less than the slack of the pace.
const START_HOLDS: Duration = Duration::from_millis(100);

/// Whose token it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenOwner {
    /// The API said so.
    Known {
        /// Organisation's name.
        name: String,
        /// Organisation's id.
        id: String,
        /// The account that this was told of, for [`SendGate::decide`].
        epoch: u64,
    },
    /// Why it did not.
    Unknown(String),
}

/// The API over HTTP. Cheap to clone; clones share connections and token.
#[derive(Clone)]
pub struct Client(Arc<ClientState>);

struct ClientState {
    target: RwLock<Arc<Target>>,
    tokens: Arc<TokenCache>,
    clock: Clock,
    skew: ClockSkew,
}

/// Where requests go, and how. Those under way keep the one they began with.
struct Target {
    http: Arc<HttpClient>,
    api_url: String,
    host: String,
    proxies: Proxies,
    /// Certificates that cannot be used.
    skipped: Vec<String>,
}

impl Target {
    fn new(settings: &config::UpstreamConfig) -> Result<Self, ClientError> {
        let api = address(&settings.endpoints.api_url, "upstream.api_url")?;
        let login = address(&settings.endpoints.login_url, "upstream.login_url")?;
        let Transport { http, proxies, skipped } = Transport::new(settings, api.is_plain && login.is_plain)?;
        Ok(Self {
            http: Arc::new(http),
            api_url: settings.endpoints.api_url.trim_end_matches('/').to_owned(),
            host: api.shown,
            proxies,
            skipped,
        })
    }

    fn tell_skipped(&self) {
        for certificate in &self.skipped {
            tracing::warn!(certificate, "a CA certificate cannot be used and is skipped");
        }
    }
}

/// New settings that are known to work and are not in force yet.
pub struct Prepared {
    target: Target,
    settings: config::UpstreamConfig,
}

impl fmt::Debug for Prepared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prepared").field("host", &self.target.host).finish_non_exhaustive()
    }
}

impl Prepared {
    /// What is passed over: certificates that cannot be used.
    pub fn warnings(&self) -> &[String] {
        &self.target.skipped
    }
}

impl Client {
    /// Sets up connections; sends nothing yet.
    ///
    /// # Errors
    /// If an address, the proxy or the CA file can't be used. A missing secret is none: it shows in
    /// [`Client::login`] and in verdicts.
    pub fn new(settings: &config::UpstreamConfig, clock: Clock) -> Result<Self, ClientError> {
        let tokens = TokenCache::new(&settings.endpoints, settings.credentials.clone(), clock.clone());
        let target = Target::new(settings)?;
        target.tell_skipped();
        Ok(Self(Arc::new(ClientState {
            target: RwLock::new(Arc::new(target)),
            tokens: Arc::new(tokens),
            clock,
            skew: ClockSkew::default(),
        })))
    }

    /// Makes all that `settings` need, and changes nothing.
    ///
    /// # Errors
    /// As [`Client::new`].
    pub fn prepare(settings: &config::UpstreamConfig) -> Result<Prepared, ClientError> {
        Ok(Prepared { target: Target::new(settings)?, settings: settings.clone() })
    }

    /// Keeps to new settings from now on; requests under way end as they began. Logs in at once if the
    /// credentials or the secret in its file have changed, or if the last login failed; says how that went.
    pub async fn configure(&self, prepared: Prepared) -> Option<LoginStatus> {
        let Prepared { target, settings } = prepared;
        target.tell_skipped();
        *self.0.target.write() = Arc::new(target);
        let is_news = self.0.tokens.configure(&settings.endpoints, settings.credentials).await;
        if !is_news {
            return None;
        }
        let fault = self.0.tokens.renew_now(&self.target().http).await;
        Some(LoginStatus { fault, ..self.login().borrow().clone() })
    }

    /// How the last login went, now and from now on.
    pub fn login(&self) -> watch::Receiver<LoginStatus> {
        self.0.tokens.login()
    }

    /// Gets a token now if there is none, and says how that went; one that ages is renewed meanwhile.
    pub async fn log_in(&self) -> LoginStatus {
        // The outcome is published either way; what is published is what counts.
        let _outcome = self.0.tokens.token(&self.target().http).await;
        self.login().borrow().clone()
    }

    /// Asks this limiter before each request that the relay did not start.
    pub fn keep_to(&self, limiter: Arc<dyn RateLimiter>) {
        self.0.tokens.limiter().keep_to(limiter);
    }

    /// Which account is in use, and whether it may send.
    pub fn gate(&self) -> &SendGate {
        self.0.tokens.gate()
    }

    /// The API's host, with the port if it is not the scheme's own.
    pub fn host(&self) -> String {
        self.target().host.clone()
    }

    /// The proxy on the way to the API and what names it, password masked.
    pub fn proxy(&self) -> Option<String> {
        self.target().proxies.api.as_ref().map(ToString::to_string)
    }

    /// The proxies on the way to each host.
    pub(super) fn proxies(&self) -> Proxies {
        self.target().proxies.clone()
    }

    /// How far our wall clock is ahead of the server's by its last `Date`, to the second; `None`
    /// before the first answer.
    pub fn clock_skew_seconds(&self) -> Option<i64> {
        self.0.skew.seconds()
    }

    /// Whose token it is: the organisation.
    pub async fn token_owner(&self) -> TokenOwner {
        let (tokens, target) = (&self.0.tokens, self.target());
        let token = match tokens.token(&target.http).await {
            Ok(token) => token,
            Err(fault) => return TokenOwner::Unknown(fault.reason),
        };
        let url = format!("{}/api/v2/tokens/me", target.api_url);
        tokens.limiter().acquire().await;
        let raw = match target.http.get(&url, token.expose()).await {
            Ok(raw) => raw,
            Err(unsent) => return TokenOwner::Unknown(unsent.words),
        };
        if raw.status == 401 {
            // While nothing is sent nobody else would find out, and a new one would not be read.
            tokens.refused(&token);
        }
        let body: serde_json::Value = serde_json::from_slice(&raw.body).unwrap_or_default();
        let field = |name: &str| body["organization"][name].as_str().map(str::to_owned);
        match field("id") {
            Some(id) => {
                self.note_date(&raw, self.0.clock.unix_ms());
                TokenOwner::Known { name: field("name").unwrap_or_default(), id, epoch: token.epoch() }
            }
            None => TokenOwner::Unknown(format!("status {}, which names no organisation", raw.status)),
        }
    }

    fn target(&self) -> Arc<Target> {
        self.0.target.read().clone()
    }

    /// The date of an answer that is the API's: a proxy's clock may be anything.
    fn note_date(&self, raw: &Raw, now_ms: i64) {
        if let Some(date_ms) = response::date_ms(&raw.headers) {
            self.0.clock.confirm(date_ms);
            self.0.skew.note(now_ms.saturating_sub(date_ms));
        }
    }

    /// As `post`, once the pace allows it. Meanwhile the account may have turned out to be another's.
    async fn post_later(&self, target: &Target, request: &Outbound, token: &Token) -> Answer {
        self.0.tokens.limiter().acquire().await;
        if !self.gate().is_open_for(token.epoch()) {
            return unsent(ACCOUNT_CHANGED);
        }
        self.post(target, request, token).await
    }

    async fn post(&self, target: &Target, request: &Outbound, token: &Token) -> Answer {
        let url = format!("{}{}", target.api_url, request.lane.path());
        let sent = target.http.post_events(&url, request.body.clone(), token.expose()).await;
        let now_ms = self.0.clock.unix_ms();
        let mut answer = match sent {
            Ok(raw) => {
                let body = match &raw.end {
                    BodyEnd::Whole => Body::Whole(&raw.body),
                    BodyEnd::TooLong => Body::TooLong,
                    BodyEnd::Broken(words) => Body::Broken(words),
                    BodyEnd::Undecodable(words) => Body::Undecodable(words),
                };
                let answer = response::answer(raw.status, &raw.headers, body, now_ms);
                if answer.by_api || matches!(answer.verdict, Verdict::Taken { .. }) {
                    self.note_date(&raw, now_ms);
                }
                answer
            }
            Err(Unsent { words, maybe_taken }) => {
                Answer::without_response(Verdict::Unavailable { reason: words, maybe_taken })
            }
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
    fn try_now(&self) {
        self.0.tokens.try_now();
    }

    async fn send(&self, request: Outbound) -> Answer {
        let (tokens, target) = (&self.0.tokens, self.target());
        let started = self.0.clock.mono();
        let epoch = self.gate().account().epoch;
        let token = match tokens.token(&target.http).await {
            Ok(token) if token.epoch() == epoch => token,
            Ok(_) => return unsent(ACCOUNT_CHANGED),
            Err(fault) => return fault.answer(),
        };
        match self.gate().permit(epoch).await {
            Permit::Granted => {}
            Permit::Replaced => return unsent(ACCOUNT_CHANGED),
            Permit::Withheld => return unsent("the token's organisation is not known yet"),
        }
        // The relay counted a start that is over if a login took its time.
        let is_late = self.0.clock.mono().since(started) > START_HOLDS;
        let answer = if is_late {
            self.post_later(&target, &request, &token).await
        } else {
            self.post(&target, &request, &token).await
        };
        let Verdict::Unauthorized { reason } = &answer.verdict else {
            if answer.status.is_some() {
                tokens.taken(&token);
            }
            return answer;
        };
        if reason == IP_NOT_AUTHORIZED {
            return answer;
        }
        tokens.refused(&token);
        let fresh = match tokens.token(&target.http).await {
            Ok(fresh) if fresh.epoch() != epoch => return unsent(ACCOUNT_CHANGED),
            Ok(fresh) if fresh.expose() != token.expose() => fresh,
            Ok(_) => return answer,
            Err(fault) => return fault.answer(),
        };
        let answer = self.post_later(&target, &request, &fresh).await;
        if answer.status.is_some() && !matches!(answer.verdict, Verdict::Unauthorized { .. }) {
            tokens.taken(&fresh);
        }
        answer
    }
}

/// The answer to a request that was not made.
fn unsent(reason: &str) -> Answer {
    Answer::without_response(Verdict::Unavailable { reason: reason.to_owned(), maybe_taken: false })
}
