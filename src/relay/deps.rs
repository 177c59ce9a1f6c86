//! What the relay is built from.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use super::command::Command;
use super::pacer::Pacer;
use super::status::RelayStatus;
use crate::clock::Clock;
use crate::config;
use crate::event::Lane;
use crate::metrics::Metrics;
use crate::shutdown::Shutdown;

/// What the relay is built from.
#[derive(Debug)]
pub struct Deps<B, U> {
    /// Where events lie.
    pub backlog: B,
    /// Where they go.
    pub upstream: U,
    /// When requests may start.
    pub pacer: Pacer,
    /// `[relay]`
    pub config: config::RelayConfig,
    /// Both clocks.
    pub clock: Clock,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// The lanes' state, kept current.
    pub status: watch::Sender<RelayStatus>,
    /// Commands of operators and of the daemon.
    pub commands: mpsc::Receiver<Command>,
    /// Why nothing may leave until [`Command::Release`], if so.
    pub withheld: Option<Arc<str>>,
    /// Lanes that an operator paused, by lane index.
    pub paused: [bool; Lane::ALL.len()],
    /// When to stop, and how fast.
    pub shutdown: Shutdown,
    /// How long requests in flight may take after `stop`.
    pub grace: Duration,
    /// How long delivery goes on after `stop` until nothing is left.
    pub drain: Duration,
}
