//! Makes the requests. The only file that names reqwest.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use hyper::HeaderMap;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::watch;

use super::fault::{self, Traits};
use super::response::{self, Body};
use super::token::{Token, Tokens};
use super::types::{Answer, Login, Outbound, Upstream, Verdict};
use crate::clock::Clock;
use crate::config;

/// Below the 60 s after which common load balancers drop a quiet connection, so that they rarely do
/// so while a request is on its way.
const IDLE_MAX: Duration = Duration::from_secs(50);

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
        let plain = api.scheme() == "http" && login.scheme() == "http";
        let name = api.host_str().unwrap_or_default();
        let host = api.port().map_or_else(|| name.to_owned(), |port| format!("{name}:{port}"));
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

    async fn post(&self, request: &Outbound, token: &Token) -> Answer {
        let url = format!("{}{}", self.0.api_url, request.lane.path());
        let sent = self.0.wire.post_events(&url, request.body.clone(), token).await;
        let now_ms = self.0.clock.unix_ms();
        let mut answer = match sent {
            Ok(raw) => {
                if let Some(date_ms) = response::date_ms(&raw.headers) {
                    self.0.skew_ms.store(now_ms.saturating_sub(date_ms), Ordering::Relaxed);
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

/// A response as it was read.
pub(super) struct Raw {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
    end: End,
}

enum End {
    Whole,
    TooLong,
    Broken(String),
}

struct Unsent {
    words: String,
    maybe_taken: bool,
}

/// Connections to the API and the login host.
pub(super) struct Wire {
    http: reqwest::Client,
    connect_timeout: Duration,
    request_timeout: Duration,
}

impl Wire {
    fn new(settings: &config::Upstream, plain: bool) -> Result<Self, ClientError> {
        // Fails only if there is one already, and then that one serves.
        let _installed = rustls::crypto::ring::default_provider().install_default();
        let mut builder = reqwest::Client::builder()
            .http1_only()
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .connect_timeout(settings.connect_timeout)
            .timeout(settings.request_timeout)
            .pool_idle_timeout(IDLE_MAX)
            .user_agent(concat!("trunkline/", env!("CARGO_PKG_VERSION")));
        builder = match &settings.proxy {
            Some(url) => builder.proxy(reqwest::Proxy::all(url).map_err(|_| ClientError::Proxy)?),
            // A sandbox on this host is never behind the environment's proxy.
            None if plain => builder.no_proxy(),
            None => builder,
        };
        builder = match &settings.ca_file {
            Some(path) => builder.tls_certs_merge(roots(path)?),
            // Without TLS no roots are needed: a sandbox runs in a bare container, too.
            None if plain => builder.tls_certs_only([]),
            None => builder,
        };
        Ok(Self {
            http: builder.build().map_err(|_| ClientError::Tls)?,
            connect_timeout: settings.connect_timeout,
            request_timeout: settings.request_timeout,
        })
    }

    /// Asks the login host for a token. The error is fit for log and status.
    pub(super) async fn request_token(
        &self,
        url: &str,
        client_id: &str,
        secret: &SecretString,
    ) -> Result<Raw, String> {
        let request = self
            .http
            .post(url)
            .header(ACCEPT, "application/json")
            .basic_auth(client_id, Some(secret.expose_secret()))
            .form(&[("grant_type", "client_credentials")]);
        let raw = self.exchange(request).await.map_err(|unsent| unsent.words)?;
        match raw.end {
            End::Broken(words) => Err(words),
            End::Whole | End::TooLong => Ok(raw),
        }
    }

    async fn post_events(&self, url: &str, body: Bytes, token: &Token) -> Result<Raw, Unsent> {
        let Ok(mut bearer) = HeaderValue::from_str(&format!("Bearer {}", token.expose())) else {
            return Err(Unsent { words: "the token is no header value".to_owned(), maybe_taken: false });
        };
        bearer.set_sensitive(true);
        let request = self
            .http
            .post(url)
            .header(CONTENT_TYPE, "application/json")
            .header(ACCEPT, "application/json")
            .header(AUTHORIZATION, bearer)
            .body(body);
        self.exchange(request).await
    }

    async fn exchange(&self, request: reqwest::RequestBuilder) -> Result<Raw, Unsent> {
        let mut response = request.send().await.map_err(|error| Unsent {
            words: self.words(&error),
            maybe_taken: !(error.is_connect() || error.is_builder()),
        })?;
        let mut body = Vec::new();
        let end = loop {
            match response.chunk().await {
                Ok(None) => break End::Whole,
                Ok(Some(chunk)) if body.len() + chunk.len() > response::BODY_LIMIT => break End::TooLong,
                Ok(Some(chunk)) => body.extend_from_slice(&chunk),
                Err(error) => break End::Broken(self.words(&error)),
            }
        };
        let headers = std::mem::take(response.headers_mut());
        Ok(Raw { status: response.status().as_u16(), headers, body, end })
    }

    fn words(&self, error: &reqwest::Error) -> String {
        let traits = Traits { timeout: error.is_timeout(), connect: error.is_connect(), dns: error.is_dns() };
        fault::words(error, traits, self.connect_timeout, self.request_timeout)
    }
}

fn address(url: &str, key: &'static str) -> Result<reqwest::Url, ClientError> {
    let parsed = reqwest::Url::parse(url).map_err(|_| ClientError::Address { key })?;
    let host = parsed.host_str().unwrap_or_default();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let loopback =
        host == "localhost" || bare.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
    let fits = !host.is_empty() && (parsed.scheme() == "https" || (parsed.scheme() == "http" && loopback));
    if fits { Ok(parsed) } else { Err(ClientError::Address { key }) }
}

fn roots(path: &Path) -> Result<Vec<reqwest::Certificate>, ClientError> {
    let pem =
        std::fs::read(path).map_err(|source| ClientError::CaFileRead { path: path.to_owned(), source })?;
    let roots = reqwest::Certificate::from_pem_bundle(&pem).unwrap_or_default();
    if roots.is_empty() { Err(ClientError::CaFileFormat { path: path.to_owned() }) } else { Ok(roots) }
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
