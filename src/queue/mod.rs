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

mod aging;
mod chunk;
mod committer;
mod dead;
mod dedupe;
mod entry;
#[cfg(fuzzing)]
pub mod fuzzing;
mod handle;
mod header;
mod idents;
mod job;
mod keeper;
mod ledger;
mod letter;
mod lifecycle;
mod limits;
mod log;
mod mark;
mod offline;
mod owner;
mod page;
mod quarantine;
mod raw;
mod recall;
mod record;
mod recovery;
mod row;
mod segment;
mod settled;
mod shared;
mod shelf;
mod store;
mod survey;
mod types;

pub use entry::{EventIds, Fate, LedgerEntry};
pub use handle::{Caretaker, DeadLetters, LedgerReader, Reader, Ticket, Writer};
pub use letter::DeadLetter;
pub use lifecycle::{Ownership, Queue, adopt};
pub use offline::{Inspection, RowReport};
pub use owner::{Owner, replace_file};
pub use types::{
    AppendError, Appended, Backlog, DeadReason, LaneDepth, OpenError, Outcome, Page, QueueError, ReplayError,
    Seq, Settlement, Stored, Vitals,
};
