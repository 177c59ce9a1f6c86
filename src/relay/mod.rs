//! Decides when events leave: batches them, keeps each key's order, paces requests, holds lanes.
//!
//! ```text
//! backlog ──read──> order ──choose──> request ──answer──> plan ──┬─ settle ──synced──> key free
//!                     ^                                          ├─ wait (key waits), suspects (halves)
//!                     └──────────────── give back ───────────────┘
//! ```
//!
//! Invariants
//! - Never two requests in flight with the same key of a lane.
//! - A later event of a key leaves only after the earlier one is settled on stable storage, except
//!   with it in one request as `batch` allows.
//! - No event is dropped because the upstream is unwell.
//! - A lane's backlog or fault never stops another lane.
//! - Deciding is pure (`decide/`); `worker` is the only loop, `answers` and `apply_command` are its hands.
//!
//! Not here: how a request is made (`upstream`), how an outcome is stored (`queue`).

mod answers;
mod apply_command;
mod command;
mod decide;
mod deps;
mod lane;
mod log_throttle;
mod pacer;
mod publish;
mod settling;
mod start_log;
mod status;
mod traffic;
mod worker;

pub use command::{Command, Question, Settings};
pub use decide::order::Place;
pub use decide::state::LaneState;
pub use deps::Deps;
pub use pacer::Pacer;
pub use status::{LaneStatus, RelayStatus};
pub use worker::run;
