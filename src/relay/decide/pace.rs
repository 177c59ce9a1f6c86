//! When the next request may start: below the configured rate, below the server's word.
//!
//! Three bounds, the latest of which counts: `governor` for rate and burst; a list of the starts of
//! the last minute, since rate plus burst alone would let `rate + burst` start in 60 s; and our own
//! next-allowed instant, which carries what the server says (`governor`'s quota cannot change and a
//! swapped limiter would start with a fresh burst).
//!
//! With a backlog a burst is paid back evenly over the minute after it: otherwise all lanes would stand still at
//! the minute's end, two seconds of each with a burst of 10.

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use governor::clock::Clock as GovernorClock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};

use super::backoff::RETRY_AFTER_MAX;
use crate::clock::Mono;
use crate::upstream::Answer;

const MINUTE: Duration = Duration::from_secs(60);

/// Part of the configured rate that comes back each minute after a 429: ten minutes to the full rate.
const RISE_PER_MINUTE: f64 = 0.1;

/// Wait after a 429 that brings no `Retry-After`.
const LIMITED_WAIT: Duration = Duration::from_secs(3);

/// Longest time until the API's count begins anew that is believed. Its window is a minute; an instant in place of a
/// length would stop all lanes for decades.
const RESET_MAX: Duration = Duration::from_secs(3 * 60);

/// Shorter waits for the server are the pace at work, and no news.
const TELLING_WAIT: Duration = Duration::from_secs(5);

/// Slack over 60 s, for a server whose clock runs a little fast.
const WINDOW_SLACK: Duration = Duration::from_millis(1);

/// `governor`'s view of the time that its caller passed in.
#[derive(Clone, Debug, Default)]
struct Now(Arc<AtomicU64>);

impl GovernorClock for Now {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        Nanos::new(self.0.load(Ordering::Relaxed))
    }
}

type Limiter = RateLimiter<NotKeyed, InMemoryState, Now, NoOpMiddleware<Nanos>>;

/// The pace of all lanes together.
#[derive(Debug)]
pub(crate) struct Pace {
    per_minute: NonZeroU32,
    burst: NonZeroU32,
    now: Now,
    limiter: Limiter,
    limiter_free_at: Mono,
    starts: VecDeque<Mono>,
    /// Starts without a pause before them.
    run: u32,
    even_at: Mono,
    rate: f64,
    risen_at: Mono,
    lowered_at: Option<Mono>,
    next_allowed: Mono,
    /// Before this the server wants nothing; `next_allowed` is never less.
    limited_until: Mono,
    server: Option<(Duration, Mono)>,
}

impl Pace {
    /// At `requests_per_minute` with `burst`, which counts as spent.
    pub(crate) fn new(requests_per_minute: u32, burst: u32, now: Mono) -> Self {
        let per_minute = NonZeroU32::new(requests_per_minute).unwrap_or(NonZeroU32::MIN);
        let burst = NonZeroU32::new(burst.min(per_minute.get())).unwrap_or(NonZeroU32::MIN);
        let clock = Now::default();
        clock.0.store(nanos(now), Ordering::Relaxed);
        let limiter =
            RateLimiter::direct_with_clock(Quota::per_minute(per_minute).allow_burst(burst), clock.clone());
        let mut pace = Self {
            per_minute,
            burst,
            now: clock,
            limiter,
            limiter_free_at: now,
            starts: VecDeque::new(),
            run: 0,
            even_at: now,
            rate: f64::from(per_minute.get()),
            risen_at: now,
            lowered_at: None,
            next_allowed: now,
            limited_until: now,
            server: None,
        };
        // Two cells short of the burst the first request would wait needlessly; all but one are spent.
        for _ in 1..burst.get() {
            pace.spend(now);
        }
        pace
    }

    /// Keeps to another rate from now on. What started within the last minute counts on, and the burst
    /// as spent, so that the change itself never lets more start.
    pub(crate) fn configure(&mut self, requests_per_minute: u32, burst: u32, now: Mono) {
        let mut next = Self::new(requests_per_minute, burst, now);
        let most = next.per_minute.get() as usize;
        let surplus = self.starts.len().saturating_sub(most);
        self.starts.drain(..surplus);
        next.starts = std::mem::take(&mut self.starts);
        // A rate that was lowered after a 429 stays lowered by as much.
        next.rate *= self.rate / f64::from(self.per_minute.get());
        next.lowered_at = self.lowered_at;
        next.next_allowed = self.next_allowed;
        next.limited_until = self.limited_until;
        next.server = self.server;
        *self = next;
    }

    fn spend(&mut self, now: Mono) -> bool {
        self.now.0.store(nanos(now), Ordering::Relaxed);
        match self.limiter.check() {
            Ok(()) => true,
            Err(not_until) => {
                let wait = not_until.wait_time_from(Nanos::new(nanos(now)));
                self.limiter_free_at = now.plus(wait.max(Duration::from_millis(1)));
                false
            }
        }
    }

    /// Starts a request now, or says from when on it may be tried again.
    ///
    /// # Errors
    /// The instant to ask again at.
    pub(crate) fn start(&mut self, now: Mono) -> Result<(), Mono> {
        self.rise(now);
        let free_at = self.free_at();
        if free_at > now {
            return Err(free_at);
        }
        if !self.spend(now) {
            return Err(self.limiter_free_at);
        }
        let own = MINUTE / self.per_minute.get();
        let is_pause = self.starts.back().is_none_or(|last| now.since(*last) > own * 2);
        self.run = if is_pause { 1 } else { self.run.saturating_add(1) };
        if self.starts.len() >= self.per_minute.get() as usize {
            self.starts.pop_front();
        }
        self.starts.push_back(now);
        if self.run > self.burst.get() {
            self.even_at = now.plus(self.even(now));
        }
        if let Some(interval) = self.interval(now) {
            self.next_allowed = self.next_allowed.max(now.plus(interval));
        }
        Ok(())
    }

    /// The spacing at which what the last minute leaves lasts until its starts no longer count.
    fn even(&self, now: Mono) -> Duration {
        let ends = self.starts.iter().map(|at| at.plus(MINUTE + WINDOW_SLACK)).filter(|end| *end > now);
        let counting = ends.clone().count();
        let left = (self.per_minute.get() as usize).saturating_sub(counting);
        // Until the nth of them ends, counted from none, n more than what is left may start; and one as it ends.
        let spacings = ends.enumerate().filter_map(|(nth, end)| {
            let starts = u32::try_from(left + nth + 1).ok()?;
            Some(end.since(now) / starts)
        });
        spacings.max().unwrap_or_default()
    }

    /// The earliest instant at which a request might start.
    pub(crate) fn free_at(&self) -> Mono {
        let mut free_at = self.next_allowed.max(self.limiter_free_at).max(self.even_at);
        if self.starts.len() >= self.per_minute.get() as usize
            && let Some(oldest) = self.starts.front()
        {
            free_at = free_at.max(oldest.plus(MINUTE + WINDOW_SLACK));
        }
        free_at
    }

    /// Spacing while the rate is lowered by us or the server; `None` at the full rate.
    fn interval(&self, now: Mono) -> Option<Duration> {
        let own = (self.rate < f64::from(self.per_minute.get())).then(|| MINUTE.div_f64(self.rate));
        let server = self.server.filter(|(_, until)| *until > now).map(|(interval, _)| interval);
        own.max(server)
    }

    fn rise(&mut self, now: Mono) {
        let full = f64::from(self.per_minute.get());
        let minutes = now.since(self.risen_at).as_secs_f64() / MINUTE.as_secs_f64();
        self.rate = (self.rate + full * RISE_PER_MINUTE * minutes).min(full);
        self.risen_at = now;
    }

    /// Heeds what an answer to a request that started at `started` says about the rate.
    pub(crate) fn heed(&mut self, answer: &Answer, started: Mono, now: Mono) {
        self.rise(now);
        if answer.status == Some(429) {
            let wait = answer.retry_after.unwrap_or(LIMITED_WAIT).min(RETRY_AFTER_MAX);
            self.limit(now.plus(wait));
            // Requests that were under way when the rate fell tell nothing about the new one.
            if self.lowered_at.is_none_or(|lowered| started >= lowered) {
                self.rate = (self.rate / 2.0).max(1.0);
                self.lowered_at = Some(now);
            }
        }
        let Some(window) = answer.rate else { return };
        let reset = window.reset.min(RESET_MAX);
        let until = now.plus(reset);
        let left = window.allowed.saturating_sub(window.count);
        if left == 0 {
            self.limit(until);
            self.server = None;
            return;
        }
        let interval = reset / left;
        let own = MINUTE / self.per_minute.get();
        self.server = (interval > own).then_some((interval, until));
    }

    fn limit(&mut self, until: Mono) {
        self.limited_until = self.limited_until.max(until);
        self.next_allowed = self.next_allowed.max(until);
    }

    /// The account is another, with limits of its own: what the server said of the one before does not bind.
    pub(crate) fn forget_server(&mut self, now: Mono) {
        (self.next_allowed, self.limited_until, self.server) = (now, now, None);
    }

    /// How long the server wants nothing of any lane, if that is worth telling.
    pub(crate) fn limited_for(&self, now: Mono) -> Option<Duration> {
        Some(self.limited_until.since(now)).filter(|wait| *wait > TELLING_WAIT)
    }

    /// Requests a minute that the present pace lets start.
    pub(crate) fn budget(&self, now: Mono) -> f64 {
        if self.next_allowed.since(now) > MINUTE.div_f64(self.rate.max(1.0)) {
            return 0.0;
        }
        match self.interval(now) {
            Some(interval) => MINUTE.as_secs_f64() / interval.as_secs_f64().max(0.001),
            None => f64::from(self.per_minute.get()),
        }
    }
}

fn nanos(at: Mono) -> u64 {
    u64::try_from(at.since(Mono::default()).as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn drive(per_minute: u32, burst: u32, pauses_ms: &[u64]) -> Vec<u128> {
        let mut now = Mono::from_duration(Duration::from_secs(1000));
        let mut pace = Pace::new(per_minute, burst, now);
        let mut starts = Vec::new();
        for pause in pauses_ms {
            now = now.plus(Duration::from_millis(*pause));
            while let Err(at) = pace.start(now) {
                assert!(at > now);
                now = at;
            }
            starts.push(now.since(Mono::default()).as_nanos());
        }
        starts
    }

    proptest! {
        #[test]
        fn no_minute_ever_sees_more_than_the_configured_rate(
            per_minute in 1u32..60,
            burst in 1u32..80,
            pauses_ms in proptest::collection::vec(prop_oneof![8 => Just(0u64), 1 => 0u64..90_000], 200),
        ) {
            let starts = drive(per_minute, burst, &pauses_ms);

            for window in starts.windows(per_minute as usize + 1) {
                prop_assert!(window[per_minute as usize] - window[0] > MINUTE.as_nanos());
            }
        }
    }

    #[test]
    fn a_backlog_uses_the_whole_rate() {
        let starts = drive(300, 10, &[0; 1500]);

        let minutes = (starts[1499] - starts[0]) as f64 / MINUTE.as_nanos() as f64;
        assert!((4.9..5.05).contains(&minutes), "{minutes}");
    }

    #[test]
    fn a_backlog_uses_the_whole_of_a_low_rate_too() {
        for (per_minute, burst) in [(1, 1), (2, 1), (3, 3), (5, 5), (10, 10), (30, 10), (60, 10)] {
            // From the second minute on, so that what counts as spent at the start is over.
            let rounds = 10;
            let starts = drive(per_minute, burst, &vec![0; (per_minute * (rounds + 1)) as usize + 1]);

            let took = starts[(per_minute * (rounds + 1)) as usize] - starts[per_minute as usize];
            let a_minute = f64::from(per_minute * rounds) * MINUTE.as_nanos() as f64 / took as f64;
            assert!(a_minute > f64::from(per_minute) * 0.99, "{a_minute} of {per_minute} a minute");
        }
    }

    #[test]
    fn a_burst_is_paid_back_without_a_standstill() {
        // Five starts a minute apart, so that the burst is whole; then a backlog.
        let mut pauses = vec![60_000; 5];
        pauses.extend([0; 3_000]);

        let starts = drive(300, 10, &pauses);

        let backlog = &starts[5..];
        let burst = backlog.windows(2).take_while(|pair| pair[1] - pair[0] < 1_000_000).count();
        let longest = backlog.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap();
        let minutes = (backlog[2_999] - backlog[0]) as f64 / MINUTE.as_nanos() as f64;
        assert!((8..=10).contains(&burst), "{burst} at once");
        assert!(longest < 250_000_000, "a standstill of {} ms", longest / 1_000_000);
        assert!((9.9..10.05).contains(&minutes), "{minutes}");
    }

    proptest! {
        #[test]
        fn a_change_of_the_rate_never_lets_more_start_than_the_greater_of_both(
            rates in proptest::collection::vec(1u32..60, 2..5),
            burst in 1u32..80,
        ) {
            let mut now = Mono::from_duration(Duration::from_secs(1000));
            let mut pace = Pace::new(rates[0], burst, now);
            let mut starts = Vec::new();
            for rate in &rates {
                pace.configure(*rate, burst, now);
                for _ in 0..40 {
                    while let Err(at) = pace.start(now) {
                        now = at;
                    }
                    starts.push(now);
                }
            }

            let most = *rates.iter().max().unwrap() as usize;
            for window in starts.windows(most + 1) {
                prop_assert!(window[most].since(window[0]) > MINUTE);
            }
        }
    }
}
