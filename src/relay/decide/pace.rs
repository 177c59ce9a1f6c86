//! When the next request may start: below the configured rate, and below the server's limit.
//!
//! Three bounds, each with its next free instant, the latest of which counts: `limiter` for rate and burst; `window`,
//! since rate plus burst alone would let `rate + burst` start in 60 s; and `server_limit`, which carries what the API
//! says (`governor`'s quota cannot change, and a swapped limiter would start with a fresh burst).

mod limiter;
mod server_limit;
mod window;

use std::num::NonZeroU32;
use std::time::Duration;

use self::limiter::Limiter;
pub(crate) use self::server_limit::Lowered;
use self::server_limit::ServerLimit;
use self::window::Window;
use crate::clock::Mono;
use crate::upstream::Answer;

/// The pace of all lanes together.
#[derive(Debug)]
pub(crate) struct Pace {
    limiter: Limiter,
    window: Window,
    server: ServerLimit,
}

/// The configured rate.
struct Rate {
    per_minute: NonZeroU32,
    burst: NonZeroU32,
}

impl Rate {
    /// At least one request a minute, and no more at once than a minute has.
    fn new(requests_per_minute: u32, burst: u32) -> Self {
        let per_minute = NonZeroU32::new(requests_per_minute).unwrap_or(NonZeroU32::MIN);
        let burst = NonZeroU32::new(burst.min(per_minute.get())).unwrap_or(NonZeroU32::MIN);
        Self { per_minute, burst }
    }
}

impl Pace {
    /// At `requests_per_minute` with `burst`, which counts as spent.
    pub(crate) fn new(requests_per_minute: u32, burst: u32, now: Mono) -> Self {
        let Rate { per_minute, burst } = Rate::new(requests_per_minute, burst);
        Self {
            limiter: Limiter::new(per_minute, burst, now),
            window: Window::new(per_minute, burst, now),
            server: ServerLimit::new(per_minute.get(), now),
        }
    }

    /// Counts starts of an earlier process, in rising order.
    pub(crate) fn restore(&mut self, starts: &[Mono]) {
        self.window.restore(starts);
    }

    /// Keeps to another rate from now on. What started within the last minute counts on, and the burst
    /// as spent, so that the change itself never lets more start.
    pub(crate) fn configure(&mut self, requests_per_minute: u32, burst: u32, now: Mono) {
        let Rate { per_minute, burst } = Rate::new(requests_per_minute, burst);
        self.limiter = Limiter::new(per_minute, burst, now);
        self.window.configure(per_minute, burst, now);
        self.server.configure(per_minute.get());
    }

    /// Starts a request now, or says from when on it may be tried again.
    ///
    /// # Errors
    /// The instant to ask again at.
    pub(crate) fn start(&mut self, now: Mono) -> Result<(), Mono> {
        self.server.rise(now);
        let free_at = self.free_at();
        if free_at > now {
            return Err(free_at);
        }
        self.limiter.start(now)?;
        self.window.started(now);
        self.server.started(now);
        Ok(())
    }

    /// Counts a start for a request that is not the relay's, and says when it may start: as soon as the minute has room.
    pub(crate) fn reserve(&mut self, now: Mono) -> Mono {
        self.window.reserve(now)
    }

    /// The earliest instant at which a request might start.
    fn free_at(&self) -> Mono {
        self.limiter.free_at().max(self.window.free_at()).max(self.server.free_at())
    }

    /// Takes in what an answer to a request that started at `started` says about the rate.
    pub(crate) fn take_in(&mut self, answer: &Answer, started: Mono, now: Mono) -> Option<Lowered> {
        self.server.take_in(answer, started, now)
    }

    /// Nothing is waited for any more that the server asked for.
    pub(crate) fn forget_server(&mut self, now: Mono) {
        self.server.forget(now);
    }

    /// The account is another, with limits of its own.
    pub(crate) fn reset_server(&mut self, now: Mono) {
        self.server.reset(now);
    }

    /// How long the server wants nothing of any lane, if that is worth telling.
    pub(crate) fn limited_for(&self, now: Mono) -> Option<Duration> {
        self.server.limited_for(now)
    }

    /// Requests a minute that the present pace lets start.
    pub(crate) fn budget(&self, now: Mono) -> f64 {
        self.server.budget(now)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::relay::decide::MINUTE;

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
        fn starts_of_others_and_of_an_earlier_process_count_too(
            per_minute in 1u32..40,
            is_others in proptest::collection::vec(proptest::bool::weighted(0.2), 150),
            restarts_at in 0usize..150,
        ) {
            let mut now = Mono::from_duration(Duration::from_secs(1000));
            let mut pace = Pace::new(per_minute, 10, now);
            let mut starts = Vec::new();
            for (nth, is_others) in is_others.into_iter().enumerate() {
                if nth == restarts_at {
                    pace = Pace::new(per_minute, 10, now);
                    starts.sort();
                    pace.restore(&starts);
                }
                if is_others {
                    starts.push(pace.reserve(now));
                    continue;
                }
                while let Err(at) = pace.start(now) {
                    now = at;
                }
                starts.push(now);
            }

            starts.sort();
            for window in starts.windows(per_minute as usize + 1) {
                prop_assert!(window[per_minute as usize].since(window[0]) > MINUTE);
            }
        }

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
