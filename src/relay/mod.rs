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
//! - Deciding is pure (`batch`, `pace`, `backoff`, `order`, `plan`, `hold`, `host`, `expiry`, `share`); `worker` is the
//!   only loop, `answers` and `command` are its hands.
//!
//! Not here: how a request is made (`upstream`), how an outcome is stored (`queue`).

mod answers;
mod backoff;
mod batch;
mod command;
mod expiry;
mod hold;
mod host;
mod item;
mod lane;
mod notes;
mod order;
mod pace;
mod parts;
mod plan;
mod settling;
mod share;
mod status;
mod worker;

pub use command::{Command, Place, Question, Settings};
pub use parts::Parts;
pub use status::{LaneState, LaneStatus, RelayStatus};
pub use worker::run;
