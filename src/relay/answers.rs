//! What an answer does: to the events it is about, to the lane's licence, to the pace.

use std::time::Duration;

use rand::RngExt;

use super::lane::LaneRun;
use super::settling;
use super::status::LaneState;
use super::worker::Worker;
use crate::clock::Mono;
use crate::event::Lane;
use crate::metrics::LaneLabel;
use crate::queue::Backlog;
use crate::relay::decide::breaker::{Told, Trouble};
use crate::relay::decide::item::{Item, Suspects};
use crate::relay::decide::plan::{Effect, Plan, plan};
use crate::upstream::{Answer, Upstream};

impl<B: Backlog, U: Upstream> Worker<B, U> {
    pub(super) fn answered(
        &mut self,
        lane: Lane,
        items: Vec<Item>,
        answer: &Answer,
        (started, now): (Mono, Mono),
    ) {
        settling::count_request(&self.parts.metrics, lane, answer, now.since(started));
        self.pace.heed(answer, started, now);
        self.in_flight -= 1;
        let total = items.len();
        let run = &mut self.lanes[lane.index()];
        run.requests -= 1;
        run.events_in_flight -= total;
        run.last_status = answer.status;
        let patience = run.patience(self.parts.config.event_retry_for);
        let plan = plan(items, answer, patience, now);
        run.note(now, total, plan.retryable);
        if total > 1 {
            run.heed_size(&answer.verdict, total);
        }
        self.apply(lane, plan, answer, (started, now));
    }

    fn apply(&mut self, lane: Lane, plan: Plan, answer: &Answer, (started, now): (Mono, Mono)) {
        let held = matches!(plan.effect, Effect::Held(..) | Effect::KeyHeld);
        self.change_state(lane, plan.effect, answer, (started, now));
        let labels = LaneLabel { lane: lane.name() };
        if plan.reordered > 0 {
            self.parts.metrics.events_reordered.get_or_create(&labels).inc_by(plan.reordered);
        }
        let run = &mut self.lanes[lane.index()];
        for item in plan.wait {
            let roll = rand::rng().random();
            // A probe's key comes again in a minute, when the others have had their turn.
            let wait = if held {
                Duration::from_secs(60)
            } else {
                self.backoff.wait(item.asked.max(1), roll, answer.retry_after)
            };
            run.order.wait(item, now.plus(wait));
        }
        run.order.suspect(plan.groups.into_iter().map(|items| Suspects { items, due: now }).collect());
        run.order.give_back(plan.back);
        self.settle(lane, plan.settle, Some(answer));
    }

    fn change_state(&mut self, lane: Lane, effect: Effect, answer: &Answer, times: (Mono, Mono)) {
        match &effect {
            Effect::Failed(..) => self.host.failed(),
            _ if self.host.answered() => self.lanes.iter_mut().for_each(|run| run.hold.host_is_back(times.0)),
            _ => {}
        }
        let LaneRun { hold, order, .. } = &mut self.lanes[lane.index()];
        let (status, correlation_id) = (answer.status, answer.correlation_id.as_deref());
        match effect {
            Effect::Served => {
                if let Some(over) = hold.served(times) {
                    order.isolate_held(times.1);
                    let after = over.lasted_words();
                    tracing::info!(%lane, after, attempts = over.attempts, "delivering again");
                }
            }
            // The API spoke: what the lane waited for is over, though not for this key.
            Effect::KeyHeld => {
                if let Some(over) = hold.served(times) {
                    order.isolate_held(times.1);
                    tracing::info!(%lane, after = over.lasted_words(), attempts = over.attempts, "the API answers again");
                }
            }
            Effect::Failed(state, reason) => {
                let roll = rand::rng().random();
                match hold.failed((state, reason.clone()), self.backoff, roll, answer.retry_after, times) {
                    Told::Known => {}
                    Told::News => {
                        tracing::warn!(%lane, state = state.name(), reason, status, correlation_id, "not delivering");
                    }
                    Told::Still(trouble) => still(lane, state, &reason, &trouble),
                }
            }
            Effect::Held(state, reason) => match hold.held(state, reason.clone(), times.1) {
                Told::Known => {}
                Told::News => {
                    tracing::warn!(%lane, state = state.name(), reason, status, correlation_id, "holding the lane");
                }
                Told::Still(trouble) => still(lane, state, &reason, &trouble),
            },
        }
    }
}

/// A fault that lasts is told again ever more rarely.
fn still(lane: Lane, state: LaneState, reason: &str, trouble: &Trouble) {
    let (lasts, attempts) = (trouble.lasted_words(), trouble.attempts);
    tracing::warn!(%lane, state = state.name(), reason, lasts, attempts, "still not delivering");
}
