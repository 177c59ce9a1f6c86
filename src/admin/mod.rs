//! Admin API: health, metrics, status, trace, and operator changes.
//!
//! ```text
//! unix socket ──peer──> routes ──┬─ report (status), trace, letters ──> JSON
//!                                └─ change: pause, resume, adopt, reload, replay, discard ──> log with uid
//! TCP, read-only ──────> public ─── livez, readyz, healthz, metrics
//! ```
//!
//! Invariants
//! - What shows an event's content or changes anything is answered on the unix socket only, and each
//!   change is logged with the peer's uid.
//! - Health never depends on delivery: `livez` is about our loops, `readyz` about taking events.
//! - Nothing here is on the delivery path.
//! - Deciding is pure (`health`, `summary`, `rates`, `filter`).
//!
//! Not here: what the commands print (`cli`), what the numbers are made of (`queue`, `relay`, `upstream`).

mod change;
pub mod client;
mod connection_slots;
mod context;
mod filter;
mod gauges;
mod health;
mod heartbeat;
mod letters;
mod overview;
mod paused;
mod rates;
mod report;
mod report_of;
mod request;
mod routes;
mod server;
mod state;
mod summary;
mod systemd;
mod trace;
mod trace_of;

pub use change::{ChangeAnswer, Controls, LaneChoice};
pub use context::AdminContext;
pub use filter::{FieldValue, Filter, LettersRequest};
pub use heartbeat::Heartbeat;
pub use letters::{Letter, LetterOutcome, LetterStore, LettersSummary};
pub use overview::Overview;
pub use paused::{read as read_paused, write as write_paused};
pub use report::{Disk, LaneReport, Report};
pub use request::{AdminRequest, Adopted, ReloadAnswer, ReloadChange, ReloadLogin, ReloadRequest};
pub use server::{serve, serve_metrics};
pub use state::{AdminSettings, Destination, DestinationWatch, Lifecycle};
pub use summary::{count, span, thousands};
pub use systemd::Systemd;
pub use trace::{Trace, TracePart, TraceState};
pub use trace_of::Tracer;
