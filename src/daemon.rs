//! Builds the parts, hands them to each other, and stops them in order.
//!
//! Order of a stop: the relay starts nothing new and settles what is in flight while the doors still
//! take; then the doors stop and answer what was read; then the queue closes. Whatever is dropped on
//! the way lies on disk.

use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::activation::{Activation, HttpSocket};
use crate::clock::Clock;
use crate::config::Config;
use crate::event::Lane;
use crate::ingest::{self, Admission, BindError, DoorContext};
use crate::metrics::{LaneLabel, LaneReason, Metrics};
use crate::queue::{DeadReason, OpenError, Owner, Ownership, Queue};
use crate::relay::{self, LaneState, RelayStatus};
use crate::shutdown::Shutdown;
use crate::upstream;

/// Wait before the API is asked again whose token it gave.
const ASK_AGAIN: std::time::Duration = std::time::Duration::from_secs(60);

/// Why the daemon did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The queue directory.
    #[error(transparent)]
    Queue(#[from] crate::queue::OpenError),
    /// A door's socket.
    #[error(transparent)]
    Door(#[from] ingest::BindError),
    /// The HTTP client: proxy, CA file.
    #[error(transparent)]
    Client(#[from] upstream::ClientError),
}

/// Kinds of [`StartError`] that a caller tells apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartFault {
    /// Directory or socket cannot be made or is in use.
    CannotCreate,
    /// Not allowed to.
    Permission,
    /// The store.
    Storage,
    /// What the operator wrote.
    Configuration,
}

impl StartFault {
    /// Which kind a fault of the queue's directory is.
    pub fn of_queue(error: &OpenError) -> Self {
        match error {
            OpenError::InUse { .. } | OpenError::CannotMake { .. } => StartFault::CannotCreate,
            OpenError::Permission { .. } => StartFault::Permission,
            OpenError::Storage(_) | OpenError::Newer { .. } => StartFault::Storage,
        }
    }
}

impl StartError {
    /// Which kind it is.
    pub fn kind(&self) -> StartFault {
        match self {
            StartError::Queue(error) => StartFault::of_queue(error),
            StartError::Door(error) => match error.exit_code() {
                77 => StartFault::Permission,
                78 => StartFault::Configuration,
                _ => StartFault::CannotCreate,
            },
            StartError::Client(_) => StartFault::Configuration,
        }
    }
}

/// How many events came to which end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Taken by the API.
    pub delivered: u64,
    /// In the dead letters.
    pub dead: u64,
}

/// The running daemon.
#[derive(Debug)]
pub struct Daemon {
    metrics: Arc<Metrics>,
    status: watch::Receiver<RelayStatus>,
    task: JoinHandle<()>,
}

impl Daemon {
    /// Opens the queue, binds the doors and starts all tasks. Events are accepted when it returns.
    ///
    /// # Errors
    /// If directory, socket or HTTP client cannot be had; nothing runs then.
    pub async fn start(
        config: Config,
        activation: Activation,
        clock: Clock,
        shutdown: Shutdown,
    ) -> Result<Self, StartError> {
        warn_of_unused(&config);
        let metrics = Arc::new(Metrics::new());
        let client = upstream::Client::new(&config.upstream, clock.clone())?;
        let queue = open_queue(&config, &clock, &metrics).await?;
        let (status_tx, status) = watch::channel(RelayStatus::default());
        let (commands_tx, commands) = mpsc::channel(16);
        let withheld = queue.claim(&owner(&config.upstream))?;
        if let Some(reason) = &withheld {
            tracing::error!(reason, "events are accepted, and none are sent");
        }
        let withheld = withheld.map(Arc::from);
        let learning = learn_organisation(
            client.clone(),
            queue.ownership(),
            owner(&config.upstream),
            withheld.is_some(),
            commands_tx.clone(),
        );
        let learning = tokio::spawn(learning);
        let (stream, http) = doors(&config, activation)?;
        let relay = tokio::spawn(relay::run(relay::Parts {
            backlog: queue.reader(),
            upstream: client,
            config: config.relay.clone(),
            clock: clock.clone(),
            metrics: metrics.clone(),
            status: status_tx,
            commands,
            withheld,
            paused: Default::default(),
            shutdown: shutdown.clone(),
            grace: config.daemon.grace,
            drain: config.daemon.drain,
        }));
        let admission = Admission::new(config.ingest.max_pending, config.ingest.max_connections);
        let writer = queue.writer();
        let context =
            Arc::new(DoorContext::new(config.ingest.clone(), writer, clock, metrics.clone(), admission));
        let doors_stop = CancellationToken::new();
        let http_at = http.as_ref().map(|_| config.ingest.http.listen.as_deref().unwrap_or("systemd"));
        let mut open = tokio::task::JoinSet::new();
        open.spawn(ingest::serve(stream, context.clone(), doors_stop.clone()));
        if let Some(http) = http {
            open.spawn(ingest::serve_http(http, context, doors_stop.clone()));
        }
        tracing::info!(
            queue = %config.queue.dir.display(),
            stream = %config.ingest.stream.path.display(),
            http = http_at,
            api = config.upstream.endpoints.api_url,
            "accepting events"
        );
        let counted = metrics.clone();
        let task = tokio::spawn(async move {
            let _commands = commands_tx;
            joined(relay.await, "relay");
            learning.abort();
            doors_stop.cancel();
            while let Some(ended) = open.join_next().await {
                joined(ended, "a door");
            }
            joined(tokio::task::spawn_blocking(move || queue.close()).await, "queue");
            let Totals { delivered, dead } = totals(&counted);
            tracing::info!(delivered, dead, "stopped");
        });
        Ok(Self { metrics, status, task })
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
    pub async fn finished(self) {
        joined(self.task.await, "daemon");
    }
}

/// The sockets that systemd made, else our own.
fn doors(
    config: &Config,
    activation: Activation,
) -> Result<(ingest::Listener, Option<ingest::HttpListener>), BindError> {
    let ingest = &config.ingest;
    let stream = match activation.stream {
        Some(socket) => {
            warn_of_systemds(&ingest.stream);
            ingest::Listener::adopt(socket, &ingest.stream)?
        }
        None => ingest::Listener::bind(&ingest.stream)?,
    };
    let http = match activation.http {
        Some(HttpSocket::Tcp(socket)) => Some(ingest::HttpListener::adopt_tcp(socket, &ingest.http)?),
        Some(HttpSocket::Unix(socket)) => Some(ingest::HttpListener::adopt_unix(socket, &ingest.http)?),
        None => ingest::HttpListener::bind(&ingest.http)?,
    };
    Ok((stream, http))
}

/// Path, mode and group of a socket that systemd made are systemd's.
fn warn_of_systemds(stream: &crate::config::Stream) {
    if stream.group.is_some() {
        tracing::warn!(key = "ingest.stream.group", "this key has no effect: systemd made the socket");
    }
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

/// An operator who sets a key must not wait in vain for what this version does not do.
fn warn_of_unused(config: &Config) {
    let unused = [("admin.metrics_listen", config.admin.metrics_listen.is_some())];
    for (key, _) in unused.into_iter().filter(|(_, is_set)| *is_set) {
        tracing::warn!(key, "this key has no effect in this version: nothing listens there");
    }
}

async fn open_queue(config: &Config, clock: &Clock, metrics: &Arc<Metrics>) -> Result<Queue, StartError> {
    let (config, clock, metrics) = (config.queue.clone(), clock.clone(), metrics.clone());
    let opening = tokio::task::spawn_blocking(move || Queue::open(&config, clock, metrics));
    match opening.await {
        Ok(queue) => Ok(queue?),
        Err(error) => Err(OpenError::Storage(error.to_string()).into()),
    }
}

/// Writes down whose organisation the events are for, once a login tells. Where events were queued for
/// another client of the same organisation, they may leave.
async fn learn_organisation(
    client: upstream::Client,
    ownership: Ownership,
    owner: Owner,
    is_withheld: bool,
    commands: mpsc::Sender<relay::Command>,
) {
    let mut login = client.login();
    loop {
        // Nothing else logs in while nothing is sent.
        if is_withheld && client.log_in().await.fault.is_some() {
            tokio::time::sleep(ASK_AGAIN).await;
            continue;
        }
        if login.wait_for(|login| login.expires_at_ms.is_some()).await.is_err() {
            return;
        }
        if let upstream::Me::Known { id, .. } = client.me().await {
            let (ownership, owner) = (ownership.clone(), Owner { organisation: Some(id), ..owner.clone() });
            let claimed = tokio::task::spawn_blocking(move || ownership.claim(&owner)).await;
            if matches!(claimed, Ok(Ok(None))) && is_withheld {
                tracing::info!("the queued events are of the same organisation: they are sent");
                let _ = commands.send(relay::Command::Release).await;
            }
            return;
        }
        tokio::time::sleep(ASK_AGAIN).await;
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

/// Whose events these are, as the configuration says.
pub fn owner(upstream: &crate::config::Upstream) -> Owner {
    let endpoints = &upstream.endpoints;
    let client_id = match &upstream.credentials {
        crate::config::Credentials::Client { id, .. } => Some(id.clone()),
        crate::config::Credentials::AccessTokenFile(_) => None,
    };
    Owner {
        region: endpoints.region.clone().unwrap_or_else(|| endpoints.api_url.clone()),
        client_id,
        organisation: None,
    }
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

/// A task that panicked has lost its work in memory; what it held lies on disk.
fn joined<T>(result: Result<T, tokio::task::JoinError>, what: &str) {
    if let Err(error) = result
        && !error.is_cancelled()
    {
        tracing::error!(%error, task = what, "a task ended in a panic");
    }
}
