//! Rate and burst by `governor`, on the time that the caller passes in.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use governor::clock::Clock as GovernorClock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};

use crate::clock::Mono;

/// `governor`'s view of the time that its caller passed in.
#[derive(Clone, Debug, Default)]
struct Now(Arc<AtomicU64>);

impl GovernorClock for Now {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        Nanos::new(self.0.load(Ordering::Relaxed))
    }
}

/// Lets `per_minute` start in a minute, and `burst` at once after quiet.
#[derive(Debug)]
pub(super) struct Limiter {
    now: Now,
    governor: RateLimiter<NotKeyed, InMemoryState, Now, NoOpMiddleware<Nanos>>,
    free_at: Mono,
}

impl Limiter {
    /// All of the burst but one counts as spent.
    pub(super) fn new(per_minute: NonZeroU32, burst: NonZeroU32, now: Mono) -> Self {
        let clock = Now::default();
        let quota = Quota::per_minute(per_minute).allow_burst(burst);
        clock.0.store(nanos(now), Ordering::Relaxed);
        let governor = RateLimiter::direct_with_clock(quota, clock.clone());
        let mut limiter = Self { now: clock, governor, free_at: now };
        // With none left the first request would wait needlessly.
        for _ in 1..burst.get() {
            // That there was one to spend is all that matters.
            let _ = limiter.start(now);
        }
        limiter
    }

    /// The earliest instant at which a request might start.
    pub(super) fn free_at(&self) -> Mono {
        self.free_at
    }

    /// Starts a request now, or says when to ask again.
    pub(super) fn start(&mut self, now: Mono) -> Result<(), Mono> {
        self.now.0.store(nanos(now), Ordering::Relaxed);
        self.governor.check().map_err(|not_until| {
            let wait = not_until.wait_time_from(Nanos::new(nanos(now)));
            self.free_at = now.plus(wait.max(Duration::from_millis(1)));
            self.free_at
        })
    }
}

fn nanos(at: Mono) -> u64 {
    u64::try_from(at.since(Mono::default()).as_nanos()).unwrap_or(u64::MAX)
}
