//! Logs in when `state` says so: one login at a time, its outcome for all who wait.

use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::watch;

use super::state::{Cached, TokenState};
use crate::clock::Clock;
use crate::config::{Credentials, Endpoints};
use crate::files::FileReader;
use crate::upstream::gate::SendGate;
use crate::upstream::grant::{self, Grant, LoginFault, LoginFaultKind};
use crate::upstream::http::HttpClient;
use crate::upstream::limiter::RequestPace;
use crate::upstream::secret::{self, Token};
use crate::upstream::types::LoginStatus;

/// The token and how to get one.
pub(in crate::upstream) struct TokenCache {
    source: Mutex<TokenSource>,
    gate: SendGate,
    limiter: RequestPace,
    clock: Clock,
    /// Held through a login: that is what makes it a single flight.
    login: Arc<tokio::sync::Mutex<LoginMemory>>,
    state: Mutex<TokenState>,
    published: watch::Sender<LoginStatus>,
}

/// Who logs in, and where.
#[derive(Clone)]
struct TokenSource {
    credentials: Credentials,
    token_url: String,
}

impl TokenSource {
    fn new(endpoints: &Endpoints, credentials: Credentials) -> Self {
        let token_url = format!("{}/oauth/token", endpoints.login_url.trim_end_matches('/'));
        Self { credentials, token_url }
    }

    /// The same client at the same host: a token of one is a token of the other.
    fn is_same_client(&self, other: &TokenSource) -> bool {
        use Credentials::{AccessTokenFile, Client};
        let same = match (&self.credentials, &other.credentials) {
            (Client { id: ours, .. }, Client { id: theirs, .. }) => ours == theirs,
            (AccessTokenFile(ours), AccessTokenFile(theirs)) => ours == theirs,
            _ => false,
        };
        same && self.token_url == other.token_url
    }
}

/// What earlier logins have shown.
#[derive(Default)]
struct LoginMemory {
    /// The secret of the last login that succeeded, for when its file can't be read at a renewal.
    proven_secret: Option<SecretString>,
    /// What the token file last held.
    file_token: Option<SecretString>,
    files: FileReader,
}

impl TokenCache {
    pub(in crate::upstream) fn new(endpoints: &Endpoints, credentials: Credentials, clock: Clock) -> Self {
        Self {
            source: Mutex::new(TokenSource::new(endpoints, credentials)),
            gate: SendGate::default(),
            limiter: RequestPace::default(),
            clock,
            login: Arc::default(),
            state: Mutex::default(),
            published: watch::Sender::default(),
        }
    }

    /// When requests of ours may start.
    pub(in crate::upstream) fn limiter(&self) -> &RequestPace {
        &self.limiter
    }

    /// Takes other credentials, or the same ones whose secret may have changed in its file. `true` if a
    /// login is due: something is new, or the last one failed. A token of the same client is used until
    /// its successor is there; one of another client is dropped.
    pub(in crate::upstream) async fn configure(
        &self,
        endpoints: &Endpoints,
        credentials: Credentials,
    ) -> bool {
        let mut memory = self.login.lock().await;
        let next = TokenSource::new(endpoints, credentials);
        let before = std::mem::replace(&mut *self.source.lock(), next.clone());
        if !next.is_same_client(&before) {
            self.gate.change();
            *memory = LoginMemory { files: std::mem::take(&mut memory.files), ..LoginMemory::default() };
            self.state.lock().reset();
            return true;
        }
        let had_failed = self.state.lock().retry_at_once();
        let Credentials::Client { secret, secret_files, .. } = next.credentials else {
            // Whoever renews the file's token may have done so.
            return true;
        };
        let secret = match secret {
            Some(secret) => Some(secret),
            None => secret::read_first(&mut memory.files, &secret_files).await.ok(),
        };
        let proven = memory.proven_secret.as_ref().map(ExposeSecret::expose_secret);
        had_failed || secret.as_ref().map(ExposeSecret::expose_secret) != proven
    }

    /// The next login waits for nothing.
    pub(in crate::upstream) fn try_now(&self) {
        self.state.lock().retry_at_once();
    }

    /// Which account is in use, and whether it may send.
    pub(in crate::upstream) fn gate(&self) -> &SendGate {
        &self.gate
    }

    /// How the last login went, now and from now on.
    pub(in crate::upstream) fn login(&self) -> watch::Receiver<LoginStatus> {
        self.published.subscribe()
    }

    /// A token that holds, after a login if need be. Never sleeps: within a pause the last fault comes
    /// back at once.
    pub(in crate::upstream) async fn token(
        self: &Arc<Self>,
        http: &Arc<HttpClient>,
    ) -> Result<Token, LoginFault> {
        match self.cached() {
            Cached::Fresh(token) => Ok(token),
            Cached::Ageing(token) => {
                self.renew_ahead(http);
                Ok(token)
            }
            Cached::Missing => {
                let mut memory = self.login.lock().await;
                match self.cached() {
                    Cached::Fresh(token) | Cached::Ageing(token) => Ok(token),
                    Cached::Missing => self.renew(&mut memory, http).await,
                }
            }
        }
    }

    /// Logs in even if there is a token that holds. Why that failed, if it did.
    pub(in crate::upstream) async fn renew_now(&self, http: &HttpClient) -> Option<String> {
        let mut memory = self.login.lock().await;
        self.renew(&mut memory, http).await.err().map(|fault| fault.reason)
    }

    /// The API refused this token.
    pub(in crate::upstream) fn refused(&self, token: &Token) {
        self.state.lock().refused(token);
    }

    /// The API took this token.
    pub(in crate::upstream) fn taken(&self, token: &Token) {
        self.state.lock().taken(token);
    }

    fn cached(&self) -> Cached {
        self.state.lock().cached(self.clock.mono())
    }

    /// Renews in a task of its own: a login host that hangs must not hold up what a good token can send. The
    /// task ends within the timeout of a request, or with the process: it keeps nothing that would be lost.
    fn renew_ahead(self: &Arc<Self>, http: &Arc<HttpClient>) {
        // Whoever holds the lock is at it.
        let Ok(mut memory) = self.login.clone().try_lock_owned() else { return };
        let (cache, http) = (self.clone(), http.clone());
        tokio::spawn(async move {
            if matches!(cache.cached(), Cached::Ageing(_)) {
                // The outcome is published.
                let _ = cache.renew(&mut memory, &http).await;
            }
        });
    }

    async fn renew(&self, memory: &mut LoginMemory, http: &HttpClient) -> Result<Token, LoginFault> {
        self.state.lock().may_log_in(self.clock.mono())?;
        match self.fetch(memory, http).await {
            Ok(grant) => {
                let (now, now_ms) = (self.clock.mono(), self.clock.unix_ms());
                let mut state = self.state.lock();
                let token = state.granted(grant, self.gate.account().epoch, now, now_ms);
                let expires_at_ms = state.ends_at_ms(now);
                drop(state);
                self.published.send_replace(LoginStatus { expires_at_ms, fault: None });
                Ok(token)
            }
            Err(fault) => {
                let now = self.clock.mono();
                let mut state = self.state.lock();
                state.failed(fault.clone(), now);
                let expires_at_ms = state.ends_at_ms(now);
                drop(state);
                self.published.send_replace(LoginStatus { expires_at_ms, fault: Some(fault.reason.clone()) });
                Err(fault)
            }
        }
    }

    async fn fetch(&self, memory: &mut LoginMemory, http: &HttpClient) -> Result<Grant, LoginFault> {
        let TokenSource { credentials, token_url } = self.source.lock().clone();
        match credentials {
            Credentials::AccessTokenFile(path) => {
                let token = token_of_file(&mut memory.files, path).await?;
                let before = memory.file_token.replace(token.clone());
                self.gate.token_of_file(before.as_ref(), &token);
                Ok(Grant { token, life: None })
            }
            Credentials::Client { id, secret, secret_files } => {
                let is_copy = secret_files.first().is_some_and(|path| secret::is_systemds_copy(path));
                let secret = match secret {
                    Some(secret) => secret,
                    None => file_secret(memory, &secret_files).await?,
                };
                self.limiter.acquire().await;
                let answer = http.request_token(&token_url, &id, &secret).await;
                let raw = answer.map_err(|words| {
                    LoginFault::new(LoginFaultKind::Unavailable, format!("login host not reachable: {words}"))
                })?;
                let grant = grant::grant(raw.status, &raw.headers, &raw.body, self.clock.unix_ms(), &id);
                match &grant {
                    Ok(_) => memory.proven_secret = Some(secret),
                    Err(fault) if fault.kind == LoginFaultKind::Refused => memory.proven_secret = None,
                    // A host that is unwell says nothing about the secret.
                    Err(_) => {}
                }
                match grant {
                    Err(fault) if fault.kind == LoginFaultKind::Refused && is_copy => {
                        let words =
                            "; a secret that was changed since the start needs a restart (LoadCredential=)";
                        Err(LoginFault::new(LoginFaultKind::Refused, format!("{}{words}", fault.reason)))
                    }
                    grant => grant,
                }
            }
        }
    }
}

/// The secret from its files, read at each login so that a changed one is found; while they can't be
/// read, as in the middle of a rotation, the one that last worked.
async fn file_secret(memory: &mut LoginMemory, files: &[PathBuf]) -> Result<SecretString, LoginFault> {
    match (secret::read_first(&mut memory.files, files).await, &memory.proven_secret) {
        (Ok(secret), _) => Ok(secret),
        (Err(_), Some(proven)) => Ok(proven.clone()),
        (Err(words), None) => Err(LoginFault::new(LoginFaultKind::NoSecret, words)),
    }
}

async fn token_of_file(files: &mut FileReader, path: PathBuf) -> Result<SecretString, LoginFault> {
    let shown = path.display().to_string();
    let read = secret::read_first(files, &[path]).await;
    let token = read.map_err(|words| LoginFault::new(LoginFaultKind::NoSecret, words))?;
    // Source: RFC 6750, 2.1. A secret may have spaces, a token may not.
    if token.expose_secret().contains(' ') {
        let words =
            format!("{shown} contains a space, which a token cannot; write only the access token into it");
        return Err(LoginFault::new(LoginFaultKind::NoSecret, words));
    }
    Ok(token)
}
