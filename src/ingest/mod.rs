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
//! - A connection that does not read, or never ends its line, holds up only itself.
//! - Logs hold codes, counts, uid and pid; never a byte of an event.
//!
//! Not here: what a good event is (`event`), where it rests (`queue`).

mod admission;
mod bind;
mod connection;
mod framing;
mod http;
mod notes;
mod peer;
mod stream;
mod taking;

use std::sync::Arc;

pub use admission::{Admission, ConnectionSlot, Crowded, PendingBytes};
pub use bind::{BindError, SocketFile, bind_unix};
pub use framing::{Frame, Framer};
#[cfg(fuzzing)]
pub use http::fuzzing;
pub use http::{HttpListener, serve_http};
pub use notes::Notes;
pub use peer::{AllowedUids, Peer, UnknownUser};
pub use stream::{Listener, serve};
pub use taking::{Taken, take};

use crate::clock::Clock;
use crate::config;
use crate::event::{Catalogue, Envelope, Rules, UnknownRule};
use crate::metrics::Metrics;
use crate::queue::{AppendError, Appended, Writer};

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

/// What a door needs of the house.
#[derive(Debug)]
pub struct DoorContext<S> {
    /// `[ingest]`
    pub config: config::Ingest,
    /// Arrays that are taken.
    pub catalogue: Catalogue,
    /// Where events go.
    pub sink: S,
    /// Time of receipt.
    pub clock: Clock,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Shared by all doors.
    pub admission: Arc<Admission>,
    /// Throttled log lines.
    pub notes: Notes,
}

impl<S: Sink> DoorContext<S> {
    /// A context with the catalogue of `config`.
    pub fn new(
        config: config::Ingest,
        sink: S,
        clock: Clock,
        metrics: Arc<Metrics>,
        admission: Arc<Admission>,
    ) -> Self {
        let catalogue = Catalogue::new(&config.extra_arrays);
        let notes = Notes::new(clock.clone());
        Self { config, catalogue, sink, clock, metrics, admission, notes }
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
