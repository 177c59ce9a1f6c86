//! A lane's circuit breaker: whether it may send, and how much at once. Pure.
//!
//! ```text
//! running ──fault──> backing off ──served──> running
//!    └──401, 403, 404 …──> held ──probe passes──> running
//! ```

use std::time::Duration;

use super::backoff::{AskedWait, Backoff};
use super::state::LaneState;
use super::{RoundTrip, USUAL_WAIT};
use crate::clock::Mono;

/// Time between probes of a lane that somebody must fix. Source: `docs/answers.md`.
const PROBE_EVERY: Duration = Duration::from_secs(60);
/// Faults in a row after which one request at a time is sent.
const BREAKER: u32 = 2;

/// A fault of a lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) state: LaneState,
    /// Fit for log and status.
    pub(crate) reason: String,
}

/// Whether a lane may send.
#[derive(Debug, Default)]
pub(crate) struct LaneBreaker {
    state: LaneState,
    reason: Option<String>,
    until: Option<Mono>,
    /// The server said not before: `until` is never less.
    floor: Option<Mono>,
    failures: u32,
    /// Starts before this one's answers tell nothing new.
    since: Option<Mono>,
    /// When the lane last ran.
    began: Option<Mono>,
    /// Answers since that were faults.
    attempts: u32,
    /// When the log is to hear of it again.
    tell_at: Mono,
}

/// A fault that lasts, or that is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Outage {
    pub(crate) lasted: Duration,
    pub(crate) attempts: u32,
}

impl Outage {
    pub(crate) fn lasted_words(&self) -> String {
        humantime::format_duration(Duration::from_secs(self.lasted.as_secs())).to_string()
    }
}

/// What the log is to hear of a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FaultNotice {
    /// Nothing: it was logged.
    Suppressed,
    /// The lane's state has changed.
    New,
    /// It lasts.
    Ongoing(Outage),
}

/// A lasting fault is logged again when it is this old, and then as often as the last.
const TELL_AGAIN: [Duration; 3] =
    [Duration::from_secs(60), Duration::from_secs(10 * 60), Duration::from_secs(60 * 60)];

/// How much may leave now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SendPermit {
    /// As much as there is.
    Free,
    /// One request at a time.
    OneRequest,
    /// One event alone.
    OneEvent,
    /// Nothing until then.
    NotBefore(Mono),
}

impl LaneBreaker {
    pub(crate) fn state(&self) -> LaneState {
        self.state
    }

    pub(crate) fn reason(&self) -> Option<&str> {
        self.reason.as_deref()
    }

    /// How much may leave now.
    pub(crate) fn permit(&self, now: Mono) -> SendPermit {
        match (self.state, self.until) {
            (_, Some(until)) if until > now => SendPermit::NotBefore(until),
            (LaneState::Forbidden | LaneState::Misconfigured | LaneState::Unauthorized, _) => {
                SendPermit::OneEvent
            }
            (LaneState::BackingOff, _) if self.failures >= BREAKER => SendPermit::OneRequest,
            _ => SendPermit::Free,
        }
    }

    /// The API spoke about events: it is there and lets us in. What is over thereby, if anything.
    pub(crate) fn served(&mut self, trip: RoundTrip) -> Option<Outage> {
        if self.since.is_some_and(|since| trip.started < since) {
            return None;
        }
        let over = (self.state != LaneState::Running).then(|| self.outage(trip.ended));
        *self = Self::default();
        over
    }

    fn outage(&self, now: Mono) -> Outage {
        Outage {
            lasted: self.began.map_or(Duration::ZERO, |began| now.since(began)),
            attempts: self.attempts,
        }
    }

    /// A fault that passes by itself.
    pub(crate) fn failed(
        &mut self,
        fault: Fault,
        backoff: Backoff,
        roll: f64,
        asked: Option<AskedWait>,
        trip: RoundTrip,
    ) -> FaultNotice {
        // Requests that left together fail together: that is one fault, not many.
        if self.since.is_none_or(|since| trip.started >= since) {
            self.failures += 1;
        }
        let wait = backoff.wait(self.failures, roll, asked.map(|asked| asked.wait));
        self.floor = self.floor.max(asked.map(|asked| trip.ended.plus(asked.wait)));
        let reason = match asked.filter(|asked| asked.wait > USUAL_WAIT) {
            Some(AskedWait { by_api: true, .. }) => format!("{} (the API asked to wait)", fault.reason),
            Some(AskedWait { by_api: false, .. }) => {
                format!("{} (asked to wait, though not by the API)", fault.reason)
            }
            None => fault.reason,
        };
        self.enter(Fault { reason, ..fault }, trip.ended.plus(wait), trip.ended)
    }

    /// The host answers again after a time in which it did not for anybody, to a request that started at
    /// `started`: what only waits need not wait on.
    pub(crate) fn host_is_back(&mut self, started: Mono) {
        if self.state == LaneState::BackingOff && self.since.is_none_or(|since| since <= started) {
            self.until = self.floor;
        }
    }

    /// Somebody has fixed something: what the one before said does not bind the next attempt.
    pub(crate) fn try_now(&mut self) {
        self.until = None;
        self.floor = None;
    }

    /// Nothing is left that could show whether the fault is over, as after all has expired: what comes next
    /// will. It still waits as long as it was to.
    pub(crate) fn rest(&mut self) {
        if self.state == LaneState::BackingOff {
            self.state = LaneState::Running;
            self.reason = None;
        }
    }

    /// A fault that somebody must mend: probes until it is.
    pub(crate) fn held(&mut self, fault: Fault, now: Mono) -> FaultNotice {
        self.failures += 1;
        self.enter(fault, now.plus(PROBE_EVERY), now)
    }

    fn enter(&mut self, fault: Fault, until: Mono, now: Mono) -> FaultNotice {
        let began = *self.began.get_or_insert(now);
        self.attempts = self.attempts.saturating_add(1);
        let told = if self.state != fault.state {
            FaultNotice::New
        } else if now >= self.tell_at {
            FaultNotice::Ongoing(self.outage(now))
        } else {
            FaultNotice::Suppressed
        };
        if told != FaultNotice::Suppressed {
            let age = now.since(began);
            let every = TELL_AGAIN.into_iter().find(|again| *again > age).unwrap_or(TELL_AGAIN[2]);
            self.tell_at = now.plus(every);
        }
        self.state = fault.state;
        self.reason = Some(fault.reason);
        self.until = Some(self.until.map_or(until, |before| before.max(until)));
        self.since = Some(now);
        told
    }

    pub(crate) fn until(&self, now: Mono) -> Option<Mono> {
        self.until.filter(|until| *until > now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKOFF: Backoff = Backoff { initial: Duration::from_millis(100), max: Duration::from_secs(10) };

    fn at(ms: u64) -> Mono {
        Mono::from_duration(Duration::from_millis(ms))
    }

    fn trip(started: u64, ended: u64) -> RoundTrip {
        RoundTrip { started: at(started), ended: at(ended) }
    }

    fn fail(breaker: &mut LaneBreaker, started: u64, now: u64) -> FaultNotice {
        let why = Fault { state: LaneState::BackingOff, reason: "503".to_owned() };
        breaker.failed(why, BACKOFF, 1.0, None, trip(started, now))
    }

    #[test]
    fn faults_of_requests_that_left_together_count_once() {
        let mut breaker = LaneBreaker::default();

        assert_eq!(fail(&mut breaker, 0, 10), FaultNotice::New);
        assert_eq!(fail(&mut breaker, 0, 11), FaultNotice::Suppressed);

        assert_eq!(breaker.permit(at(11)), SendPermit::NotBefore(at(111)));
        assert_eq!(breaker.permit(at(200)), SendPermit::Free);
    }

    #[test]
    fn after_faults_in_a_row_one_request_at_a_time_leaves_until_one_is_served() {
        let mut breaker = LaneBreaker::default();
        fail(&mut breaker, 0, 10);
        fail(&mut breaker, 200, 210);

        assert_eq!(breaker.permit(at(1000)), SendPermit::OneRequest);
        assert_eq!(breaker.served(trip(0, 1000)), None, "an old request's answer");
        let over = breaker.served(trip(1000, 1010));

        assert_eq!(over, Some(Outage { lasted: Duration::from_secs(1), attempts: 2 }));
        assert_eq!(breaker.permit(at(1000)), SendPermit::Free);
    }

    #[test]
    fn a_held_lane_probes_one_event_each_minute() {
        let mut breaker = LaneBreaker::default();

        let fault = Fault { state: LaneState::Forbidden, reason: "missing permission a:b:c".to_owned() };
        assert_eq!(breaker.held(fault, at(0)), FaultNotice::New);

        assert_eq!(breaker.permit(at(59_999)), SendPermit::NotBefore(at(60_000)));
        assert_eq!(breaker.permit(at(60_000)), SendPermit::OneEvent);
    }

    #[test]
    fn a_fault_that_lasts_is_told_ever_more_rarely_and_counted() {
        let mut breaker = LaneBreaker::default();
        let told: Vec<u64> = (0..=4 * 3_600)
            .step_by(10)
            .filter(|second| fail(&mut breaker, second * 1000, second * 1000) != FaultNotice::Suppressed)
            .collect();

        assert_eq!(told, [0, 60, 660, 4_260, 7_860, 11_460]);
        let over = breaker.served(trip(14_410_000, 14_410_000)).unwrap();
        assert_eq!((over.lasted_words().as_str(), over.attempts), ("4h 10s", 1_441));
    }
}
