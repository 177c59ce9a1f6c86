//! One lane of the worker: its order, its breaker, its limits, what it has in flight and its memory of the last minute.

use std::sync::Arc;
use std::time::Duration;

use super::decide::state::LaneState;
use super::settling::Unsettled;
use super::status::LaneStatus;
use super::traffic::Traffic;
use crate::clock::Mono;
use crate::config;
use crate::event::Lane;
use crate::queue::{Page, Stored};
use crate::relay::decide::batch::BatchLimits;
use crate::relay::decide::breaker::{LaneBreaker, SendPermit};
use crate::relay::decide::item::Item;
use crate::relay::decide::order::{Order, ReadPlan};
use crate::relay::decide::plan::GiveUpPolicy;
use crate::relay::decide::recent::RecentRequests;
use crate::relay::decide::size::{Size, SizeLimit, SplitId};
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
/// How long no two events of a key share a request after the API broke their order.
const APART_FOR: Duration = Duration::from_secs(600);

/// Wait of a key from which on the status tells it: a delivery that lasts that long is missed.
const TOLD_WAIT: Duration = Duration::from_secs(60);

/// One lane of the worker.
#[derive(Debug)]
pub(super) struct LaneRun {
    pub(super) lane: Lane,
    pub(super) order: Order,
    pub(super) breaker: LaneBreaker,
    size: SizeLimit,
    one_per_key: bool,
    /// The API broke the order within a request: until then no two events of a key share one.
    apart_until: Option<Mono>,
    pub(super) paused: bool,
    /// Why nothing may leave until an operator releases it.
    pub(super) withheld: Option<Arc<str>>,
    is_reading: bool,
    /// Why the queue could not be read when it was last tried: nothing after that place leaves.
    pub(super) unread: Option<String>,
    /// All that is stored has been read.
    at_end: bool,
    pub(super) traffic: Traffic,
    last_delivered_ms: Option<i64>,
    last_start: Option<Mono>,
    /// The last request was of suspects.
    suspects_last: bool,
    linger: Duration,
    pub(super) recent: RecentRequests,
}

/// What a lane would send now.
pub(super) enum NextAction {
    Nothing,
    /// Not yet; ask again then.
    At(Mono),
    Send,
}

/// What one request is made of.
pub(super) struct Batch {
    pub(super) items: Vec<Item>,
    /// They are half of a request that was too large.
    pub(super) half_of: Option<SplitId>,
}

/// How large a request was.
#[derive(Clone, Copy, Debug)]
pub(super) struct SentSize {
    pub(super) size: Size,
    /// It was half of one that was too large.
    pub(super) half_of: Option<SplitId>,
}

impl LaneRun {
    pub(super) fn new(
        lane: Lane,
        config: &config::RelayConfig,
        withheld: Option<Arc<str>>,
        paused: bool,
    ) -> Self {
        Self {
            lane,
            order: Order::default(),
            breaker: LaneBreaker::default(),
            size: SizeLimit::new(configured_size(config)),
            one_per_key: config.one_per_key,
            apart_until: None,
            paused,
            withheld,
            is_reading: false,
            unread: None,
            at_end: false,
            traffic: Traffic::default(),
            last_delivered_ms: None,
            last_start: None,
            suspects_last: false,
            linger: config.batch_linger,
            recent: RecentRequests::default(),
        }
    }

    /// Keeps to new settings.
    pub(super) fn configure(&mut self, config: &config::RelayConfig) {
        self.linger = config.batch_linger;
        self.one_per_key = config.one_per_key;
        self.size.configure(configured_size(config));
    }

    /// Bounds of the next request.
    fn limits(&self) -> BatchLimits {
        self.size.limits(self.one_per_key || self.apart_until.is_some())
    }

    /// Events of a request at most.
    pub(super) fn max_events(&self) -> usize {
        self.limits().max_events
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

    /// Takes in what was read; `accepted` says when an event was. `true` if from now on it is time to wait for what is
    /// stored next.
    pub(super) fn read(&mut self, plan: ReadPlan, page: Page, accepted: impl Fn(&Stored) -> Mono) -> bool {
        self.is_reading = false;
        let is_end = page.at_end && matches!(plan, ReadPlan::Frontier(_));
        self.order.take_in(plan, page, accepted);
        self.at_end |= is_end;
        is_end
    }

    /// More was stored than was read.
    pub(super) fn stored(&mut self) {
        self.at_end = false;
    }

    /// Whether a request of this lane should start.
    pub(super) fn next_action(&mut self, now: Mono) -> NextAction {
        let is_held = self.paused || self.withheld.is_some() || self.traffic.waits_for_room();
        if is_held || self.traffic.events_settling() >= SETTLING_MAX {
            return NextAction::Nothing;
        }
        match self.breaker.permit(now) {
            SendPermit::NotBefore(at) => return NextAction::At(at),
            SendPermit::OneEvent | SendPermit::OneRequest if self.traffic.requests() > 0 => {
                return NextAction::Nothing;
            }
            SendPermit::OneEvent if self.order.has_probe(now) => return NextAction::Send,
            SendPermit::OneEvent => return NextAction::Nothing,
            SendPermit::OneRequest | SendPermit::Free => {}
        }
        if self.order.has_due_suspects(now) {
            return NextAction::Send;
        }
        match self.batch_due(now) {
            None => NextAction::Nothing,
            Some(due) if due <= now => NextAction::Send,
            Some(due) => NextAction::At(due),
        }
    }

    /// When the next batch of events that are not suspects should leave; `None` without any.
    fn batch_due(&mut self, now: Mono) -> Option<Mono> {
        let choice = self.order.choose(self.limits());
        let since = choice.since?;
        let quiet_since = self.last_start.map_or(now, |start| start.plus(self.linger));
        let due = since.plus(self.linger).min(since.max(quiet_since));
        Some(if choice.is_full || self.last_start.is_none() { now } else { due })
    }

    /// Takes the next request's events in hand; `None` if there are none.
    pub(super) fn take(&mut self, now: Mono) -> Option<Batch> {
        let batch = if self.breaker.permit(now) == SendPermit::OneEvent {
            Batch { items: self.order.take_probe(now).into_iter().collect(), half_of: None }
        } else {
            self.take_batch(now)
        };
        if batch.items.is_empty() {
            return None;
        }
        self.last_start = Some(now);
        Some(batch)
    }

    fn take_batch(&mut self, now: Mono) -> Batch {
        // Finding a culprit takes at most every second request: the others' events go on.
        let is_others_turn = self.suspects_last
            && self.order.suspect_events() < SEARCH_MAX
            && self.batch_due(now).is_some_and(|due| due <= now);
        let limits = self.limits();
        let suspects = if is_others_turn { None } else { self.order.take_suspects(now, limits.one_per_key) };
        self.suspects_last = suspects.is_some();
        match suspects {
            Some(group) => Batch { items: group.items, half_of: group.half_of },
            None => {
                let chosen = self.order.choose(limits).seqs;
                Batch { items: self.order.take(&chosen), half_of: None }
            }
        }
    }

    /// Outcomes are on stable storage: the keys of their events are free.
    pub(super) fn settled(&mut self, done: &Unsettled) {
        self.traffic.settled(done);
        self.order.settled(done.keys.iter().copied());
        if self.is_empty() {
            self.breaker.rest();
        }
    }

    pub(super) fn delivered(&mut self, now_ms: i64) {
        self.last_delivered_ms = Some(now_ms);
    }

    /// Lets keys whose wait is over go on.
    pub(super) fn wake(&mut self, now: Mono) {
        self.recover(now);
        self.order.wake(now, self.is_let_in());
    }

    /// When something of the lane ends by itself: a wait, or what was lowered for a while.
    pub(super) fn next_due(&self, now: Mono) -> Option<Mono> {
        [self.order.next_due(now), self.size.grows_at(), self.apart_until].into_iter().flatten().min()
    }

    /// Whatever is waited for: the next attempt is now.
    pub(super) fn try_now(&mut self, now: Mono) {
        self.breaker.try_now();
        self.order.try_now(now);
    }

    /// When events that the API keeps calling retryable are given up, as the lane is now.
    pub(super) fn give_up_policy(&self, retry_for: Duration) -> GiveUpPolicy {
        GiveUpPolicy {
            retry_for,
            lane_is_unwell: self.recent.are_mostly_retryable(),
            lane_is_let_in: self.is_let_in(),
        }
    }

    /// The lane itself is not held, though it may wait.
    fn is_let_in(&self) -> bool {
        !matches!(self.breaker.state(), LaneState::Forbidden | LaneState::Misconfigured)
    }

    /// Learns from an answer how large requests may be. Marks for the halves of a request that was too large.
    pub(super) fn learn_size(&mut self, verdict: &Verdict, sent: &SentSize, now: Mono) -> Option<SplitId> {
        let lane = self.lane;
        match verdict {
            Verdict::TooLarge { .. } if sent.size.events > 1 => return Some(self.size.split(sent.half_of)),
            Verdict::Taken { .. } => {
                if self.size.passed(sent.half_of, sent.size.bytes, now) {
                    let max_bytes = self.limits().max_bytes;
                    tracing::warn!(%lane, max_bytes, "a request was too large but its halves were not; sending smaller requests");
                }
                return None;
            }
            Verdict::Invalid { code, .. } if code == BATCH_TOO_LARGE && sent.size.events > 1 => {
                self.send_fewer(sent.size.events, now);
            }
            _ => {}
        }
        self.size.forget(sent.half_of);
        None
    }

    fn send_fewer(&mut self, events: usize, now: Mono) {
        if self.size.too_many(events, now) {
            let (lane, max_events) = (self.lane, self.limits().max_events);
            tracing::warn!(%lane, max_events, "a request had too many events; sending fewer in each");
        }
    }

    /// The API took a later event of a key and called an earlier one of the same request retryable: for a while no two
    /// events of a key share a request.
    pub(super) fn keep_apart(&mut self, now: Mono) {
        if !self.one_per_key && self.apart_until.is_none() {
            let lane = self.lane;
            tracing::warn!(%lane, "the API took a later event and called an earlier one of its key retryable; one event per key and request for ten minutes");
        }
        self.apart_until = Some(now.plus(APART_FOR));
    }

    /// What was lowered for a while comes back.
    fn recover(&mut self, now: Mono) {
        let lane = self.lane;
        if self.size.grow(now) {
            tracing::info!(%lane, "requests are as large as configured again");
        }
        if self.apart_until.take_if(|until| *until <= now).is_some() {
            tracing::info!(%lane, "events of a key may share a request again");
        }
    }

    /// Nothing of the lane is unread, in memory or under way.
    pub(super) fn is_empty(&self) -> bool {
        self.at_end && !self.is_reading && self.order.is_empty() && !self.traffic.has_open_ends()
    }

    pub(super) fn status(&self, now: Mono) -> LaneStatus {
        let (state, reason) = if self.paused {
            (LaneState::Paused, Some("paused by an operator".to_owned()))
        } else if let Some(reason) = &self.withheld {
            (LaneState::Misconfigured, Some(reason.to_string()))
        } else if self.traffic.waits_for_room() {
            (LaneState::BackingOff, Some("the dead letters have used a quarter of queue.max_size".to_owned()))
        } else if let Some(fault) = &self.unread {
            (LaneState::BackingOff, Some(format!("the queue cannot be read: {fault}")))
        } else if self.traffic.events_settling() >= SETTLING_MAX {
            (LaneState::BackingOff, Some("outcomes cannot be written to the queue".to_owned()))
        } else if let (LaneState::Running, Some(why)) = (self.breaker.state(), self.order.backpressure()) {
            (LaneState::BackingOff, Some(why.to_owned()))
        } else {
            let reason = self.breaker.reason().map(str::to_owned);
            (self.breaker.state(), reason.or_else(|| self.restriction()))
        };
        let until = self.breaker.until(now);
        let waits = self.order.asked_waits().filter(|(_, due)| due.since(now) > TOLD_WAIT);
        let (reason, until) = match waits.filter(|_| reason.is_none() && state == LaneState::Running) {
            Some((keys, due)) => (Some(asked_again(self.lane, keys)), Some(due)),
            None => (reason, until),
        };
        LaneStatus {
            state,
            reason,
            in_flight: self.traffic.events_in_flight(),
            last_status: self.traffic.last_status(),
            next_attempt: until.map(|until| until.since(now)),
            last_delivered_ms: self.last_delivered_ms,
            keys_held: self.order.keys_held(),
            since_ms: None,
        }
    }

    /// What of the lane is less than configured although it runs.
    fn restriction(&self) -> Option<String> {
        if self.apart_until.is_some() {
            return Some(
                "one event per key and request for ten minutes: the API broke the order of two".to_owned(),
            );
        }
        let Size { events, bytes } = self.size.lowered()?;
        Some(format!(
            "requests limited to {events} events and {bytes} bytes: larger ones were rejected as too large"
        ))
    }
}

fn asked_again(lane: Lane, keys: usize) -> String {
    let (noun, plural) = (lane.key_noun(), if keys == 1 { "" } else { "s" });
    format!("the API asked to send events of {keys} {noun}{plural} again later")
}

fn configured_size(config: &config::RelayConfig) -> Size {
    Size { events: config.batch_max_events, bytes: config.batch_max_size }
}
