//! One lane of the worker: its order, its licence, its limits and its memory of the last minute.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::status::{LaneState, LaneStatus};
use crate::clock::Mono;
use crate::config;
use crate::event::Lane;
use crate::relay::decide::batch::Limits;
use crate::relay::decide::breaker::{LaneBreaker, SendPermit};
use crate::relay::decide::item::Item;
use crate::relay::decide::order::{Order, ReadPlan};
use crate::relay::decide::plan::GiveUpPolicy;
use crate::upstream::Verdict;

/// Ready events below which more are read. With one read more and the suspects four lanes stay under 20,000.
const LOW_WATER: usize = 1_000;
/// Ready bytes above which nothing is read; with one read more four lanes stay under 8 MiB.
const READY_BYTES: usize = 1024 * 1024;
/// Suspects above which their search goes before the others' events, each batch of which may bring as many again: ten
/// batches. Below it others have every second request; above it they have one whenever the search has settled as many.
const SEARCH_MAX: usize = 1_000;
/// Events whose outcome may wait to be written: more than a segment of the queue holds of usual ones, so
/// that a full disk is freed by settling whole segments.
const SETTLING_MAX: usize = 12_000;
/// The API's code for more events than it takes in a request.
const BATCH_TOO_LARGE: &str = "max.batch.size.surpassed";
const MINUTE: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(super) struct LaneRun {
    pub(super) lane: Lane,
    pub(super) order: Order,
    pub(super) hold: LaneBreaker,
    pub(super) limits: Limits,
    pub(super) paused: bool,
    /// Why nothing may leave until an operator releases it.
    pub(super) withheld: Option<Arc<str>>,
    /// Outcomes of this lane that wait for room in the dead letters.
    pub(super) waiting_for_room: usize,
    /// Events whose outcome is not on stable storage yet.
    pub(super) events_settling: usize,
    pub(super) reading: bool,
    pub(super) at_end: bool,
    pub(super) requests: usize,
    pub(super) events_in_flight: usize,
    pub(super) settling: usize,
    pub(super) last_status: Option<u16>,
    pub(super) last_delivered_ms: Option<i64>,
    last_start: Option<Mono>,
    /// The last request was of suspects.
    suspects_last: bool,
    linger: Duration,
    recent: VecDeque<(Mono, usize, usize)>,
}

/// What a lane would send now.
pub(super) enum NextAction {
    Nothing,
    /// Not yet; ask again then.
    At(Mono),
    Send,
}

impl LaneRun {
    pub(super) fn new(lane: Lane, config: &config::RelayConfig, withheld: Option<Arc<str>>) -> Self {
        Self {
            lane,
            order: Order::default(),
            hold: LaneBreaker::default(),
            limits: Limits {
                max_events: config.batch_max_events,
                max_bytes: config.batch_max_size,
                one_per_key: config.one_per_key,
            },
            paused: false,
            withheld,
            waiting_for_room: 0,
            events_settling: 0,
            reading: false,
            at_end: false,
            requests: 0,
            events_in_flight: 0,
            settling: 0,
            last_status: None,
            last_delivered_ms: None,
            last_start: None,
            suspects_last: false,
            linger: config.batch_linger,
            recent: VecDeque::new(),
        }
    }

    /// Keeps to new settings. What the API taught about sizes is learnt anew if the operator changes them.
    pub(super) fn configure(&mut self, config: &config::RelayConfig, before: &config::RelayConfig) {
        self.linger = config.batch_linger;
        self.limits.one_per_key = config.one_per_key;
        if config.batch_max_events != before.batch_max_events {
            self.limits.max_events = config.batch_max_events;
        }
        if config.batch_max_size != before.batch_max_size {
            self.limits.max_bytes = config.batch_max_size;
        }
    }

    /// The read that is wanted now.
    pub(super) fn wanted_read(&self) -> Option<ReadPlan> {
        if self.reading {
            return None;
        }
        let has_room = self.order.ready_events() < LOW_WATER && self.order.ready_bytes() < READY_BYTES;
        match self.order.read_plan()? {
            // The cursor stays where it is, so what finds no room now is read when there is some.
            plan @ ReadPlan::Rescan(_) => has_room.then_some(plan),
            plan @ ReadPlan::Frontier(_) => (has_room && !self.at_end).then_some(plan),
        }
    }

    /// Whether a request of this lane should start.
    pub(super) fn wish(&mut self, now: Mono) -> NextAction {
        let is_held = self.paused || self.withheld.is_some() || self.waiting_for_room > 0;
        if is_held || self.events_settling >= SETTLING_MAX {
            return NextAction::Nothing;
        }
        let single = match self.hold.licence(now) {
            SendPermit::NotBefore(at) => return NextAction::At(at),
            SendPermit::OneEvent | SendPermit::OneRequest if self.requests > 0 => return NextAction::Nothing,
            SendPermit::OneEvent => true,
            _ => false,
        };
        if self.order.has_due_suspects(now) {
            return NextAction::Send;
        }
        match self.batch_due(now, single) {
            None => NextAction::Nothing,
            Some(due) if due <= now => NextAction::Send,
            Some(due) => NextAction::At(due),
        }
    }

    /// When the next batch of events that are not suspects should leave; `None` without any.
    fn batch_due(&mut self, now: Mono, single: bool) -> Option<Mono> {
        let (chosen, full) = self.order.choose(self.limits);
        if chosen.is_empty() {
            return None;
        }
        let seen = self.order.oldest_seen().unwrap_or(now);
        let quiet_since = self.last_start.map_or(now, |start| start.plus(self.linger));
        let due = seen.plus(self.linger).min(seen.max(quiet_since));
        Some(if full || single || self.last_start.is_none() { now } else { due })
    }

    /// Takes the next request's events in hand.
    pub(super) fn take(&mut self, now: Mono) -> Vec<Item> {
        let single = self.hold.licence(now) == SendPermit::OneEvent;
        // Finding a culprit takes at most every second request: the others' events go on.
        let others_turn = self.suspects_last
            && !single
            && self.order.suspect_events() < SEARCH_MAX
            && self.batch_due(now, false).is_some_and(|due| due <= now);
        let suspects = if others_turn { None } else { self.order.take_suspects(now, single) };
        self.suspects_last = suspects.is_some();
        let items = match suspects {
            Some(items) => items,
            None => {
                let chosen = if single { self.order.probe() } else { self.order.choose(self.limits).0 };
                self.order.take(&chosen)
            }
        };
        if !items.is_empty() {
            self.last_start = Some(now);
        }
        items
    }

    /// Lets keys whose wait is over go on.
    pub(super) fn wake(&mut self, now: Mono) {
        self.order.wake(now, self.is_let_in());
    }

    /// What the lane's state makes of an answer.
    pub(super) fn patience(&self, retry_for: Duration) -> GiveUpPolicy {
        GiveUpPolicy { retry_for, lane_is_unwell: self.is_unwell(), lane_is_let_in: self.is_let_in() }
    }

    /// The lane itself is not held, though it may wait.
    fn is_let_in(&self) -> bool {
        !matches!(self.hold.state(), LaneState::Forbidden | LaneState::Misconfigured)
    }

    /// LogThrottle how many of a request's events were called retryable.
    pub(super) fn note(&mut self, now: Mono, events: usize, retryable: usize) {
        self.recent.push_back((now, events, retryable));
        while self.recent.front().is_some_and(|(at, ..)| now.since(*at) > MINUTE) {
            self.recent.pop_front();
        }
    }

    /// Sends smaller requests from now on if the API called one of `events` too large.
    pub(super) fn heed_size(&mut self, verdict: &Verdict, events: usize) {
        let lane = self.lane;
        match verdict {
            Verdict::TooLarge { .. } => {
                self.limits.max_bytes = (self.limits.max_bytes / 2).max(50_000);
                let max_bytes = self.limits.max_bytes;
                tracing::warn!(%lane, max_bytes, "a request was too large; smaller ones from now on");
            }
            Verdict::Invalid { code, .. } if code == BATCH_TOO_LARGE => {
                self.limits.max_events = (events / 2).max(1);
                let max_events = self.limits.max_events;
                tracing::warn!(%lane, max_events, "a request had too many events; fewer from now on");
            }
            _ => {}
        }
    }

    /// Over half of the last minute's events, and not just of a few, were called retryable.
    pub(super) fn is_unwell(&self) -> bool {
        let (events, retryable) =
            self.recent.iter().fold((0, 0), |sum, (_, events, again)| (sum.0 + events, sum.1 + again));
        events >= 10 && retryable * 2 > events
    }

    /// Nothing of the lane is unread, in memory or under way.
    pub(super) fn is_empty(&self) -> bool {
        self.at_end && !self.reading && self.order.is_empty() && self.requests == 0 && self.settling == 0
    }

    pub(super) fn status(&self, now: Mono) -> LaneStatus {
        let (state, reason) = if self.paused {
            (LaneState::Paused, Some("paused by an operator".to_owned()))
        } else if let Some(reason) = &self.withheld {
            (LaneState::Misconfigured, Some(reason.to_string()))
        } else if self.waiting_for_room > 0 {
            (LaneState::BackingOff, Some("the dead letters have used a quarter of queue.max_size".to_owned()))
        } else if self.events_settling >= SETTLING_MAX {
            (LaneState::BackingOff, Some("outcomes cannot be written to the queue".to_owned()))
        } else if let (LaneState::Running, Some(crowd)) = (self.hold.state(), self.order.crowd()) {
            (LaneState::BackingOff, Some(crowd.to_owned()))
        } else {
            (self.hold.state(), self.hold.reason().map(str::to_owned))
        };
        LaneStatus {
            state,
            reason,
            in_flight: self.events_in_flight,
            last_status: self.last_status,
            next_attempt: self.hold.until(now).map(|until| until.since(now)),
            last_delivered_ms: self.last_delivered_ms,
            keys_held: self.order.keys_held(),
            since_ms: None,
        }
    }
}
