//! Keeps the token: fetched once for all who wait, renewed ahead, fetched anew when the API refuses it.
//!
//! none ──login──> fresh ──age──> ageing ──login──> fresh
//!   ^               └──401────────┴──> none
//!   └── refused: pause 1 s … 60 s
//!
//! Invariants
//! - One login at a time; who waited for it gets its outcome, good or bad.
//! - A token that still holds is used while its successor can't be had, and nobody waits for that.
//! - After a failed login, and after a fresh token that the API refuses, there is a pause, whoever asks.
//! - A token from a file that is not the one before counts as another account's, until somebody clears it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::watch;

use super::clearance::Clearance;
use super::grant::{self, Fault, FaultKind, Grant};
use super::http::Wire;
use super::secret;
use super::types::Login;
use crate::clock::{Clock, Mono};
use crate::config::{Credentials, Endpoints};

/// A token to send with. Tells which one it was when the API refuses it.
#[derive(Clone)]
pub(super) struct Token {
    generation: u64,
    /// Of whose account it is.
    epoch: u64,
    secret: SecretString,
}

impl Token {
    /// The token itself.
    pub(super) fn expose(&self) -> &str {
        self.secret.expose_secret()
    }

    /// Of whose account it is: what was begun for another may not be sent with it.
    pub(super) fn epoch(&self) -> u64 {
        self.epoch
    }
}

/// The token and how to get one.
pub(super) struct Tokens {
    account: Mutex<Account>,
    clearance: Clearance,
    clock: Clock,
    /// Held through a login: that is what makes it a single flight.
    attempts: Arc<tokio::sync::Mutex<Attempts>>,
    held: Mutex<Held>,
    published: watch::Sender<Login>,
}

/// Who logs in, and where.
#[derive(Clone)]
struct Account {
    credentials: Credentials,
    token_url: String,
}

impl Account {
    fn new(endpoints: &Endpoints, credentials: Credentials) -> Self {
        let token_url = format!("{}/oauth/token", endpoints.login_url.trim_end_matches('/'));
        Self { credentials, token_url }
    }

    /// The same client at the same host: a token of one is a token of the other.
    fn is_same_client(&self, other: &Account) -> bool {
        use Credentials::{AccessTokenFile, Client};
        let same = match (&self.credentials, &other.credentials) {
            (Client { id: ours, .. }, Client { id: theirs, .. }) => ours == theirs,
            (AccessTokenFile(ours), AccessTokenFile(theirs)) => ours == theirs,
            _ => false,
        };
        same && self.token_url == other.token_url
    }
}

#[derive(Default)]
struct Attempts {
    failures: u32,
    generation: u64,
    /// The last failure and when its pause ends.
    paused: Option<(Mono, Fault)>,
    /// The secret of the last login that succeeded, for when its file can't be read at a renewal.
    proven_secret: Option<SecretString>,
    /// What the token file last held.
    file_token: Option<SecretString>,
}

#[derive(Default)]
struct Held {
    current: Option<Current>,
    /// Fresh tokens in a row that the API refused.
    refused_fresh: u32,
    /// No other login before this, unless the fresh token is taken.
    trial_until: Option<Mono>,
}

struct Current {
    token: Token,
    renew_at: Option<Mono>,
    expires_at: Option<Mono>,
    expires_at_ms: Option<i64>,
    /// It replaces one that the API refused and has not been taken yet.
    on_trial: bool,
}

enum Cached {
    Fresh(Token),
    Ageing(Token),
    Missing,
}

impl Tokens {
    pub(super) fn new(endpoints: &Endpoints, credentials: Credentials, clock: Clock) -> Self {
        Self {
            account: Mutex::new(Account::new(endpoints, credentials)),
            clearance: Clearance::default(),
            clock,
            attempts: Arc::default(),
            held: Mutex::default(),
            published: watch::Sender::default(),
        }
    }

    /// Takes other credentials, or the same ones whose secret may have changed in its file. `true` if a
    /// login is due: something is new, or the last one failed. A token of the same client is used until
    /// its successor is there; one of another client is dropped.
    pub(super) async fn configure(&self, endpoints: &Endpoints, credentials: Credentials) -> bool {
        let mut attempts = self.attempts.lock().await;
        let next = Account::new(endpoints, credentials);
        let before = std::mem::replace(&mut *self.account(), next.clone());
        if !next.is_same_client(&before) {
            self.clearance.change();
            *attempts = Attempts { generation: attempts.generation, ..Attempts::default() };
            *self.held() = Held::default();
            return true;
        }
        let failed = attempts.paused.take().is_some();
        let is_refused = std::mem::take(&mut self.held().refused_fresh) > 0;
        self.held().trial_until = None;
        let Credentials::Client { secret, secret_files, .. } = next.credentials else {
            // Whoever renews the file's token may have done so.
            return true;
        };
        let secret = match secret {
            Some(secret) => Some(secret),
            None => secret::read_first(secret_files).await.ok(),
        };
        let proven = attempts.proven_secret.as_ref().map(ExposeSecret::expose_secret);
        failed || is_refused || secret.as_ref().map(ExposeSecret::expose_secret) != proven
    }

    /// Logs in even if there is a token that holds. Why that failed, if it did.
    pub(super) async fn renew_now(&self, wire: &Wire) -> Option<String> {
        let mut attempts = self.attempts.lock().await;
        self.renew(&mut attempts, wire).await.err().map(|fault| fault.reason)
    }

    /// Whose token it is, and who may send.
    pub(super) fn clearance(&self) -> &Clearance {
        &self.clearance
    }

    /// How the last login went, now and from now on.
    pub(super) fn login(&self) -> watch::Receiver<Login> {
        self.published.subscribe()
    }

    /// A token that holds, after a login if need be. Never sleeps: within a pause the last fault comes
    /// back at once.
    pub(super) async fn token(self: &Arc<Self>, wire: &Arc<Wire>) -> Result<Token, Fault> {
        match self.cached() {
            Cached::Fresh(token) => Ok(token),
            Cached::Ageing(token) => {
                self.renew_ahead(wire);
                Ok(token)
            }
            Cached::Missing => {
                let mut attempts = self.attempts.lock().await;
                match self.cached() {
                    Cached::Fresh(token) | Cached::Ageing(token) => Ok(token),
                    Cached::Missing => self.renew(&mut attempts, wire).await,
                }
            }
        }
    }

    /// Renews in a task of its own: a login host that hangs must not hold up what a good token can send. The
    /// task ends within the timeout of a request, or with the process: it keeps nothing that would be lost.
    fn renew_ahead(self: &Arc<Self>, wire: &Arc<Wire>) {
        // Whoever holds the lock is at it.
        let Ok(mut attempts) = self.attempts.clone().try_lock_owned() else { return };
        let (tokens, wire) = (self.clone(), wire.clone());
        tokio::spawn(async move {
            if matches!(tokens.cached(), Cached::Ageing(_)) {
                // The outcome is published.
                let _ = tokens.renew(&mut attempts, &wire).await;
            }
        });
    }

    /// The API refused this token. Another than the one in use is none of our business any more.
    pub(super) fn invalidate(&self, token: &Token) {
        let mut held = self.held();
        if let Some(current) = held.current.take_if(|current| current.token.generation == token.generation) {
            held.refused_fresh =
                if current.on_trial { held.refused_fresh + 1 } else { held.refused_fresh.max(1) };
        }
    }

    /// The API took this token.
    pub(super) fn confirm(&self, token: &Token) {
        let mut held = self.held();
        if let Some(current) = &mut held.current
            && current.token.generation == token.generation
        {
            current.on_trial = false;
            held.refused_fresh = 0;
            held.trial_until = None;
        }
    }

    async fn renew(&self, attempts: &mut Attempts, wire: &Wire) -> Result<Token, Fault> {
        let now = self.clock.mono();
        if let Some((until, fault)) = &attempts.paused
            && now < *until
        {
            return Err(fault.clone());
        }
        if self.held().trial_until.is_some_and(|until| now < until) {
            return Err(refused_fresh());
        }
        match self.fetch(attempts, wire).await {
            Ok(grant) => Ok(self.hold(attempts, grant)),
            Err(fault) => {
                attempts.failures = attempts.failures.saturating_add(1);
                let until = self.clock.mono().plus(fault.pause(attempts.failures));
                attempts.paused = Some((until, fault.clone()));
                self.publish_fault(&fault);
                Err(fault)
            }
        }
    }

    /// Keeps what was granted. While the API refuses one fresh token after the other the next login
    /// waits as after a refused one: what is granted and not taken helps nobody.
    fn hold(&self, attempts: &mut Attempts, (grant, lives): (Grant, bool)) -> Token {
        if !lives {
            let before = attempts.file_token.replace(grant.token.clone());
            self.clearance.token_of_file(before.as_ref(), &grant.token);
        }
        let now = self.clock.mono();
        attempts.failures = 0;
        attempts.paused = None;
        attempts.generation += 1;
        let token =
            Token { generation: attempts.generation, epoch: self.clearance.epoch(), secret: grant.token };
        let expires_at_ms = lives.then(|| {
            self.clock.unix_ms().saturating_add(i64::try_from(grant.life.as_millis()).unwrap_or(i64::MAX))
        });
        let mut held = self.held();
        let on_trial = held.refused_fresh > 0;
        held.trial_until = (lives && on_trial).then(|| now.plus(refused_fresh().pause(held.refused_fresh)));
        held.current = Some(Current {
            token: token.clone(),
            renew_at: lives.then(|| now.plus(grant::renewal_age(grant.life))),
            expires_at: lives.then(|| now.plus(grant.life)),
            expires_at_ms,
            on_trial,
        });
        drop(held);
        self.published.send_replace(Login { expires_at_ms, fault: None });
        token
    }

    /// The grant, and whether its life is known.
    async fn fetch(&self, attempts: &mut Attempts, wire: &Wire) -> Result<(Grant, bool), Fault> {
        let Account { credentials, token_url } = self.account().clone();
        match &credentials {
            Credentials::AccessTokenFile(path) => Ok((token_of_file(path.clone()).await?, false)),
            Credentials::Client { id, secret, secret_files } => {
                let secret = match secret {
                    Some(secret) => secret.clone(),
                    None => file_secret(secret_files.clone(), attempts.proven_secret.as_ref()).await?,
                };
                let answer = wire.request_token(&token_url, id, &secret).await;
                let raw = answer.map_err(|words| {
                    Fault::new(FaultKind::Unavailable, format!("login host not reachable: {words}"))
                })?;
                let grant = grant::grant(raw.status, &raw.headers, &raw.body, self.clock.unix_ms(), id);
                attempts.proven_secret = grant.is_ok().then_some(secret);
                let is_copy = secret_files.first().is_some_and(|path| secret::is_systemds_copy(path));
                match grant {
                    Err(fault) if fault.kind == FaultKind::Refused && is_copy => {
                        let words =
                            "; a secret that was changed since the start takes a restart (LoadCredential=)";
                        Err(Fault::new(FaultKind::Refused, format!("{}{words}", fault.reason)))
                    }
                    grant => Ok((grant?, true)),
                }
            }
        }
    }

    fn cached(&self) -> Cached {
        let now = self.clock.mono();
        let held = self.held();
        let Some(current) = &held.current else {
            return Cached::Missing;
        };
        if current.expires_at.is_some_and(|at| at <= now) {
            return Cached::Missing;
        }
        if current.renew_at.is_some_and(|at| at <= now) {
            return Cached::Ageing(current.token.clone());
        }
        Cached::Fresh(current.token.clone())
    }

    fn publish_fault(&self, fault: &Fault) {
        let now = self.clock.mono();
        let held = self.held();
        let valid = held.current.as_ref().filter(|current| current.expires_at.is_none_or(|at| now < at));
        let expires_at_ms = valid.and_then(|current| current.expires_at_ms);
        drop(held);
        self.published.send_replace(Login { expires_at_ms, fault: Some(fault.reason.clone()) });
    }

    fn account(&self) -> MutexGuard<'_, Account> {
        self.account.lock()
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock()
    }
}

fn refused_fresh() -> Fault {
    Fault::new(FaultKind::Refused, "the API refuses tokens that were just issued")
}

/// The secret from its files, read at each login so that a changed one is found; while they can't be
/// read, as in the middle of a rotation, the one that last worked.
async fn file_secret(files: Vec<PathBuf>, proven: Option<&SecretString>) -> Result<SecretString, Fault> {
    match (secret::read_first(files).await, proven) {
        (Ok(secret), _) => Ok(secret),
        (Err(_), Some(proven)) => Ok(proven.clone()),
        (Err(words), None) => Err(Fault::new(FaultKind::NoSecret, words)),
    }
}

async fn token_of_file(path: PathBuf) -> Result<Grant, Fault> {
    let shown = path.display().to_string();
    let read = secret::read_first(vec![path]).await;
    let token = read.map_err(|words| Fault::new(FaultKind::NoSecret, words))?;
    if !token.expose_secret().bytes().all(|byte| byte.is_ascii_graphic()) {
        let words = format!("{shown} holds no token; write the access token alone into it");
        return Err(Fault::new(FaultKind::NoSecret, words));
    }
    Ok(Grant { token, life: Duration::MAX })
}
