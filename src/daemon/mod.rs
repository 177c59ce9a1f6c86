//! Builds the parts, hands them to each other, and stops them in order (`running`).
//!
//! Not here: what a part does. `reload` brings a new configuration to all of them, `owner` knows whose the
//! events are, `doors` has what listens.

mod doors;
mod fault;
mod owner;
mod reload;
mod running;

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use crate::activation::Activation;
use crate::admin::{self, Account, AdminContext, Heartbeat, Phase, ReloadAnswer, ReloadRequest, Request};
use crate::clock::Clock;
use crate::config::{Config, ConfigError, Loaded};
use crate::event::Lane;
use crate::ingest::{self, DoorContext};
use crate::metrics::{LaneLabel, LaneReason, Metrics};
use crate::queue::{DeadReason, OpenError, Queue};
use crate::relay::{self, LaneState, RelayStatus};
use crate::shutdown::Shutdown;
use crate::upstream;

pub use fault::{Crashed, StartError, StartFault};
use owner::Custody;
pub use owner::owner;
use reload::Reloader;
use running::Running;

/// How many events came to which end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Taken by the API.
    pub delivered: u64,
    /// In the dead letters.
    pub dead: u64,
}

/// Reads the configuration again; blocks.
pub type Load = Arc<dyn Fn() -> Result<Loaded, ConfigError> + Send + Sync>;
/// Changes the least severe level that is logged.
pub type SetLevel = Arc<dyn Fn(tracing::Level) + Send + Sync>;

/// What the daemon starts with.
pub struct Start {
    /// The configuration.
    pub loaded: Loaded,
    /// For a reload.
    pub load: Load,
    /// For a reload.
    pub set_level: SetLevel,
    /// Sockets that systemd made.
    pub activation: Activation,
    /// Both clocks.
    pub clock: Clock,
    /// When to stop.
    pub shutdown: Shutdown,
}

impl Start {
    /// With a configuration that never changes, our own sockets and the host's clocks: for a demo or a test.
    pub fn fixed(loaded: Loaded, shutdown: Shutdown) -> Self {
        let again = loaded.clone();
        Self {
            loaded,
            load: Arc::new(move || Ok(again.clone())),
            set_level: Arc::new(|_| {}),
            activation: Activation::default(),
            clock: Clock::system(),
            shutdown,
        }
    }
}

/// Asks for reloads. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Reloads(mpsc::Sender<Request>);

impl Reloads {
    /// Has the configuration read again, and says what that did. `None` while stopping.
    pub async fn reload(&self, by: &str) -> Option<ReloadAnswer> {
        let (answer, done) = oneshot::channel();
        self.0.send(Request::Reload(ReloadRequest { by: by.to_owned(), answer })).await.ok()?;
        done.await.ok()
    }
}

/// The running daemon.
#[derive(Debug)]
pub struct Daemon {
    metrics: Arc<Metrics>,
    status: watch::Receiver<RelayStatus>,
    requests: mpsc::Sender<Request>,
    task: JoinHandle<bool>,
}

impl Daemon {
    /// Opens the queue, binds the doors and starts all tasks. Events are accepted when it returns.
    ///
    /// # Errors
    /// If directory, socket or HTTP client cannot be had; nothing runs then.
    pub async fn start(start: Start) -> Result<Self, StartError> {
        let Start { loaded, load, set_level, activation, clock, shutdown } = start;
        let config = loaded.config.clone();
        let metrics = Arc::new(Metrics::new());
        let client = upstream::Client::new(&config.upstream, clock.clone())?;
        let door_settings = ingest::Settings::new(config.ingest.clone())?;
        let queue = open_queue(&config, &clock, &metrics).await?;
        let paused = admin::read_paused(&config.queue.dir)
            .map_err(|source| StartError::Paused { path: config.queue.dir.join("paused"), source })?;
        let owner = owner(&config.upstream);
        let withheld = queue.claim(&owner)?;
        let remembered = queue.ownership().owner().filter(|before| before.is_same_client(&owner));
        let open = doors::open(&config, activation)?;
        let (status_tx, status) = watch::channel(RelayStatus::default());
        let (commands_tx, commands) = mpsc::channel(16);
        let (requests_tx, requests) = mpsc::channel(4);
        let (phase_tx, phase) = watch::channel(Phase::Starting);
        let account =
            watch::Sender::new(Account { owner: remembered.unwrap_or(owner), organisation_name: None });
        let settings = watch::Sender::new(reload::operator_settings(&config));
        let door_context =
            Arc::new(DoorContext::new(door_settings, queue.writer(), clock.clone(), metrics.clone()));
        let house = Arc::new(AdminContext {
            clock: clock.clone(),
            started_ms: clock.unix_ms(),
            metrics: metrics.clone(),
            relay: status.clone(),
            commands: commands_tx.clone(),
            backlog: queue.reader(),
            caretaker: queue.caretaker(),
            dead_letters: queue.dead_letters(),
            ledger: queue.ledger(),
            ownership: queue.ownership(),
            upstream: client.clone(),
            account: account.subscribe(),
            doors: door_context.clone(),
            settings: settings.subscribe(),
            requests: requests_tx.clone(),
            phase,
            vitality: Arc::new(Heartbeat::new(clock.mono())),
            queue_dir: config.queue.dir.clone(),
        });
        tell_of_start(&config, withheld.as_deref(), &paused);
        let custody = Custody::new(&house, account, withheld.is_some());
        let reloader = Reloader::new(loaded, load, set_level, &house, settings, custody);
        let relay = relay::Deps {
            backlog: queue.reader(),
            upstream: client,
            config: config.relay,
            clock,
            metrics: metrics.clone(),
            status: status_tx,
            commands,
            withheld: withheld.map(Arc::from),
            paused,
            shutdown: shutdown.clone(),
            grace: config.daemon.grace,
            drain: config.daemon.drain,
        };
        let running = Running { house, open, door_context, reloader, requests, phase: phase_tx };
        let task = tokio::spawn(running.run(relay, queue, shutdown));
        Ok(Self { metrics, status, requests: requests_tx, task })
    }

    /// For whoever may ask for a reload.
    pub fn reloads(&self) -> Reloads {
        Reloads(self.requests.clone())
    }

    /// Everything counted.
    pub fn metrics(&self) -> Arc<Metrics> {
        self.metrics.clone()
    }

    /// The lanes' state as it changes.
    pub fn status(&self) -> watch::Receiver<RelayStatus> {
        self.status.clone()
    }

    /// Events by their end, all lanes together.
    pub fn totals(&self) -> Totals {
        totals(&self.metrics)
    }

    /// What the lanes do, in a few words.
    pub fn state_in_words(&self) -> String {
        let status = self.status.borrow();
        let troubled =
            Lane::ALL.into_iter().zip(&status.lanes).find(|(_, lane)| lane.state != LaneState::Running);
        match troubled {
            None => "delivering".to_owned(),
            Some((lane, found)) => {
                let reason = found.reason.as_deref().unwrap_or("no reason known");
                format!("{lane} {}: {reason}", found.state.name())
            }
        }
    }

    /// Returns when every task has ended after a stop.
    ///
    /// # Errors
    /// If one panicked, or ended without a stop. What was accepted lies on disk all the same.
    pub async fn finished(self) -> Result<(), Crashed> {
        match self.task.await {
            Ok(true) => Ok(()),
            Ok(false) => Err(Crashed),
            Err(error) => {
                tracing::error!(%error, "the daemon ended in a panic");
                Err(Crashed)
            }
        }
    }
}

fn tell_of_start(config: &Config, withheld: Option<&str>, paused: &[bool; Lane::ALL.len()]) {
    if let Some(reason) = withheld {
        tracing::error!(reason, "events are accepted, and none are sent");
    }
    for lane in Lane::ALL.into_iter().filter(|lane| paused[lane.index()]) {
        tracing::warn!(%lane, "paused by an operator before the start: `trunkline resume` ends it");
    }
    tracing::info!(
        queue = %config.queue.dir.display(),
        stream = %config.ingest.stream.path.display(),
        http = config.ingest.http.listen,
        api = config.upstream.endpoints.api_url,
        version = env!("CARGO_PKG_VERSION"),
        "accepting events"
    );
}

/// Files that we make are ours alone, and a crash leaves no image of the calls in memory on a disk.
///
/// # Errors
/// If the limit cannot be set.
pub fn harden() -> std::io::Result<()> {
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o077));
    nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_CORE, 0, 0)?;
    Ok(())
}

async fn open_queue(config: &Config, clock: &Clock, metrics: &Arc<Metrics>) -> Result<Queue, StartError> {
    let (config, clock, metrics) = (config.queue.clone(), clock.clone(), metrics.clone());
    let opening = tokio::task::spawn_blocking(move || Queue::open(&config, clock, metrics));
    match opening.await {
        Ok(queue) => Ok(queue?),
        Err(error) => Err(OpenError::Storage(error.to_string()).into()),
    }
}

/// Looks at everything between us and the API, and changes nothing.
///
/// # Errors
/// If no HTTP client can be made of the configuration.
pub async fn check_online(config: &Config) -> Result<Vec<upstream::Finding>, StartError> {
    let client = upstream::Client::new(&config.upstream, Clock::system())?;
    Ok(upstream::probe(&client, &config.upstream).await)
}

fn totals(metrics: &Metrics) -> Totals {
    let mut totals = Totals::default();
    for lane in Lane::ALL {
        totals.delivered += metrics.events_delivered.get_or_create(&LaneLabel { lane: lane.name() }).get();
        for reason in DeadReason::ALL {
            let labels = LaneReason { lane: lane.name(), reason: reason.code() };
            totals.dead += metrics.events_dead.get_or_create(&labels).get();
        }
    }
    totals
}
