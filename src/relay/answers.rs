//! What an answer does: to the events it is about, to the lane's breaker, to the pace.

use std::time::Duration;

use rand::RngExt;

use super::lane::{LaneRun, SentSize};
use super::settling;
use super::worker::Worker;
use crate::event::Lane;
use crate::metrics::LaneLabel;
use crate::queue::Backlog;
use crate::relay::decide::RoundTrip;
use crate::relay::decide::backoff::AskedWait;
use crate::relay::decide::breaker::{Fault, FaultNotice};
use crate::relay::decide::item::Item;
use crate::relay::decide::order::SuspectGroup;
use crate::relay::decide::plan::{Effect, Plan, plan};
use crate::relay::decide::size::SplitId;
use crate::upstream::{Answer, Upstream};

/// Wait of a key whose own probe failed: it comes again when the others have had their turn.
const HELD_WAIT: Duration = Duration::from_secs(60);

impl<B: Backlog, U: Upstream> Worker<B, U> {
    pub(super) fn answered(
        &mut self,
        lane: Lane,
        items: Vec<Item>,
        sent: SentSize,
        answer: &Answer,
        trip: RoundTrip,
    ) {
        let now = trip.ended;
        settling::count_request(&self.deps.metrics, lane, answer, now.since(trip.started));
        let lowered = self.deps.pacer.pace().take_in(answer, trip.started, now);
        if let Some(lowered) = lowered {
            let requests_per_minute = lowered.per_minute;
            let is_lowest = lowered.is_floor;
            tracing::warn!(%lane, requests_per_minute, is_lowest, "the API's rate limit is used up; sending fewer requests a minute");
        }
        let total = items.len();
        let run = &mut self.lanes[lane.index()];
        run.traffic.answered(total, answer.status);
        let policy = run.give_up_policy(self.deps.config.event_retry_for);
        let plan = plan(items, answer, policy, now);
        run.recent.push(now, total, plan.retryable);
        let half_of = run.learn_size(&answer.verdict, &sent, now);
        self.apply(lane, plan, half_of, answer, trip);
    }

    fn apply(&mut self, lane: Lane, plan: Plan, half_of: Option<SplitId>, answer: &Answer, trip: RoundTrip) {
        let now = trip.ended;
        let is_held = matches!(plan.effect, Effect::Held(_) | Effect::KeyHeld);
        self.change_state(lane, plan.effect, answer, trip);
        let labels = LaneLabel { lane: lane.name() };
        let run = &mut self.lanes[lane.index()];
        if plan.reordered > 0 {
            self.deps.metrics.events_reordered.get_or_create(&labels).inc_by(plan.reordered);
            run.keep_apart(now);
        }
        let asked = AskedWait::of(answer);
        for item in plan.wait {
            let roll = rand::rng().random();
            let wait = if is_held {
                HELD_WAIT
            } else {
                self.backoff.wait(item.asked.max(1), roll, asked.map(|asked| asked.wait))
            };
            run.order.wait(item, now.plus(wait));
        }
        // Groups around suspects that the answer names are not halves.
        let half_of = half_of.filter(|_| plan.groups.len() == 2);
        let group = |items| SuspectGroup { items, due: now, half_of };
        run.order.suspect(plan.groups.into_iter().map(group).collect());
        run.order.give_back(plan.back);
        self.settle(lane, plan.settle, Some(answer));
    }

    fn change_state(&mut self, lane: Lane, effect: Effect, answer: &Answer, trip: RoundTrip) {
        match &effect {
            Effect::Failed(_) => self.host.failed(),
            _ if self.host.answered() => {
                self.lanes.iter_mut().for_each(|run| run.breaker.host_is_back(trip.started));
            }
            _ => {}
        }
        let LaneRun { breaker, order, .. } = &mut self.lanes[lane.index()];
        match effect {
            Effect::Served | Effect::KeyHeld => {
                // After a held key's probe, too: the API spoke, though not for this key.
                let text =
                    if effect == Effect::Served { "delivering again" } else { "the API answers again" };
                if let Some(over) = breaker.served(trip) {
                    order.isolate_held(trip.ended);
                    tracing::info!(%lane, after = over.lasted_words(), attempts = over.attempts, "{text}");
                }
            }
            Effect::Failed(fault) => {
                let roll = rand::rng().random();
                let notice = breaker.failed(fault.clone(), self.backoff, roll, AskedWait::of(answer), trip);
                tell(lane, "not delivering", &fault, &notice, answer);
            }
            Effect::Held(fault) => {
                let notice = breaker.held(fault.clone(), trip.ended);
                tell(lane, "holding the lane", &fault, &notice, answer);
            }
        }
    }
}

/// A lasting fault is logged less and less often.
fn tell(lane: Lane, text: &str, fault: &Fault, notice: &FaultNotice, answer: &Answer) {
    let (state, reason) = (fault.state.name(), &fault.reason);
    match notice {
        FaultNotice::Suppressed => {}
        FaultNotice::New => {
            let (status, correlation_id) = (answer.status, answer.correlation_id.as_deref());
            tracing::warn!(%lane, state, reason, status, correlation_id, "{text}");
        }
        FaultNotice::Ongoing(outage) => {
            let (lasts, attempts) = (outage.lasted_words(), outage.attempts);
            tracing::warn!(%lane, state, reason, lasts, attempts, "still not delivering");
        }
    }
}
