//! An Events API on your desk: token endpoint, the lanes' paths, strict validation, rate limit, and
//! faults to switch on.
//!
//! Invariants
//! - It shares the catalogue with the daemon and nothing with `upstream`: what it finds wrong was found
//!   by other code than that which sent it.
//! - Faults come from a seeded generator: the same seed, the same order of requests, the same faults.
//! - Of what was taken the newest events are kept ([`MAX_KEPT`]); of the others their ids and their keys'
//!   latest times, from which repeats and order are recognised.
//! - Events of a request are taken in the order of their times; within an array they must stand in it.
//!
//! Not here: the real API's rules that nobody has written down.

mod faults;
mod judge;
mod oauth;
mod options;
mod record;
mod reply;
mod server;
mod state;
mod validate;

pub use faults::{Faults, FaultsError, FaultsPatch};
pub use options::{Options, SandboxError, ready_config};
pub use record::{MAX_KEPT, Stats};
pub use server::{Handle, Sandbox};
