//! What the API says about its rate: not before an instant, so many until its window ends, and less after a 429.

use std::time::Duration;

use super::MINUTE;
use crate::clock::Mono;
use crate::relay::decide::backoff::RETRY_AFTER_MAX;
use crate::upstream::Answer;

/// Part of the configured rate that comes back each minute after a 429: ten minutes to the full rate.
const RISE_PER_MINUTE: f64 = 0.1;

/// Wait after a 429 that brings no `Retry-After`.
const LIMITED_WAIT: Duration = Duration::from_secs(3);

/// Longest time until the API's count begins anew that is believed. Its window is a minute; an instant in place of a
/// length would stop all lanes for decades.
const RESET_MAX: Duration = Duration::from_secs(3 * 60);

/// Shorter waits for the server are the pace at work, and no news.
const TELLING_WAIT: Duration = Duration::from_secs(5);

/// A spacing of starts that the API's window asks for until it ends.
#[derive(Clone, Copy, Debug)]
struct Spacing {
    interval: Duration,
    until: Mono,
}

/// The API's limits, as far as it told of them.
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

    /// Takes in what an answer to a request that started at `started` says about the rate.
    pub(super) fn take_in(&mut self, answer: &Answer, started: Mono, now: Mono) {
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

    /// How long the server wants nothing of any lane, if that is worth telling.
    pub(super) fn limited_for(&self, now: Mono) -> Option<Duration> {
        Some(self.limited_until.since(now)).filter(|wait| *wait > TELLING_WAIT)
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
