//! One lane of the worker: its order, its breaker, its limits and its memory of the last minute.
//!
//! What is in flight and what is being settled is counted by `began`, `answered`, `settling`, `not_settled` and
//! `settled`, and changes in no other way.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::settling::Unsettled;
use super::status::{LaneState, LaneStatus};
use crate::clock::Mono;
use crate::config;
use crate::event::Lane;
use crate::queue::{Page, QueueError};
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

/// One lane of the worker.
#[derive(Debug)]
pub(super) struct LaneRun {
    pub(super) lane: Lane,
    pub(super) order: Order,
    pub(super) breaker: LaneBreaker,
    pub(super) limits: Limits,
    pub(super) paused: bool,
    /// Why nothing may leave until an operator releases it.
    pub(super) withheld: Option<Arc<str>>,
    is_reading: bool,
    /// All that is stored has been read.
    at_end: bool,
    requests: usize,
    events_in_flight: usize,
    /// Groups of outcomes that are not on stable storage yet.
    settling: usize,
    /// Events in them.
    events_settling: usize,
    /// Those of the groups that wait for room in the dead letters.
    waiting_for_room: usize,
    last_status: Option<u16>,
    last_delivered_ms: Option<i64>,
    last_start: Option<Mono>,
    /// The last request was of suspects.
    suspects_last: bool,
    linger: Duration,
    recent: VecDeque<RecentAnswer>,
}

/// What a lane would send now.
pub(super) enum NextAction {
    Nothing,
    /// Not yet; ask again then.
    At(Mono),
    Send,
}

/// How many of a request's events the API called retryable.
#[derive(Debug)]
struct RecentAnswer {
    at: Mono,
    events: usize,
    retryable: usize,
}

impl LaneRun {
    pub(super) fn new(lane: Lane, config: &config::RelayConfig, withheld: Option<Arc<str>>, paused: bool) -> Self {
        Self {
            lane,
            order: Order::default(),
            breaker: LaneBreaker::default(),
            limits: Limits {
                max_events: config.batch_max_events,
                max_bytes: config.batch_max_size,
                one_per_key: config.one_per_key,
            },
            paused,
            withheld,
            is_reading: false,
            at_end: false,
            requests: 0,
            events_in_flight: 0,
            settling: 0,
            events_settling: 0,
            waiting_for_room: 0,
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
        if self.is_reading {
            return None;
        }
        let has_room = self.order.ready_events() < LOW_WATER && self.order.ready_bytes() < READY_BYTES;
        match self.order.read_plan()? {
            // The cursor stays where it is, so what finds no room now is read when there is some.
            plan @ ReadPlan::Rescan(_) => has_room.then_some(plan),
            plan @ ReadPlan::Frontier(_) => (has_room && !self.at_end).then_some(plan),
        }
    }

    /// A read is under way: there is one at a time.
    pub(super) fn began_reading(&mut self) {
        self.is_reading = true;
    }

    /// Takes in what was read. `true` if from now on it is time to wait for what is stored next.
    pub(super) fn read(&mut self, plan: ReadPlan, page: Page, now: Mono) -> bool {
        self.is_reading = false;
        let is_end = page.at_end && matches!(plan, ReadPlan::Frontier(_));
        self.order.take_in(plan, page, now);
        self.at_end |= is_end;
        is_end
    }

    /// More was stored than was read.
    pub(super) fn stored(&mut self) {
        self.at_end = false;
    }

    /// Whether a request of this lane should start.
    pub(super) fn next_action(&mut self, now: Mono) -> NextAction {
        let is_held = self.paused || self.withheld.is_some() || self.waiting_for_room > 0;
        if is_held || self.events_settling >= SETTLING_MAX {
            return NextAction::Nothing;
        }
        let single = match self.breaker.permit(now) {
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
        let choice = self.order.choose(self.limits);
        if choice.seqs.is_empty() {
            return None;
        }
        let seen = self.order.oldest_seen().unwrap_or(now);
        let quiet_since = self.last_start.map_or(now, |start| start.plus(self.linger));
        let due = seen.plus(self.linger).min(seen.max(quiet_since));
        Some(if choice.is_full || single || self.last_start.is_none() { now } else { due })
    }

    /// Takes the next request's events in hand.
    pub(super) fn take(&mut self, now: Mono) -> Vec<Item> {
        let single = self.breaker.permit(now) == SendPermit::OneEvent;
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
                let chosen = if single { self.order.probe() } else { self.order.choose(self.limits).seqs };
                self.order.take(&chosen)
            }
        };
        if !items.is_empty() {
            self.last_start = Some(now);
        }
        items
    }

    /// A request with so many events has started.
    pub(super) fn began(&mut self, events: usize) {
        self.requests += 1;
        self.events_in_flight += events;
    }

    /// A request with so many events has its answer.
    pub(super) fn answered(&mut self, events: usize, status: Option<u16>) {
        self.requests -= 1;
        self.events_in_flight -= events;
        self.last_status = status;
    }

    /// The outcomes of so many events are being written down.
    pub(super) fn settling(&mut self, events: usize) {
        self.settling += 1;
        self.events_settling += events;
    }

    /// Outcomes could not be written down and will be again. `true` if the lane holds from now on, for want of room in
    /// the dead letters.
    pub(super) fn not_settled(&mut self, unsettled: &mut Unsettled) -> bool {
        let is_full = matches!(unsettled.fault, Some((QueueError::DeadLettersFull, _)));
        let is_news = is_full && self.waiting_for_room == 0;
        self.waiting_for_room += usize::from(is_full);
        self.waiting_for_room -= usize::from(unsettled.waits_for_room);
        unsettled.waits_for_room = is_full;
        is_news
    }

    /// Outcomes are on stable storage: the keys of their events are free.
    pub(super) fn settled(&mut self, done: &Unsettled) {
        self.settling -= 1;
        self.events_settling -= done.settlements.len();
        self.waiting_for_room -= usize::from(done.waits_for_room);
        self.order.settled(done.keys.iter().copied());
        if self.is_empty() {
            self.breaker.rest();
        }
    }

    pub(super) fn delivered(&mut self, now_ms: i64) {
        self.last_delivered_ms = Some(now_ms);
    }

    /// Requests in flight.
    pub(super) fn requests(&self) -> usize {
        self.requests
    }

    /// Requests in flight, or outcomes that are not on stable storage yet.
    pub(super) fn has_open_ends(&self) -> bool {
        self.requests > 0 || self.settling > 0
    }

    /// Lets keys whose wait is over go on.
    pub(super) fn wake(&mut self, now: Mono) {
        self.order.wake(now, self.is_let_in());
    }

    /// When events that the API keeps calling retryable are given up, as the lane is now.
    pub(super) fn give_up_policy(&self, retry_for: Duration) -> GiveUpPolicy {
        GiveUpPolicy { retry_for, lane_is_unwell: self.is_unwell(), lane_is_let_in: self.is_let_in() }
    }

    /// The lane itself is not held, though it may wait.
    fn is_let_in(&self) -> bool {
        !matches!(self.breaker.state(), LaneState::Forbidden | LaneState::Misconfigured)
    }

    /// Remembers for a minute how many of a request's events were called retryable.
    pub(super) fn remember(&mut self, now: Mono, events: usize, retryable: usize) {
        self.recent.push_back(RecentAnswer { at: now, events, retryable });
        while self.recent.front().is_some_and(|oldest| now.since(oldest.at) > MINUTE) {
            self.recent.pop_front();
        }
    }

    /// Sends smaller requests from now on if the API called one of `events` too large.
    pub(super) fn learn_size(&mut self, verdict: &Verdict, events: usize) {
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
        let events: usize = self.recent.iter().map(|answer| answer.events).sum();
        let retryable: usize = self.recent.iter().map(|answer| answer.retryable).sum();
        events >= 10 && retryable * 2 > events
    }

    /// Nothing of the lane is unread, in memory or under way.
    pub(super) fn is_empty(&self) -> bool {
        self.at_end && !self.is_reading && self.order.is_empty() && !self.has_open_ends()
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
        } else if let (LaneState::Running, Some(why)) = (self.breaker.state(), self.order.backpressure()) {
            (LaneState::BackingOff, Some(why.to_owned()))
        } else {
            (self.breaker.state(), self.breaker.reason().map(str::to_owned))
        };
        LaneStatus {
            state,
            reason,
            in_flight: self.events_in_flight,
            last_status: self.last_status,
            next_attempt: self.breaker.until(now).map(|until| until.since(now)),
            last_delivered_ms: self.last_delivered_ms,
            keys_held: self.order.keys_held(),
            since_ms: None,
        }
    }
}
