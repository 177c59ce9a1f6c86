//! How far this host's clock is from the API's: telephony reports break on it.

use std::sync::atomic::{AtomicI64, Ordering};

/// Skew above which telephony reports break. Source: `docs/answers.md`, "Clocks".
pub const SKEW_MAX_SECONDS: u64 = 30;

/// No response has had the server's time yet.
const UNKNOWN: i64 = i64::MIN;

/// Our wall clock's lead over the server's, by its last `Date`.
pub(super) struct ClockSkew(AtomicI64);

impl Default for ClockSkew {
    fn default() -> Self {
        Self(AtomicI64::new(UNKNOWN))
    }
}

impl ClockSkew {
    /// To the second; `None` before the first answer.
    pub(super) fn seconds(&self) -> Option<i64> {
        let skew_ms = self.0.load(Ordering::Relaxed);
        (skew_ms != UNKNOWN).then_some(skew_ms / 1000)
    }

    /// Keeps the skew, and logs when it becomes too large or fits again.
    pub(super) fn note(&self, skew_ms: i64) {
        let is_off = |skew_ms: i64| skew_ms != UNKNOWN && skew_ms.unsigned_abs() / 1000 > SKEW_MAX_SECONDS;
        let before = self.0.swap(skew_ms, Ordering::Relaxed);
        match (is_off(before), is_off(skew_ms)) {
            (false, true) => tracing::warn!(
                seconds = skew_ms / 1000,
                "this host's clock differs from the API's, which breaks reports; synchronise it with NTP"
            ),
            (true, false) => tracing::info!("this host's clock matches the API's again"),
            _ => {}
        }
    }
}
