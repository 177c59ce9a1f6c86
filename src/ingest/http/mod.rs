//! The HTTP door: the Events API's own paths on loopback or a unix socket, for producers that have an
//! official SDK.
//!
//! ```text
//! accept ──slot──> connection ──head──> routes ──bearer──> body ──take──> Sink ──> the API's answer
//!           └─ 503      │ head 10 s, idle 60 s   │ proves   │ 30 s, bounded; 503 without room for a long one
//! ```
//!
//! Invariants
//! - 200 means: every event that is not listed is on stable storage.
//! - 503 means: nothing of the body was accepted.
//! - A connection that sends slowly or not at all holds up only itself.
//! - A connection without a valid token cannot keep out one that has it.
//! - A token that is not in the file any more lets nobody in.
//! - No token is logged.
//!
//! Not here: what a good event is (`event`), what an answer promises (`intake`).

mod auth;
mod body;
#[cfg(fuzzing)]
pub mod fuzzing;
mod listener;
mod reply;
mod routes;
mod token_file;

pub use listener::{HttpListener, serve_http};
