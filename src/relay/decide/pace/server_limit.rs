//! What the API says about its rate: not before an instant, so many until its window ends, and less after a 429.

use std::time::Duration;

use crate::clock::Mono;
use crate::relay::decide::backoff::AskedWait;
use crate::relay::decide::{MINUTE, USUAL_WAIT};
use crate::upstream::Answer;

/// Part of the configured rate that comes back each minute after a 429: ten minutes to the full rate.
const RISE_PER_MINUTE: f64 = 0.1;

/// Requests a minute below which 429s never lower the rate, and the part of the configured rate, whichever is more.
/// Below it a client that shares its limit with others would not be served at all. Source: `docs/answers.md`.
const FLOOR: f64 = 1.0;
const FLOOR_PART: f64 = 0.1;

/// Wait after a 429 that brings no `Retry-After`.
const LIMITED_WAIT: Duration = Duration::from_secs(3);

/// Longest time until the API's count begins again that is believed. Its window is a minute; an instant in place of a
/// length would stop all lanes for decades.
const RESET_MAX: Duration = Duration::from_secs(3 * 60);

/// The rate was lowered after a 429.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Lowered {
    /// Requests a minute from now on.
    pub(crate) per_minute: f64,
    /// It will not be lowered any further.
    pub(crate) is_floor: bool,
}

/// A spacing of starts that the API's window asks for until it ends.
#[derive(Clone, Copy, Debug)]
struct Spacing {
    interval: Duration,
    until: Mono,
}

/// The API's limits, as far as it named them.
#[derive(Debug)]
pub(super) struct ServerLimit {
    /// The configured rate, requests a minute.
    full: f64,
    /// What is left of it after 429s.
    rate: f64,
    risen_at: Mono,
    lowered_at: Option<Mono>,
    free_at: Mono,
    /// Before this the server wants nothing; `free_at` is never less.
    limited_until: Mono,
    spacing: Option<Spacing>,
}

impl ServerLimit {
    pub(super) fn new(per_minute: u32, now: Mono) -> Self {
        let full = f64::from(per_minute);
        Self {
            full,
            rate: full,
            risen_at: now,
            lowered_at: None,
            free_at: now,
            limited_until: now,
            spacing: None,
        }
    }

    /// Another configured rate. One that was lowered after a 429 stays lowered by as much.
    pub(super) fn configure(&mut self, per_minute: u32) {
        let full = f64::from(per_minute);
        self.rate *= full / self.full;
        self.full = full;
    }

    /// The earliest instant at which a request might start.
    pub(super) fn free_at(&self) -> Mono {
        self.free_at
    }

    /// A request starts now.
    pub(super) fn started(&mut self, now: Mono) {
        if let Some(interval) = self.interval(now) {
            self.free_at = self.free_at.max(now.plus(interval));
        }
    }

    /// Spacing while the rate is lowered by us or the server; `None` at the full rate.
    fn interval(&self, now: Mono) -> Option<Duration> {
        let lowered = (self.rate < self.full).then(|| MINUTE.div_f64(self.rate));
        let asked = self.spacing.filter(|spacing| spacing.until > now).map(|spacing| spacing.interval);
        lowered.max(asked)
    }

    /// The rate comes back with time.
    pub(super) fn rise(&mut self, now: Mono) {
        let minutes = now.since(self.risen_at).as_secs_f64() / MINUTE.as_secs_f64();
        self.rate = (self.rate + self.full * RISE_PER_MINUTE * minutes).min(self.full);
        self.risen_at = now;
    }

    /// Takes in what an answer to a request that started at `started` says about the rate. What the API did not write
    /// says nothing about that: it is for its lane alone.
    pub(super) fn take_in(&mut self, answer: &Answer, started: Mono, now: Mono) -> Option<Lowered> {
        self.rise(now);
        let mut lowered = None;
        if answer.status == Some(429) && answer.by_api {
            self.limit(now.plus(AskedWait::of(answer).map_or(LIMITED_WAIT, |asked| asked.wait)));
            // Requests that were under way when the rate fell tell nothing about the new one.
            if self.lowered_at.is_none_or(|lowered| started >= lowered) {
                lowered = self.lower(now);
            }
        }
        self.take_in_window(answer, now);
        lowered
    }

    fn lower(&mut self, now: Mono) -> Option<Lowered> {
        let floor = (self.full * FLOOR_PART).max(FLOOR).min(self.full);
        let before = self.rate;
        self.rate = (before / 2.0).max(floor);
        self.lowered_at = Some(now);
        (self.rate < before).then_some(Lowered { per_minute: self.rate, is_floor: self.rate <= floor })
    }

    fn take_in_window(&mut self, answer: &Answer, now: Mono) {
        let Some(window) = answer.rate else { return };
        let reset = window.reset.min(RESET_MAX);
        let until = now.plus(reset);
        let left = window.allowed.saturating_sub(window.count);
        if left == 0 {
            self.limit(until);
            self.spacing = None;
            return;
        }
        let interval = reset / left;
        self.spacing = (interval > MINUTE.div_f64(self.full)).then_some(Spacing { interval, until });
    }

    fn limit(&mut self, until: Mono) {
        self.limited_until = self.limited_until.max(until);
        self.free_at = self.free_at.max(until);
    }

    /// What the server said does not bind any more.
    pub(super) fn forget(&mut self, now: Mono) {
        (self.free_at, self.limited_until, self.spacing) = (now, now, None);
    }

    /// The account is another, with limits of its own.
    pub(super) fn reset(&mut self, now: Mono) {
        self.forget(now);
        (self.rate, self.lowered_at) = (self.full, None);
    }

    /// How long the server wants nothing of any lane, if that is worth telling.
    pub(super) fn limited_for(&self, now: Mono) -> Option<Duration> {
        Some(self.limited_until.since(now)).filter(|wait| *wait > USUAL_WAIT)
    }

    /// Requests a minute that may start now.
    pub(super) fn budget(&self, now: Mono) -> f64 {
        if self.free_at.since(now) > MINUTE.div_f64(self.rate.max(1.0)) {
            return 0.0;
        }
        match self.interval(now) {
            Some(interval) => MINUTE.as_secs_f64() / interval.as_secs_f64().max(0.001),
            None => self.full,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::Verdict;

    fn limited(by_api: bool) -> Answer {
        let verdict = Verdict::Unavailable { reason: "429".to_owned(), maybe_taken: false };
        Answer { verdict, status: Some(429), correlation_id: None, retry_after: None, rate: None, by_api }
    }

    #[test]
    fn however_many_429s_come_the_rate_keeps_a_tenth_and_one_a_minute_and_tells_of_each_step() {
        for (full, floor) in [(300, 30.0), (5, 1.0), (1, 1.0)] {
            let mut limit = ServerLimit::new(full, Mono::default());
            let mut told = Vec::new();
            for second in 1..=60 {
                let now = Mono::from_duration(Duration::from_secs(second));
                told.extend(limit.take_in(&limited(true), now, now));
            }

            assert!((floor..floor * 1.1).contains(&limit.rate), "{} of {full}", limit.rate);
            assert_eq!(told.iter().any(|lowered| lowered.is_floor), full > 1);
        }
    }

    #[test]
    fn another_account_has_the_whole_rate_and_a_wait_that_is_forgotten_leaves_it_lowered() {
        let mut limit = ServerLimit::new(300, Mono::default());
        let now = Mono::from_duration(Duration::from_secs(1));
        limit.take_in(&limited(true), now, now);

        limit.forget(now);
        let forgotten = limit.rate;
        limit.reset(now);

        assert!(forgotten < 300.0);
        assert!((299.0..301.0).contains(&limit.rate), "{}", limit.rate);
    }

    #[test]
    fn a_429_that_the_api_did_not_write_slows_no_other_lane() {
        let mut limit = ServerLimit::new(300, Mono::default());

        let told = limit.take_in(&limited(false), Mono::default(), Mono::default());

        assert_eq!((told, limit.free_at(), limit.rate), (None, Mono::default(), 300.0));
    }
}
