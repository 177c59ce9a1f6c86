//! From a checked configuration to a running daemon: open what can fail, connect the parts, run them.

use std::sync::Arc;

use tokio::sync::{mpsc, watch};

use super::doors::{self, Doors};
use super::fault::StartError;
use super::handle::Daemon;
use super::owner::{OwnershipGuard, owner};
use super::process;
use super::reload::{self, Load, ReloadTargets, Reloader, SetLevel};
use super::running::Running;
use crate::activation::Activation;
use crate::admin::{
    self, AdminContext, AdminRequest, AdminSettings, Controls, Destination, DestinationWatch, Heartbeat,
    LetterStore, Lifecycle, Overview, Systemd, Tracer,
};
use crate::clock::Clock;
use crate::config::{Config, Loaded};
use crate::event::Lane;
use crate::ingest::{self, DoorContext};
use crate::metrics::Metrics;
use crate::panic::Panicked;
use crate::queue::{OpenError, Owner, Queue, Writer};
use crate::relay::{self, RelayStatus};
use crate::shutdown::Shutdown;
use crate::upstream;

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
    /// What is counted; the log counts there already.
    pub metrics: Arc<Metrics>,
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
            metrics: Arc::new(Metrics::new()),
            shutdown,
        }
    }
}

/// What was opened and does not run yet.
struct Opened {
    client: upstream::Client,
    queue: Queue,
    pacer: relay::Pacer,
    paused: [bool; Lane::ALL.len()],
    /// The account that events are accepted for; with its organisation if an earlier run learned it.
    owner: Owner,
    /// Why events are held back, if they are.
    withheld: Option<String>,
    doors: Doors,
    door_context: Arc<DoorContext<Writer>>,
    metrics: Arc<Metrics>,
}

/// The parts' channels: both ends of each, but those that anybody may subscribe to.
struct Channels {
    commands: mpsc::Sender<relay::Command>,
    relay_commands: mpsc::Receiver<relay::Command>,
    requests: mpsc::Sender<AdminRequest>,
    reloader_requests: mpsc::Receiver<AdminRequest>,
    relay_status: watch::Sender<RelayStatus>,
    lanes: watch::Receiver<RelayStatus>,
    lifecycle_sender: watch::Sender<Lifecycle>,
    lifecycle: watch::Receiver<Lifecycle>,
    settings: watch::Sender<AdminSettings>,
    destination: watch::Sender<Destination>,
}

impl Channels {
    fn new(config: &Config, owner: Owner) -> Self {
        let (commands, relay_commands) = mpsc::channel(16);
        let (requests, reloader_requests) = mpsc::channel(4);
        let (relay_status, lanes) = watch::channel(RelayStatus::default());
        let (lifecycle_sender, lifecycle) = watch::channel(Lifecycle::Starting);
        Self {
            commands,
            relay_commands,
            requests,
            reloader_requests,
            relay_status,
            lanes,
            lifecycle_sender,
            lifecycle,
            settings: watch::Sender::new(reload::admin_settings(config)),
            destination: watch::Sender::new(Destination { owner, organisation_name: None }),
        }
    }
}

impl Daemon {
    /// Opens the queue, binds the doors and starts all tasks. Events are accepted when it returns.
    ///
    /// # Errors
    /// If directory, socket or HTTP client cannot be had; nothing runs then.
    pub async fn start(start: Start) -> Result<Self, StartError> {
        let Start { loaded, load, set_level, activation, clock, metrics, shutdown } = start;
        let config = loaded.config.clone();
        let opened = Opened::open(&config, activation, &clock, metrics).await?;
        let channels = Channels::new(&config, opened.owner.clone());
        tell_of_start(&config, &opened);
        let admin = admin_context(&opened, &channels, &config, &clock);
        let guard = OwnershipGuard::new(
            opened.client.clone(),
            opened.queue.ownership(),
            channels.destination,
            channels.commands.clone(),
            opened.withheld.is_some(),
        );
        let targets = ReloadTargets {
            doors: opened.door_context.clone(),
            queue: opened.queue.caretaker(),
            relay: channels.commands,
            upstream: opened.client.clone(),
            admin: channels.settings,
            set_level,
        };
        let metrics = opened.metrics.clone();
        let systemd = Arc::new(Systemd::from_env());
        let reloader = Reloader {
            loaded,
            load,
            targets,
            learning: Some(guard.learn()),
            guard,
            metrics: metrics.clone(),
            lifecycle: channels.lifecycle,
            systemd: systemd.clone(),
            hanging: None,
        };
        let relay = relay::Deps {
            backlog: opened.queue.reader(),
            upstream: opened.client,
            pacer: opened.pacer,
            config: config.relay,
            clock,
            metrics: metrics.clone(),
            status: channels.relay_status,
            commands: channels.relay_commands,
            withheld: opened.withheld.map(Arc::from),
            paused: opened.paused,
            shutdown: shutdown.clone(),
            grace: config.daemon.grace,
            drain: config.daemon.drain,
        };
        let running = Running {
            admin,
            doors: opened.doors,
            door_context: opened.door_context,
            reloader,
            requests: channels.reloader_requests,
            lifecycle: channels.lifecycle_sender,
            systemd,
        };
        let task = tokio::spawn(running.run(relay, opened.queue, shutdown));
        Ok(Self { metrics, status: channels.lanes, requests: channels.requests, task })
    }
}

impl Opened {
    /// Does all that can fail, and leaves the sockets for last.
    async fn open(
        config: &Config,
        activation: Activation,
        clock: &Clock,
        metrics: Arc<Metrics>,
    ) -> Result<Self, StartError> {
        let client = upstream::Client::new(&config.upstream, clock.clone())?;
        let door_settings = ingest::DoorSettings::new(config.ingest.clone())?;
        let queue = open_queue(config, clock, &metrics).await?;
        let paused = admin::read_paused(&config.queue.dir)
            .map_err(|source| StartError::Paused { path: config.queue.dir.join("paused"), source })?;
        let pacer = open_pacer(config, clock).await?;
        client.keep_to(Arc::new(pacer.clone()));
        let configured = owner(&config.upstream);
        let withheld = queue.claim(&configured)?;
        let remembered = queue.ownership().owner()?.filter(|before| before.is_same_client(&configured));
        let doors = doors::open(config, activation)?;
        let door_context = DoorContext::new(door_settings, queue.writer(), clock.clone(), metrics.clone());
        door_context.admission.cap_connections(process::most_connections());
        process::warn_of_few_files(config.ingest.max_connections);
        Ok(Self {
            client,
            queue,
            pacer,
            paused,
            owner: remembered.unwrap_or(configured),
            withheld,
            doors,
            door_context: Arc::new(door_context),
            metrics,
        })
    }
}

fn admin_context(opened: &Opened, channels: &Channels, config: &Config, clock: &Clock) -> AdminContext {
    let Opened { queue, metrics, .. } = opened;
    let Channels { commands, lanes, .. } = channels;
    let identity =
        DestinationWatch { destination: channels.destination.subscribe(), upstream: opened.client.clone() };
    let heartbeat =
        Heartbeat::new(clock.clone(), queue.caretaker(), commands.clone(), queue.reader(), metrics.clone());
    AdminContext {
        overview: Arc::new(Overview {
            clock: clock.clone(),
            started_ms: clock.unix_ms(),
            metrics: metrics.clone(),
            lifecycle: channels.lifecycle.clone(),
            settings: channels.settings.subscribe(),
            lanes: lanes.clone(),
            backlog: queue.reader(),
            dead_letters: queue.dead_letters(),
            identity: identity.clone(),
            heartbeat: Arc::new(heartbeat),
            disk_warning: queue.disk_warning().map(str::to_owned),
            door_files: opened.doors.ingest_files(),
        }),
        tracer: Arc::new(Tracer {
            backlog: queue.reader(),
            ledger: queue.ledger(),
            relay: commands.clone(),
            lanes: lanes.clone(),
            identity,
        }),
        letters: LetterStore { dead_letters: queue.dead_letters(), doors: opened.door_context.clone() },
        controls: Arc::new(Controls::new(
            commands.clone(),
            channels.requests.clone(),
            config.queue.dir.clone(),
        )),
    }
}

fn tell_of_start(config: &Config, opened: &Opened) {
    if let Some(reason) = &opened.withheld {
        tracing::error!(reason, "accepting events but sending none");
    }
    for lane in Lane::ALL.into_iter().filter(|lane| opened.paused[lane.index()]) {
        tracing::warn!(%lane, "still paused by an operator; resume with `trunkline resume`");
    }
    if let Some(warning) = opened.queue.disk_warning() {
        tracing::warn!(dir = %config.queue.dir.display(), "{warning}");
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

async fn open_queue(config: &Config, clock: &Clock, metrics: &Arc<Metrics>) -> Result<Queue, StartError> {
    let (config, clock, metrics) = (config.queue.clone(), clock.clone(), metrics.clone());
    let opening = tokio::task::spawn_blocking(move || Queue::open(&config, clock, metrics));
    match opening.await {
        Ok(queue) => Ok(queue?),
        Err(_) => Err(OpenError::Storage(Panicked.to_string()).into()),
    }
}

async fn open_pacer(config: &Config, clock: &Clock) -> Result<relay::Pacer, StartError> {
    let (relay, clock, dir) = (config.relay.clone(), clock.clone(), config.queue.dir.clone());
    let opening = tokio::task::spawn_blocking(move || relay::Pacer::open(&relay, clock, &dir));
    opening.await.map_err(|error| OpenError::Storage(error.to_string()).into())
}

/// Tries what the daemon makes of the configuration before it opens anything: users, groups, proxy, certificates.
/// Blocks.
/// What it would pass over with a warning.
///
/// # Errors
/// If it would not start.
pub fn check(config: &Config) -> Result<Vec<String>, StartError> {
    ingest::AllowedUids::resolve(&config.ingest.stream.allow_uids)?;
    doors::check_groups(config)?;
    Ok(upstream::Client::prepare(&config.upstream)?.warnings().to_vec())
}

/// Looks at everything between us and the API, and changes nothing.
///
/// # Errors
/// If no HTTP client can be made of the configuration.
pub async fn check_online(config: &Config) -> Result<Vec<upstream::Finding>, StartError> {
    let client = upstream::Client::new(&config.upstream, Clock::system())?;
    Ok(upstream::probe(&client, &config.upstream).await)
}
