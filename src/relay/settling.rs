//! The end of an event's way: written down until it is on stable storage, then counted.

use std::time::Duration;

use super::item::Item;
use crate::event::Lane;
use crate::metrics::{HttpStatus, LaneHttpStatus, LaneLabel, LaneReason, Metrics};
use crate::queue::{Backlog, Outcome, Settlement};
use crate::upstream::Answer;

/// Wait after a storage fault; doubles from the first to the second.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// What is to be written down about events that `answer` settled.
pub(super) fn settlements(settled: Vec<(Item, Outcome)>, answer: Option<&Answer>) -> Vec<Settlement> {
    let settlement = |(item, outcome): (Item, Outcome)| Settlement {
        stored: item.stored,
        outcome,
        attempts: item.attempts,
        status: answer.and_then(|answer| answer.status),
        correlation_id: answer.and_then(|answer| answer.correlation_id.clone()),
    };
    settled.into_iter().map(settlement).collect()
}

/// Returns when all are on stable storage, as often as it takes: the API will not be asked again.
pub(super) async fn settle(backlog: &impl Backlog, lane: Lane, settlements: &[Settlement]) {
    let mut pause = PAUSE.0;
    while let Err(error) = backlog.settle(settlements.to_vec()).await {
        tracing::error!(%lane, %error, "cannot settle; it is tried again");
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE.1);
    }
}

/// Counts what was settled at `now_ms`; a dead letter is worth a line of its own.
pub(super) fn count(metrics: &Metrics, lane: Lane, settlements: &[Settlement], now_ms: i64) {
    for settlement in settlements {
        let event = &settlement.stored.event;
        match &settlement.outcome {
            Outcome::Delivered => {
                let age_ms = now_ms.saturating_sub(event.accepted_at_ms).max(0);
                let age = Duration::from_millis(age_ms.unsigned_abs());
                metrics.delivery_age_seconds.observe(age.as_secs_f64());
                metrics.events_delivered.get_or_create(&LaneLabel { lane: lane.name() }).inc();
            }
            Outcome::Dead { reason, .. } => {
                let (status, correlation_id) = (settlement.status, settlement.correlation_id.as_deref());
                let reason = reason.code();
                tracing::warn!(%lane, event_id = %event.event_id, reason, status, correlation_id, "dead letter");
                metrics.events_dead.get_or_create(&LaneReason { lane: lane.name(), reason }).inc();
            }
        }
    }
}

/// Counts a request and how long its answer took.
pub(super) fn count_request(metrics: &Metrics, lane: Lane, answer: &Answer, took: Duration) {
    let labels = LaneHttpStatus { lane: lane.name(), status: HttpStatus(answer.status) };
    metrics.requests.get_or_create(&labels).inc();
    metrics.request_seconds.observe(took.as_secs_f64());
}
