//! Makes the requests. The only file of the upstream that names reqwest.
//!
//! Invariants
//! - A request that times out discards its pool: other connections in it may be dead too, because a tunnel or load
//!   balancer can go on acknowledging.
//! - A body is read to `response::BODY_LIMIT` at most, compressed or not.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::HeaderMap;
use parking_lot::RwLock;
use reqwest::header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use secrecy::{ExposeSecret, SecretString};

use super::decode::{DecodeError, decoded};
use super::fault::{self, ClientError, Traits};
use super::proxy::{Environment, Proxies};
use super::response;
use super::roots::Tls;
use crate::config;

/// Below the 60 s after which common load balancers drop a quiet connection, so that they rarely do
/// so while a request is on its way.
const IDLE_MAX: Duration = Duration::from_secs(50);

/// Pings of an HTTP/2 connection within the time that a request may take: one that leads nowhere is found before
/// a second request is lost on it.
const PINGS_A_REQUEST: u32 = 3;

/// Headers of an answer that are read at most: gateways add many.
const HEADERS_MAX: usize = 256;

/// A response as it was read.
pub(super) struct Raw {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
    pub(super) end: BodyEnd,
}

/// How reading a body ended.
pub(super) enum BodyEnd {
    Whole,
    TooLong,
    Broken(String),
    /// It came whole and cannot be decoded.
    Undecodable(String),
}

/// Why there is no response.
pub(super) struct Unsent {
    pub(super) words: String,
    /// The request may have been taken all the same.
    pub(super) maybe_taken: bool,
}

/// Connections to the API and the login host.
pub(super) struct HttpClient {
    pool: RwLock<Arc<reqwest::Client>>,
    settings: PoolSettings,
}

/// What a pool of connections is made of.
struct PoolSettings {
    tls: rustls::ClientConfig,
    proxies: Vec<reqwest::Proxy>,
    connect_timeout: Duration,
    request_timeout: Duration,
}

impl PoolSettings {
    fn pool(&self) -> Result<Arc<reqwest::Client>, ClientError> {
        let ping = self.request_timeout / PINGS_A_REQUEST;
        let builder = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .connect_timeout(self.connect_timeout)
            .timeout(self.request_timeout)
            .pool_idle_timeout(IDLE_MAX)
            .tcp_user_timeout(self.request_timeout)
            .http2_keep_alive_interval(ping)
            .http2_keep_alive_timeout(ping)
            .http2_keep_alive_while_idle(true)
            .http1_max_headers(HEADERS_MAX)
            .http1_allow_obsolete_multiline_headers_in_responses(true)
            .http1_ignore_invalid_headers_in_responses(true)
            .tls_backend_preconfigured(self.tls.clone())
            .user_agent(concat!("trunkline/", env!("CARGO_PKG_VERSION")));
        // Also not the environment's: the client would pass over what it does not understand.
        let builder = self.proxies.iter().cloned().fold(builder.no_proxy(), reqwest::ClientBuilder::proxy);
        builder.build().map(Arc::new).map_err(|_| ClientError::Tls)
    }
}

/// A client, and what an operator should know of the settings that it was made of.
pub(super) struct Transport {
    pub(super) http: HttpClient,
    pub(super) proxies: Proxies,
    /// Certificates that cannot be used.
    pub(super) skipped: Vec<String>,
}

impl Transport {
    /// Reads the roots; blocks. `is_plain`: both hosts are http on loopback.
    pub(super) fn new(settings: &config::UpstreamConfig, is_plain: bool) -> Result<Self, ClientError> {
        // A sandbox on this host is never behind the environment's proxy.
        let environment = if is_plain {
            Environment::default()
        } else {
            Environment::read(|name: &str| std::env::var(name).ok())
        };
        let proxies = Proxies::new(settings, &environment)?;
        let tls = Tls::new(settings.ca_file.as_deref(), is_plain)?;
        let settings = PoolSettings {
            tls: tls.config,
            proxies: match &settings.proxy {
                Some(url) => vec![reqwest::Proxy::all(url).map_err(|_| ClientError::Proxy)?],
                None => from_environment(&environment),
            },
            connect_timeout: settings.connect_timeout,
            request_timeout: settings.request_timeout,
        };
        let pool = RwLock::new(settings.pool()?);
        Ok(Self { http: HttpClient { pool, settings }, proxies, skipped: tls.skipped })
    }
}

fn from_environment(environment: &Environment) -> Vec<reqwest::Proxy> {
    let https = environment.https().map(reqwest::Proxy::https);
    let http = environment.http().map(reqwest::Proxy::http);
    let no_proxy = reqwest::NoProxy::from_string(&environment.no_proxy);
    // What is no proxy's URL was reported before, where it counts.
    let proxies = https.into_iter().chain(http).flatten();
    proxies.map(|proxy| proxy.no_proxy(no_proxy.clone())).collect()
}

impl HttpClient {
    /// Asks the login host for a token. The error is fit for log and status.
    pub(super) async fn request_token(
        &self,
        url: &str,
        client_id: &str,
        secret: &SecretString,
    ) -> Result<Raw, String> {
        let request = |pool: &reqwest::Client| {
            let form = [("grant_type", "client_credentials")];
            pool.post(url).basic_auth(client_id, Some(secret.expose_secret())).form(&form)
        };
        let raw = self.exchange(request).await.map_err(|unsent| unsent.words)?;
        match raw.end {
            BodyEnd::Broken(words) => Err(words),
            BodyEnd::Undecodable(words) => Err(format!("its answer cannot be read: {words}")),
            BodyEnd::Whole | BodyEnd::TooLong => Ok(raw),
        }
    }

    pub(super) async fn post_events(&self, url: &str, body: Bytes, token: &str) -> Result<Raw, Unsent> {
        let bearer = bearer(token)?;
        let request = |pool: &reqwest::Client| {
            pool.post(url).header(CONTENT_TYPE, "application/json").header(AUTHORIZATION, bearer).body(body)
        };
        self.exchange(request).await
    }

    pub(super) async fn get(&self, url: &str, token: &str) -> Result<Raw, Unsent> {
        let bearer = bearer(token)?;
        self.exchange(|pool| pool.get(url).header(AUTHORIZATION, bearer)).await
    }

    async fn exchange(
        &self,
        request: impl FnOnce(&reqwest::Client) -> reqwest::RequestBuilder,
    ) -> Result<Raw, Unsent> {
        let pool = self.pool.read().clone();
        let request = request(&pool).header(ACCEPT, "application/json").header(ACCEPT_ENCODING, "identity");
        let mut response = request.send().await.map_err(|error| {
            self.leave_after(&error, &pool);
            Unsent { words: self.words(&error), maybe_taken: !(error.is_connect() || error.is_builder()) }
        })?;
        let mut body = Vec::new();
        let end = loop {
            match response.chunk().await {
                Ok(None) => break BodyEnd::Whole,
                Ok(Some(chunk)) if body.len() + chunk.len() > response::BODY_LIMIT => break BodyEnd::TooLong,
                Ok(Some(chunk)) => body.extend_from_slice(&chunk),
                Err(error) => {
                    self.leave_after(&error, &pool);
                    break BodyEnd::Broken(self.words(&error));
                }
            }
        };
        let (status, headers) = (response.status().as_u16(), std::mem::take(response.headers_mut()));
        Ok(Raw::new(status, headers, body, end))
    }

    /// New requests take new connections if this one timed out; those under way keep theirs.
    fn leave_after(&self, error: &reqwest::Error, pool: &Arc<reqwest::Client>) {
        if !error.is_timeout() || error.is_connect() {
            return;
        }
        let mut current = self.pool.write();
        // Others that timed out on it may have left it before.
        if Arc::ptr_eq(&current, pool)
            && let Ok(fresh) = self.settings.pool()
        {
            *current = fresh;
        }
    }

    fn words(&self, error: &reqwest::Error) -> String {
        let traits = Traits { timeout: error.is_timeout(), connect: error.is_connect(), dns: error.is_dns() };
        fault::words(error, traits, self.settings.connect_timeout, self.settings.request_timeout)
    }
}

impl Raw {
    fn new(status: u16, headers: HeaderMap, body: Vec<u8>, end: BodyEnd) -> Self {
        if !matches!(end, BodyEnd::Whole) {
            return Self { status, headers, body, end };
        }
        match decoded(&headers, body, response::BODY_LIMIT) {
            Ok(body) => Self { status, headers, body, end },
            Err(DecodeError::TooLong) => Self { status, headers, body: Vec::new(), end: BodyEnd::TooLong },
            Err(DecodeError::Undecodable(words)) => {
                Self { status, headers, body: Vec::new(), end: BodyEnd::Undecodable(words) }
            }
        }
    }
}

fn bearer(token: &str) -> Result<HeaderValue, Unsent> {
    let Ok(mut bearer) = HeaderValue::from_str(&format!("Bearer {token}")) else {
        return Err(Unsent { words: "the token is no header value".to_owned(), maybe_taken: false });
    };
    bearer.set_sensitive(true);
    Ok(bearer)
}

/// Where a URL leads.
pub(super) struct HostPort {
    /// Name or address, an IPv6 address without brackets.
    pub(super) host: String,
    pub(super) port: u16,
}

impl HostPort {
    /// Of `url`, with the port of its scheme if it names none.
    pub(super) fn of(url: &str) -> Option<Self> {
        let parsed = reqwest::Url::parse(url).ok()?;
        let host = parsed.host_str()?.trim_matches(['[', ']']).to_owned();
        Some(Self { host, port: parsed.port_or_known_default()? })
    }
}

/// An address of the configuration, checked.
pub(super) struct Address {
    /// `http`, not `https`.
    pub(super) is_plain: bool,
    /// Host, with the port if it is not the scheme's own.
    pub(super) shown: String,
}

/// Checks that `url` is https, or http on loopback.
pub(super) fn address(url: &str, key: &'static str) -> Result<Address, ClientError> {
    let parsed = reqwest::Url::parse(url).map_err(|_| ClientError::Address { key })?;
    let host = parsed.host_str().unwrap_or_default();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let loopback =
        host == "localhost" || bare.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
    let is_plain = parsed.scheme() == "http";
    if host.is_empty() || !(parsed.scheme() == "https" || (is_plain && loopback)) {
        return Err(ClientError::Address { key });
    }
    let shown = parsed.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
    Ok(Address { is_plain, shown })
}
