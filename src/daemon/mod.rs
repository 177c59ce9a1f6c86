//! Builds the parts, hands them to each other, and stops them in order.
//!
//! `start` builds, `running` runs and stops, `reload` brings a new configuration to all parts, `owner` knows whose
//! the events are, `doors` has what listens, `tasks` tells how a task ended, `process` sets what holds for the whole
//! process, `handle` is what the caller keeps.
//!
//! Invariants
//! - Whatever can be wrong is tried before anything runs: a start that fails leaves no task behind.
//! - No part is stopped before those that depend on it.
//!
//! Not here: what a part does.

mod doors;
mod fault;
mod handle;
mod owner;
mod process;
mod reload;
mod running;
mod start;
mod tasks;

pub use fault::{Crashed, StartError, StartFault};
pub use handle::{Daemon, Reloads, Totals};
pub use owner::owner;
pub use process::harden;
pub use reload::{Load, SetLevel};
pub use start::{Start, check, check_online};
