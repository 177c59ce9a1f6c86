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

mod backlog;
mod committer;
mod dir_lock;
mod error;
mod file_system;
mod format;
#[cfg(fuzzing)]
pub mod fuzzing;
mod handle;
mod health;
mod job;
mod lifecycle;
mod log;
mod offline;
mod restore;
mod state;
mod types;

pub use backlog::Backlog;
pub use error::{AppendError, OpenError, QueueError, ReplayError};
pub use format::entry::{Fate, LedgerEntry};
pub use format::letter::DeadLetter;
pub use handle::{Caretaker, DeadLetters, LedgerReader, Reader, Ticket, Writer};
pub use health::QueueHealth;
pub use lifecycle::{Ownership, Queue, adopt};
pub use offline::{Inspection, LogReport};
pub use restore::{RestoreOutcome, RestoredPart, restore};
pub use state::ledger::LedgerFindings;
pub use state::owner::Owner;
pub use types::{Appended, DeadReason, LaneDepth, Outcome, Page, Seq, Settlement, Stored};
