//! How long to wait after a fault: exponential with full jitter, never shorter than `Retry-After`.

use std::time::Duration;

use crate::upstream::{Answer, believed};

/// Doublings after which the exponential no longer grows; keeps the shift from overflowing.
const DOUBLINGS_MAX: u32 = 20;

/// A wait that an answer asks for, as far as it is believed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AskedWait {
    pub(crate) wait: Duration,
    /// It is the API that asks.
    pub(crate) by_api: bool,
}

impl AskedWait {
    /// By the answer's `Retry-After`.
    pub(crate) fn of(answer: &Answer) -> Option<Self> {
        let by_api = answer.by_api;
        answer.retry_after.map(|wait| Self { wait: believed(wait, by_api), by_api })
    }
}

/// First and longest wait.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Backoff {
    /// `relay.retry_initial`
    pub(crate) initial: Duration,
    /// `relay.retry_max`
    pub(crate) max: Duration,
}

impl Backoff {
    /// Wait after the `failures`-th failure in a row (1 for the first). `roll` is uniform in 0..1:
    /// full jitter spreads hosts that failed together. `retry_after` is a floor.
    pub(crate) fn wait(self, failures: u32, roll: f64, retry_after: Option<Duration>) -> Duration {
        let doublings = failures.saturating_sub(1).min(DOUBLINGS_MAX);
        let ceiling = self.initial.saturating_mul(1 << doublings).min(self.max);
        let jittered = ceiling.mul_f64(roll.clamp(0.0, 1.0));
        jittered.max(retry_after.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKOFF: Backoff = Backoff { initial: Duration::from_millis(500), max: Duration::from_secs(60) };

    #[test]
    fn the_ceiling_doubles_up_to_the_longest_wait() {
        let ceilings: Vec<_> = [1, 2, 3, 8, 500].map(|n| BACKOFF.wait(n, 1.0, None).as_millis()).to_vec();

        assert_eq!(ceilings, [500, 1000, 2000, 60_000, 60_000]);
    }

    #[test]
    fn retry_after_is_a_floor() {
        let floor = BACKOFF.wait(1, 0.0, Some(Duration::from_secs(30)));

        assert_eq!(floor, Duration::from_secs(30));
    }
}
