//! Records outcomes until they are on stable storage, then counts them.

use std::time::Duration;

use crate::event::{Key, Lane};
use crate::metrics::{HttpStatus, LaneHttpStatus, LaneLabel, LaneReason, Metrics};
use crate::queue::{Backlog, Outcome, QueueError, Settlement};
use crate::relay::decide::plan::Ended;
use crate::upstream::Answer;

/// First wait after a storage fault; doubles.
const PAUSE_FIRST: Duration = Duration::from_millis(100);
/// Longest wait after a storage fault.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// What is to be written down about events that `answer` settled.
pub(super) fn settlements(ended: Vec<Ended>, answer: Option<&Answer>) -> Vec<Settlement> {
    let settlement = |Ended { item, outcome }: Ended| Settlement {
        stored: item.stored,
        outcome,
        attempts: item.attempts,
        status: answer.and_then(|answer| answer.status),
        correlation_id: answer.and_then(|answer| answer.correlation_id.clone()),
    };
    ended.into_iter().map(settlement).collect()
}

/// Outcomes that are not on stable storage yet.
#[derive(Debug)]
pub(super) struct Unsettled {
    pub(super) lane: Lane,
    pub(super) settlements: Vec<Settlement>,
    /// Their keys wait.
    pub(super) keys: Vec<Key>,
    /// When the answer came.
    pub(super) now_ms: i64,
    /// One of them waits for room in the dead letters: the lane holds.
    pub(super) waits_for_room: bool,
    /// Why they could not be written the last time, and how long to wait before the next.
    pub(super) fault: Option<(QueueError, Duration)>,
}

/// Gives them back when they are on stable storage, or with the fault: the API will not be asked again,
/// so it is tried as often as it takes.
pub(super) async fn settle(backlog: &impl Backlog, mut unsettled: Unsettled) -> Result<Unsettled, Unsettled> {
    let mut pause = PAUSE_FIRST;
    if let Some((_, wait)) = unsettled.fault.take() {
        tokio::time::sleep(wait).await;
        pause = (wait * 2).min(PAUSE_MAX);
    }
    match backlog.settle(unsettled.settlements.clone()).await {
        Ok(()) => Ok(unsettled),
        Err(error) => {
            unsettled.fault = Some((error, pause));
            Err(unsettled)
        }
    }
}

/// Counts what was settled at `now_ms`.
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
                let labels = LaneReason { lane: lane.name(), reason: reason.code() };
                metrics.events_dead.get_or_create(&labels).inc();
            }
        }
    }
}

/// Counts a request and how long its answer took.
pub(super) fn count_request(metrics: &Metrics, lane: Lane, answer: &Answer, took: Duration) {
    let labels = LaneHttpStatus { lane: lane.name(), status: HttpStatus(answer.status) };
    metrics.requests.get_or_create(&labels).inc();
    metrics.sums.requests.inc();
    metrics.request_seconds.observe(took.as_secs_f64());
}
