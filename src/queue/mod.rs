//! Holds accepted events until the upstream has answered for them.
//!
//! ```text
//! append ──> waiting ──read──> relay's hands ──settle──> delivered · expired · discarded
//!               ^                  │   └───────────────> dead letter
//!               └───── restart ────┘
//! ```
//!
//! Invariants
//! - An append is answered after fdatasync: an accepted event survives power loss.
//! - A settlement is answered after fdatasync, a dead letter's body before that.
//! - Sequence numbers of a lane rise and are never reused.
//! - Who holds what is the relay's memory; after a restart all that is unsettled is read again.
//! - Only `store` names sled.
//!
//! Not here: when to send (`relay`), how to send (`upstream`).

mod chunk;
mod committer;
mod dead;
mod dedupe;
mod directory;
mod handle;
mod limits;
mod log;
mod page;
mod salvage;
mod segment;
mod settled;
mod shared;
mod store;
mod types;

pub use dead::DeadLetter;
pub use handle::{DeadLetters, Queue, Reader, Ticket, Writer};
pub use types::{
    AppendError, Appended, Backlog, DeadReason, LaneDepth, OpenError, Outcome, Page, QueueError, Seq,
    Settlement, Stored,
};
