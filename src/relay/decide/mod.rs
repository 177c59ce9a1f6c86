//! What the relay decides, without doing it: no I/O, no tasks, and `now` is an argument.
//!
//! ```text
//! order (which events may leave) ──> batch (which of them together)
//! breaker, host_breaker (may this lane send) · share (whose turn) · pace (when)
//! plan (what an answer does) · backoff (when again) · size (how large requests may be)
//! ```
//!
//! Not here: requests, reads and settlements (`worker`).

pub(crate) mod backoff;
pub(crate) mod batch;
pub(crate) mod breaker;
pub(crate) mod host_breaker;
pub(crate) mod item;
pub(crate) mod order;
pub(crate) mod pace;
pub(crate) mod plan;
pub(crate) mod recent;
pub(crate) mod share;
pub(crate) mod size;
pub(crate) mod state;

use std::time::Duration;

use crate::clock::Mono;

/// Rates count requests in it.
pub(crate) const MINUTE: Duration = Duration::from_secs(60);

/// Waits that the API asks for and that are no longer than this are usual: nothing is shown of them.
pub(crate) const USUAL_WAIT: Duration = Duration::from_secs(5);

/// When a request started and when its answer came.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RoundTrip {
    pub(crate) started: Mono,
    pub(crate) ended: Mono,
}
