//! Who may hand events over: the login host's part, and the bearer.

use std::sync::Arc;

use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use parking_lot::Mutex;
use serde_json::json;

use crate::config;

use super::reply::{HttpRefusal, answer};
use super::token_file::TokenFile;

/// What the token says of its life. It ends with the file; SDKs ask again after this.
const EXPIRES_IN: u32 = 86_400;
/// What anonymous clients get: a bearer must be something.
const ANONYMOUS: &str = "anonymous";

/// Knows who gets in.
#[derive(Debug)]
pub(super) struct Authenticator {
    access: Mutex<Access>,
}

#[derive(Clone, Debug)]
enum Access {
    /// `ingest.http.allow_anonymous` is set.
    Anybody,
    /// Neither that nor a token file is set: the door was handed over by systemd, or a reload took its section away.
    Nobody,
    /// Those who have the token of `ingest.http.token_file`.
    Token(Arc<TokenFile>),
}

/// Why a login was refused, as the login host says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LoginError {
    UnsupportedGrant,
    InvalidClient,
}

impl LoginError {
    /// The login host's code, which is ours in metrics and logs, too.
    pub(super) const fn code(self) -> &'static str {
        match self {
            LoginError::UnsupportedGrant => "unsupported_grant_type",
            LoginError::InvalidClient => "invalid_client",
        }
    }

    pub(super) fn response(self) -> Response {
        let description = match self {
            LoginError::UnsupportedGrant => "only client_credentials is supported",
            LoginError::InvalidClient => "the secret does not match ingest.http.token_file",
        };
        let body = json!({
            "error": self.code(),
            "description": description,
            "error_description": description,
        });
        answer(StatusCode::BAD_REQUEST, Bytes::from(body.to_string()))
    }
}

impl Authenticator {
    pub(super) fn new(config: &config::HttpConfig) -> Self {
        let authenticator = Self { access: Mutex::new(Access::Nobody) };
        authenticator.configure(config);
        authenticator
    }

    /// Keeps to `config` from now on.
    pub(super) fn configure(&self, config: &config::HttpConfig) {
        let mut access = self.access.lock();
        *access = match (&*access, &config.token_file) {
            _ if config.allow_anonymous => Access::Anybody,
            (_, None) => Access::Nobody,
            (Access::Token(file), Some(path)) if file.path() == path.as_path() => return,
            (_, Some(path)) => Access::Token(Arc::new(TokenFile::new(path.clone()))),
        };
    }

    /// Reads the token file, if there is one, and tells why nobody gets in.
    pub(super) async fn look(&self) {
        match self.access() {
            Access::Anybody => {}
            Access::Nobody => {
                tracing::warn!("the HTTP door refuses all requests: set ingest.http.token_file");
            }
            Access::Token(file) => file.look().await,
        }
    }

    fn access(&self) -> Access {
        self.access.lock().clone()
    }

    fn is_open_to_anybody(&self) -> bool {
        matches!(*self.access.lock(), Access::Anybody)
    }

    async fn is_token(&self, given: &str) -> bool {
        match self.access() {
            Access::Anybody => true,
            Access::Nobody => false,
            Access::Token(file) => {
                // It may have been changed, or taken away, since the last request.
                file.look().await;
                file.is_token(given)
            }
        }
    }

    /// Whether a request's bearer is good.
    pub(super) async fn check(&self, headers: &HeaderMap) -> Result<(), HttpRefusal> {
        let scheme = "bearer ";
        let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let bearer = given
            .filter(|given| given.get(..scheme.len()).is_some_and(|found| found.eq_ignore_ascii_case(scheme)))
            .map(|given| given[scheme.len()..].trim());
        match bearer {
            Some(bearer) if self.is_token(bearer).await => Ok(()),
            None if self.is_open_to_anybody() => Ok(()),
            None => Err(HttpRefusal::Unauthorized("authentication.required", "a bearer token is required")),
            Some(_) => Err(HttpRefusal::Unauthorized(
                "bad.credentials",
                "the bearer token does not match ingest.http.token_file",
            )),
        }
    }

    /// `POST /oauth/token` as the login host answers it.
    pub(super) async fn token(&self, headers: &HeaderMap, form: &[u8]) -> Result<Response, LoginError> {
        let (mut grant, mut secret) = (None, basic_secret(headers));
        for (name, value) in form_urlencoded::parse(form) {
            match name.as_ref() {
                "grant_type" => grant = Some(value.into_owned()),
                "client_secret" if secret.is_none() => secret = Some(value.into_owned()),
                _ => {}
            }
        }
        if grant.as_deref() != Some("client_credentials") {
            return Err(LoginError::UnsupportedGrant);
        }
        let secret = secret.ok_or(LoginError::InvalidClient)?;
        if !self.is_token(&secret).await {
            return Err(LoginError::InvalidClient);
        }
        let token = if self.is_open_to_anybody() { ANONYMOUS } else { secret.as_str() };
        let body = json!({"access_token": token, "token_type": "bearer", "expires_in": EXPIRES_IN});
        Ok(answer(StatusCode::OK, Bytes::from(body.to_string())))
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
