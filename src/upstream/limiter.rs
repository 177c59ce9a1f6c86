//! The process's one pace, for requests that the relay did not start: logins, whose token it is, repeats after a 401.

use std::sync::{Arc, OnceLock};

use super::types::RateLimiter;

/// Asks the limiter that was given, and lets everything start as long as there is none: for a command that sends a
/// handful of requests. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct RequestPace(Arc<OnceLock<Arc<dyn RateLimiter>>>);

impl RequestPace {
    /// Keeps to this one from now on; a second one changes nothing.
    pub(super) fn keep_to(&self, limiter: Arc<dyn RateLimiter>) {
        let _ = self.0.set(limiter);
    }

    /// Returns when a request may start, which counts as its start.
    pub(super) async fn acquire(&self) {
        if let Some(limiter) = self.0.get() {
            limiter.acquire().await;
        }
    }
}
