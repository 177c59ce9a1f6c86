//! Throttles repeated log lines.

use crate::clock::Mono;
use crate::event::Lane;
use crate::fault_log::{FaultLog, Telling};
use crate::queue::{DeadReason, Outcome, QueueError, Settlement};
use crate::throttle::Throttle;

#[derive(Debug, Default)]
pub(super) struct LogThrottle {
    dead: Throttle<(Lane, DeadReason)>,
    reading: [FaultLog; Lane::ALL.len()],
}

impl LogThrottle {
    /// Tells of dead letters. All of them are listed by `dead-letters list`.
    pub(super) fn dead_letters(&mut self, lane: Lane, settlements: &[Settlement], now: Mono) {
        for settlement in settlements {
            let Outcome::Dead { reason, .. } = &settlement.outcome else { continue };
            let Some(held_back) = self.dead.due((lane, *reason), now) else { continue };
            let (event_id, reason) = (settlement.stored.event.event_id, reason.code());
            let (status, correlation_id) = (settlement.status, settlement.correlation_id.as_deref());
            tracing::warn!(%lane, %event_id, reason, status, correlation_id, held_back, "dead letter");
        }
    }

    /// Tells when the queue cannot be read, and when it can again.
    pub(super) fn reading(&mut self, lane: Lane, fault: Option<&QueueError>, now: Mono) {
        match (self.reading[lane.index()].tried(fault.is_some(), now), fault) {
            (Some(Telling::Fault { times }), Some(error)) => {
                tracing::error!(%lane, %error, times, "cannot read the queue; it is tried again");
            }
            (Some(Telling::Over), _) => tracing::info!(%lane, "the queue can be read again"),
            _ => {}
        }
    }
}
