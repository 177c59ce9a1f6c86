//! How events enter: doors, who may use them, how much they hold, what their answers promise.
//!
//! ```text
//! socket ──framing──> line ──taking──> events ──Sink::submit──> ticket ──> answer, in order
//!             │         │ waits for room: unacked lines, unread answers, pending bytes
//!             └─ 413    └─ 400
//! ```
//!
//! Invariants
//! - `{"errors":[]}` is written only after the sink has answered that every event is on stable storage.
//! - Answers of a connection leave in the order of its lines, one for each line that is not blank.
//! - What producers make us hold is bounded: lines by `max_line`, unanswered bytes of all doors by
//!   `max_pending`, connections by `max_connections`, unread answers a connection by a constant.
//! - A peer without a uid (TCP) that showed no good token cannot keep out one that has it.
//! - A connection that does not read, or never ends its line, holds up only itself; what long lines and bodies
//!   share is held by none for longer than 30 s, nor by one that waits for more of it.
//! - Logs hold codes, counts, uid and pid; never a byte of an event.
//!
//! Not here: what a good event is (`event`), where it rests (`queue`), how a socket is made (`socket`).

mod admission;
mod allowed;
mod budget;
mod connection;
mod framing;
mod http;
mod intake;
mod log_throttle;
mod stream;

use std::sync::Arc;

use parking_lot::RwLock;

pub use admission::{Admission, ConnectionSlot, Crowded};
pub use allowed::{AllowedUids, UnknownUser};
pub use budget::PendingBytes;
pub use framing::{Frame, Framer};
#[cfg(fuzzing)]
pub use http::fuzzing;
pub use http::{HttpListener, serve_http};
pub use intake::{Intake, Taken, take};
pub use log_throttle::RefusalThrottle;
pub use stream::serve;

use crate::clock::Clock;
use crate::config;
use crate::event::{Catalogue, Envelope, Rules, UnknownRule};
use crate::metrics::Metrics;
use crate::queue::{AppendError, Appended, Writer};
use crate::socket::Rejections;

/// Where accepted events go: the queue's writer, or a vector in tests. Cheap to clone.
pub trait Sink: Clone + Send + Sync + 'static {
    /// Puts the events in line at once, before the future is first polled, so that calls made one
    /// after the other are stored in that order. The future gives one result an event, in order.
    fn submit(
        &self,
        events: Vec<Envelope>,
    ) -> impl Future<Output = Vec<Result<Appended, AppendError>>> + Send + 'static;
}

impl Sink for Writer {
    fn submit(
        &self,
        events: Vec<Envelope>,
    ) -> impl Future<Output = Vec<Result<Appended, AppendError>>> + Send + 'static {
        Writer::submit(self, events)
    }
}

/// What the operator set for the doors. Replaced as a whole at a reload.
#[derive(Debug)]
pub struct DoorSettings {
    /// `[ingest]`
    pub config: config::IngestConfig,
    /// Arrays that are taken.
    pub catalogue: Catalogue,
    /// Who may use the stream socket.
    pub allowed: AllowedUids,
}

impl DoorSettings {
    /// What `config` says.
    ///
    /// # Errors
    /// If `allow_uids` names a user that this host does not have.
    pub fn new(config: config::IngestConfig) -> Result<Self, UnknownUser> {
        let allowed = AllowedUids::resolve(&config.stream.allow_uids)?;
        let catalogue = Catalogue::new(&config.extra_arrays);
        Ok(Self { config, catalogue, allowed })
    }

    /// The operator's rules for events.
    pub fn rules(&self) -> Rules {
        let unknown = match self.config.unknown {
            config::UnknownPolicy::Forward => UnknownRule::Forward,
            config::UnknownPolicy::Refuse => UnknownRule::Refuse,
        };
        Rules { max_event: self.config.max_event, unknown }
    }
}

/// What a door needs.
#[derive(Debug)]
pub struct DoorContext<S> {
    settings: RwLock<Arc<DoorSettings>>,
    /// Where events go.
    pub sink: S,
    /// Time of receipt.
    pub clock: Clock,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Shared by all doors.
    pub admission: Arc<Admission>,
    /// Throttled log lines.
    pub log_throttle: RefusalThrottle,
    /// For connections that have no place.
    pub(crate) rejections: Rejections,
}

impl<S: Sink> DoorContext<S> {
    /// A context with `settings` and the limits that they name.
    pub fn new(settings: DoorSettings, sink: S, clock: Clock, metrics: Arc<Metrics>) -> Self {
        let admission = Admission::new(settings.config.max_pending, settings.config.max_connections);
        let log_throttle = RefusalThrottle::new(clock.clone());
        let settings = RwLock::new(Arc::new(settings));
        Self { settings, sink, clock, metrics, admission, log_throttle, rejections: Rejections::default() }
    }

    /// What is in force now. A line that is being taken keeps to what it began with.
    pub fn settings(&self) -> Arc<DoorSettings> {
        self.settings.read().clone()
    }

    /// Keeps to other settings from now on; connections stay.
    pub fn configure(&self, settings: DoorSettings) {
        self.admission.configure(settings.config.max_pending, settings.config.max_connections);
        *self.settings.write() = Arc::new(settings);
    }
}
