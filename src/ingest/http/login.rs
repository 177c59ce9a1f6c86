//! Who may hand events over: the login host's part, and the bearer.

use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use parking_lot::Mutex;
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;
use subtle::ConstantTimeEq;

use crate::clock::{Clock, Mono};
use crate::config;

use super::reply::{Refused, answer};

/// What the token says of its life. It ends with the file; SDKs ask again after this.
const EXPIRES_IN: u32 = 86_400;
/// The file is read again for a token that does not fit, but not more often.
const READ_EVERY: Duration = Duration::from_secs(1);
/// What anonymous clients get: a bearer must be something.
const ANONYMOUS: &str = "anonymous";

/// Knows the token of `ingest.http.token_file`.
#[derive(Debug)]
pub(super) struct Login {
    file: Mutex<Option<PathBuf>>,
    known: Mutex<Known>,
    clock: Clock,
}

#[derive(Debug, Default)]
struct Known {
    token: Option<SecretString>,
    read_at: Option<Mono>,
}

impl Login {
    pub(super) fn new(config: &config::HttpConfig, clock: Clock) -> Self {
        let login = Self { file: Mutex::default(), known: Mutex::default(), clock };
        login.configure(config);
        login
    }

    /// Keeps to `config` from now on.
    pub(super) fn configure(&self, config: &config::HttpConfig) {
        let file = if config.allow_anonymous { None } else { config.token_file.clone() };
        let is_news = *self.file.lock() != file;
        if !is_news {
            return;
        }
        *self.known.lock() = Known::default();
        if let Some(file) = &file {
            self.read(file);
        }
        *self.file.lock() = file;
    }

    /// `None`: anybody may.
    fn file(&self) -> Option<PathBuf> {
        self.file.lock().clone()
    }

    /// A file that cannot be read does not stop the daemon: it lets nobody in.
    fn read(&self, file: &Path) {
        let mut known = self.known.lock();
        let now = self.clock.mono();
        if known.read_at.is_some_and(|at| now.since(at) < READ_EVERY) {
            return;
        }
        known.read_at = Some(now);
        match std::fs::read_to_string(file) {
            Ok(text) if !text.trim().is_empty() => known.token = Some(SecretString::from(text.trim())),
            Ok(_) => {
                tracing::warn!(file = %file.display(), "ingest.http.token_file is empty: nobody gets in")
            }
            Err(error) => {
                tracing::warn!(file = %file.display(), %error, "ingest.http.token_file cannot be read");
            }
        }
    }

    fn is_token(&self, given: &str) -> bool {
        let Some(file) = &self.file() else { return true };
        if self.is_known(given) {
            return true;
        }
        // It may have been changed since.
        self.read(file);
        self.is_known(given)
    }

    /// In a time that does not depend on where the two differ.
    fn is_known(&self, given: &str) -> bool {
        let known = self.known.lock();
        let token = known.token.as_ref().map(|token| token.expose_secret().as_bytes());
        token.is_some_and(|token| bool::from(token.ct_eq(given.as_bytes())))
    }

    /// Whether a request's bearer is good.
    pub(super) fn check(&self, headers: &HeaderMap) -> Result<(), Refused> {
        let scheme = "bearer ";
        let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let bearer = given
            .filter(|given| given.get(..scheme.len()).is_some_and(|found| found.eq_ignore_ascii_case(scheme)))
            .map(|given| given[scheme.len()..].trim());
        match bearer {
            Some(bearer) if self.is_token(bearer) => Ok(()),
            None if self.file().is_none() => Ok(()),
            None => Err(Refused::Unauthorized("authentication.required", "a bearer token is required")),
            Some(_) => Err(Refused::Unauthorized(
                "bad.credentials",
                "the bearer token is not the one of ingest.http.token_file",
            )),
        }
    }

    /// `POST /oauth/token` as the login host answers it.
    pub(super) fn token(&self, headers: &HeaderMap, form: &[u8]) -> Response {
        let failed = |error: &str, description: &str| {
            let body = json!({"error": error, "description": description, "error_description": description});
            answer(StatusCode::BAD_REQUEST, Bytes::from(body.to_string()))
        };
        let (mut grant, mut secret) = (None, basic_secret(headers));
        for (name, value) in form_urlencoded::parse(form) {
            match name.as_ref() {
                "grant_type" => grant = Some(value.into_owned()),
                "client_secret" if secret.is_none() => secret = Some(value.into_owned()),
                _ => {}
            }
        }
        if grant.as_deref() != Some("client_credentials") {
            return failed("unsupported_grant_type", "only client_credentials is taken");
        }
        let Some(secret) = secret.filter(|secret| self.is_token(secret)) else {
            return failed("invalid_client", "the secret is not the token of ingest.http.token_file");
        };
        let token = if self.file().is_none() { ANONYMOUS } else { secret.as_str() };
        let body = json!({"access_token": token, "token_type": "bearer", "expires_in": EXPIRES_IN});
        answer(StatusCode::OK, Bytes::from(body.to_string()))
    }
}

/// The secret of `Authorization: Basic`; some SDKs encode its parts as a form does.
fn basic_secret(headers: &HeaderMap) -> Option<String> {
    let given = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, encoded) = given.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = STANDARD.decode(encoded.trim()).ok()?;
    let text = String::from_utf8(decoded).ok()?;
    text.split_once(':').map(|(_, secret)| secret.to_owned())
}
