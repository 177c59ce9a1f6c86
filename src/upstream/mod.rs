//! Speaks to the Events API: one request out, one verdict back.
//!
//! Invariants
//! - Whatever comes back, or nothing, becomes exactly one [`Verdict`]; deciding which is pure.
//! - A token is fetched once for all who wait; the secret and the token never reach a log or an error.
//! - Only `http` names reqwest.
//! - A token of an account that is not cleared sends nothing (`gate`).
//!
//! Not here: what a verdict does to events and lanes (`relay`), how often to ask (`relay`).

mod client;
mod decode;
mod fault;
#[cfg(fuzzing)]
pub mod fuzzing;
mod gate;
mod grant;
mod http;
mod limiter;
mod probe;
mod proxy;
mod response;
mod retry_after;
mod roots;
mod scrub;
mod secret;
mod skew;
#[cfg(test)]
mod tests;
mod token;
mod types;

pub use client::{Client, Prepared, TokenOwner};
pub use fault::ClientError;
pub use gate::{AccountInUse, SendGate, Standing};
pub use probe::{Finding, probe};
pub(crate) use retry_after::believed;
pub use skew::SKEW_MAX_SECONDS;
pub use types::{Answer, EventError, LoginStatus, Outbound, RateLimiter, RateWindow, Upstream, Verdict};
