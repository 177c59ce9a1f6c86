//! Makes the requests. The only file that names reqwest.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use hyper::HeaderMap;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use secrecy::{ExposeSecret, SecretString};

use super::fault::{self, ClientError, Traits};
use super::response;
use crate::config;

/// Below the 60 s after which common load balancers drop a quiet connection, so that they rarely do
/// so while a request is on its way.
const IDLE_MAX: Duration = Duration::from_secs(50);

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
}

/// Why there is no response.
pub(super) struct Unsent {
    pub(super) words: String,
    /// The request may have been taken all the same.
    pub(super) maybe_taken: bool,
}

/// Connections to the API and the login host.
pub(super) struct HttpClient {
    http: reqwest::Client,
    connect_timeout: Duration,
    request_timeout: Duration,
}

impl HttpClient {
    pub(super) fn new(settings: &config::UpstreamConfig, plain: bool) -> Result<Self, ClientError> {
        // Fails only if there is one already, and then that one serves.
        let _installed = rustls::crypto::ring::default_provider().install_default();
        let mut builder = reqwest::Client::builder()
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
            BodyEnd::Broken(words) => Err(words),
            BodyEnd::Whole | BodyEnd::TooLong => Ok(raw),
        }
    }

    pub(super) async fn post_events(&self, url: &str, body: Bytes, token: &str) -> Result<Raw, Unsent> {
        let request = self
            .http
            .post(url)
            .header(CONTENT_TYPE, "application/json")
            .header(ACCEPT, "application/json")
            .header(AUTHORIZATION, bearer(token)?)
            .body(body);
        self.exchange(request).await
    }

    pub(super) async fn get(&self, url: &str, token: &str) -> Result<Raw, Unsent> {
        let request =
            self.http.get(url).header(ACCEPT, "application/json").header(AUTHORIZATION, bearer(token)?);
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
                Ok(None) => break BodyEnd::Whole,
                Ok(Some(chunk)) if body.len() + chunk.len() > response::BODY_LIMIT => break BodyEnd::TooLong,
                Ok(Some(chunk)) => body.extend_from_slice(&chunk),
                Err(error) => break BodyEnd::Broken(self.words(&error)),
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

fn bearer(token: &str) -> Result<HeaderValue, Unsent> {
    let Ok(mut bearer) = HeaderValue::from_str(&format!("Bearer {token}")) else {
        return Err(Unsent { words: "the token is no header value".to_owned(), maybe_taken: false });
    };
    bearer.set_sensitive(true);
    Ok(bearer)
}

/// Host and port of a URL.
pub(super) fn host_and_port(url: &str) -> Option<(String, u16)> {
    let parsed = reqwest::Url::parse(url).ok()?;
    Some((parsed.host_str()?.trim_matches(['[', ']']).to_owned(), parsed.port_or_known_default()?))
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

fn roots(path: &Path) -> Result<Vec<reqwest::Certificate>, ClientError> {
    let pem =
        std::fs::read(path).map_err(|source| ClientError::CaFileRead { path: path.to_owned(), source })?;
    let roots = reqwest::Certificate::from_pem_bundle(&pem).unwrap_or_default();
    if roots.is_empty() { Err(ClientError::CaFileFormat { path: path.to_owned() }) } else { Ok(roots) }
}
