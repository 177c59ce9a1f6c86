//! Speaks to the Events API: one request out, one verdict back.
//!
//! Invariants
//! - Whatever comes back, or nothing, becomes exactly one [`Verdict`]; deciding which is pure.
//! - A token is fetched once for all who wait; the secret and the token never reach a log or an error.
//! - Only `wire` names reqwest.
//!
//! Not here: what a verdict does to events and lanes (`relay`), how often to ask (`relay`).

mod clearance;
mod client;
mod fault;
#[cfg(fuzzing)]
pub mod fuzzing;
mod grant;
mod http;
mod probe;
mod response;
mod secret;
#[cfg(test)]
mod tests;
mod token;
mod types;

pub use client::{Client, ClientError, Me, Prepared};
pub use probe::{Finding, probe};
pub use types::{Answer, EventError, Login, Outbound, RateWindow, Upstream, Verdict};
