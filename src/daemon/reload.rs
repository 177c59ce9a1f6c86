//! Brings a new configuration to all parts while they run: all of it, or nothing.
//!
//! Whatever can be wrong is tried first: file and environment, users, HTTP client. Only then is anything
//! changed. What takes a restart keeps its old value and is named.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::fault::in_full;
use super::owner::{OwnershipGuard, owner};
use super::process::warn_of_few_files;
use super::tasks::joined;
use crate::admin::{
    AdminRequest, AdminSettings, Lifecycle, ReloadAnswer, ReloadChange, ReloadLogin, ReloadRequest, Systemd,
};
use crate::config::{self, Config, ConfigError, Loaded};
use crate::ingest::{self, DoorContext};
use crate::metrics::Metrics;
use crate::panic::Panicked;
use crate::queue::{Caretaker, Writer};
use crate::{relay, upstream};

/// How long the relay may take to hear that nothing may leave any more.
const HEARD_WITHIN: Duration = Duration::from_secs(5);

/// Reads the configuration again; blocks.
pub type Load = Arc<dyn Fn() -> Result<Loaded, ConfigError> + Send + Sync>;
/// Changes the least severe level that is logged.
pub type SetLevel = Arc<dyn Fn(tracing::Level) + Send + Sync>;

/// How long configuration, certificates and users may take to be read. Each file has its own, shorter limit.
const READ_WITHIN: Duration = Duration::from_secs(20);
/// What is said of one that did not come in time.
const HANGS: &str = "the configuration, or a file or user that it names, could not be read within 20s";

/// A configuration that is checked and not in force yet.
pub(super) struct ReadAnew {
    loaded: Loaded,
    doors: ingest::DoorSettings,
    client: upstream::Prepared,
}

impl ReadAnew {
    /// Blocks.
    fn read(load: &Load) -> Result<Self, String> {
        let loaded = load().map_err(|error| in_full(&error))?;
        let doors = ingest::DoorSettings::new(loaded.config.ingest.clone())
            .map_err(|error| format!("ingest.stream.allow_uids: {error}"))?;
        let client = upstream::Client::prepare(&loaded.config.upstream).map_err(|error| in_full(&error))?;
        Ok(Self { loaded, doors, client })
    }
}

/// Every part that a new configuration reaches.
pub(super) struct ReloadTargets {
    pub(super) doors: Arc<DoorContext<Writer>>,
    pub(super) queue: Caretaker,
    pub(super) relay: mpsc::Sender<relay::Command>,
    pub(super) upstream: upstream::Client,
    pub(super) admin: watch::Sender<AdminSettings>,
    pub(super) set_level: SetLevel,
}

/// Has the configuration in force and knows all who need it.
pub(super) struct Reloader {
    pub(super) loaded: Loaded,
    pub(super) load: Load,
    pub(super) targets: ReloadTargets,
    pub(super) guard: OwnershipGuard,
    pub(super) metrics: Arc<Metrics>,
    pub(super) lifecycle: watch::Receiver<Lifecycle>,
    pub(super) systemd: Arc<Systemd>,
    /// A read of the configuration that did not come back in time.
    pub(super) hanging: Option<JoinHandle<Result<ReadAnew, String>>>,
    /// `None` while it is decided again whose the events are.
    pub(super) learning: Option<JoinHandle<()>>,
}

/// The part of the configuration that reports depend on.
pub(super) fn admin_settings(config: &Config) -> AdminSettings {
    AdminSettings {
        late_after: config.admin.late_after,
        dead_letters_max_age: config.queue.dead_letters_max_age,
        min_free_disk: config.queue.min_free_disk,
    }
}

impl Reloader {
    /// Reloads and adopts whenever somebody asks, until `stop`.
    pub(super) async fn run(mut self, mut requests: mpsc::Receiver<AdminRequest>, stop: CancellationToken) {
        while let Some(Some(request)) = stop.run_until_cancelled(requests.recv()).await {
            match request {
                AdminRequest::Reload(request) => {
                    self.systemd.reloading();
                    // A stop does not wait for a login host.
                    let Some(answer) = stop.run_until_cancelled(self.reload()).await else { break };
                    self.answer(request, answer);
                }
                AdminRequest::Adopt(answer) => {
                    self.stop_learning().await;
                    // Who asked may be gone.
                    let _ = answer.send(self.guard.adopt().await);
                    self.learning = Some(self.guard.learn());
                }
            }
        }
        self.stop_learning().await;
    }

    fn answer(&self, request: ReloadRequest, answer: ReloadAnswer) {
        tell(&answer, &request.by);
        self.metrics.config_last_reload_success.set(i64::from(!is_refused(&answer)));
        if *self.lifecycle.borrow() == Lifecycle::Accepting {
            self.systemd.ready();
        }
        // Who asked may be gone.
        let _ = request.answer.send(answer);
    }

    /// When it returns nobody else decides whose the events are.
    async fn stop_learning(&mut self) {
        if let Some(learning) = self.learning.take() {
            learning.abort();
            joined(learning.await, "learning the organisation");
        }
    }

    async fn reload(&mut self) -> ReloadAnswer {
        let refused = |message: String| ReloadAnswer::Refused { message };
        let ReadAnew { loaded, doors, client } = match self.read_anew().await {
            Ok(read) => read,
            Err(message) => return refused(message),
        };
        let changes = config::changes(&self.loaded.show, &loaded.show);
        let is_way_new = changes.iter().any(|change| change.key.name.starts_with("upstream."));
        let withheld = match self.claim(&loaded.config).await {
            Ok(withheld) => withheld,
            Err(message) => return refused(message),
        };
        let login = self.put_in_force(&loaded, doors, client, is_way_new).await;
        self.keep(loaded);
        let change = |change: config::Change| ReloadChange {
            needs_restart: change.key.needs_restart,
            key: change.key.name.to_owned(),
            before: change.before,
            now: change.now,
        };
        ReloadAnswer::Applied {
            changes: changes.into_iter().map(change).collect(),
            login: match login {
                None => ReloadLogin::NotDue,
                Some(upstream::LoginStatus { fault: None, .. }) => ReloadLogin::Succeeded,
                Some(upstream::LoginStatus { fault: Some(fault), .. }) => ReloadLogin::Failed(fault),
            },
            withheld,
        }
    }

    /// Reads the configuration with all that it names. A file on a mount that hangs holds up this reload, and no other
    /// part.
    async fn read_anew(&mut self) -> Result<ReadAnew, String> {
        if self.hanging.as_ref().is_some_and(|read| !read.is_finished()) {
            return Err(format!("{HANGS}, and that read has still not ended"));
        }
        let load = self.load.clone();
        let mut reading = tokio::task::spawn_blocking(move || ReadAnew::read(&load));
        match tokio::time::timeout(READ_WITHIN, &mut reading).await {
            Ok(Ok(read)) => read,
            Ok(Err(_)) => Err(Panicked.to_string()),
            Err(_) => {
                self.hanging = Some(reading);
                Err(HANGS.to_owned())
            }
        }
    }

    /// If events are for another account now, what is queued for the one before stays until it is adopted:
    /// the relay has heard so before the new credentials are in force.
    async fn claim(&mut self, config: &Config) -> Result<Option<String>, String> {
        let next = owner(&config.upstream);
        if next.is_same_client(&self.guard.owner()) {
            return Ok(None);
        }
        // Before anything is changed: it must be able to hear of it.
        if !self.relay_hears().await {
            return Err("the relay does not answer".to_owned());
        }
        self.stop_learning().await;
        let changed = self.guard.change(next).await;
        if changed.is_err() {
            self.learning = Some(self.guard.learn());
        }
        // If it stops meanwhile it starts nothing new, and the client sends nothing of another account.
        let _ = self.relay_hears().await;
        changed
    }

    async fn relay_hears(&self) -> bool {
        let (answer, heard) = oneshot::channel();
        let asked = async {
            self.targets.relay.send(relay::Command::Ping(answer)).await.is_ok() && heard.await.is_ok()
        };
        tokio::time::timeout(HEARD_WITHIN, asked).await.unwrap_or(false)
    }

    async fn put_in_force(
        &mut self,
        loaded: &Loaded,
        doors: ingest::DoorSettings,
        client: upstream::Prepared,
        is_way_new: bool,
    ) -> Option<upstream::LoginStatus> {
        let config = &loaded.config;
        self.targets.doors.configure(doors);
        warn_of_few_files(config.ingest.max_connections);
        self.targets.queue.configure(config.queue.clone());
        self.targets.admin.send_replace(admin_settings(config));
        (self.targets.set_level)(config.log.level);
        let relay = relay::Settings {
            relay: config.relay.clone(),
            grace: config.daemon.grace,
            drain: config.daemon.drain,
        };
        let _ = self.targets.relay.send(relay::Command::Configure(Box::new(relay))).await;
        let is_other_account = self.learning.is_none();
        let login = self.targets.upstream.configure(client).await;
        if is_other_account {
            let _ = self.targets.relay.send(relay::Command::ForgetLimits).await;
        }
        if login.is_some() || is_other_account {
            // Another token may be of another organisation, and what was held for want of a good one goes on.
            self.stop_learning().await;
            self.learning = Some(self.guard.learn());
        }
        if login.is_some() || is_way_new {
            let _ = self.targets.relay.send(relay::Command::TryNow).await;
        }
        login
    }

    /// What takes a restart is still what it was: the next reload says so again.
    fn keep(&mut self, mut loaded: Loaded) {
        for ((key, now), before) in config::keys().zip(&mut loaded.show).zip(&self.loaded.show) {
            if key.needs_restart {
                *now = before.clone();
            }
        }
        self.loaded = loaded;
    }
}

fn is_refused(answer: &ReloadAnswer) -> bool {
    matches!(answer, ReloadAnswer::Refused { .. })
}

fn tell(answer: &ReloadAnswer, by: &str) {
    match answer {
        ReloadAnswer::Refused { message } => {
            tracing::error!(
                by,
                reason = message,
                "reload refused; the previous configuration stays in force"
            );
        }
        ReloadAnswer::Applied { changes, login, withheld } => {
            let keys = |restart: bool| {
                let found = changes.iter().filter(|change| change.needs_restart == restart);
                found.map(|change| change.key.as_str()).collect::<Vec<_>>().join(", ")
            };
            let (changed, restart) = (keys(false), keys(true));
            tracing::info!(by, changed, needs_restart = restart, "configuration reloaded");
            match login {
                ReloadLogin::Succeeded => {
                    tracing::info!("logged in with the new credentials")
                }
                ReloadLogin::Failed(fault) => {
                    tracing::warn!(fault, "the login with the new credentials failed")
                }
                ReloadLogin::NotDue => {}
            }
            if let Some(reason) = withheld {
                tracing::error!(reason, "accepting events but sending none");
            }
        }
    }
}
