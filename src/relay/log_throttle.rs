//! Throttles repeated log lines.

use crate::clock::Mono;
use crate::event::Lane;
use crate::queue::{DeadReason, Outcome, QueueError, Settlement};
use crate::throttle::Throttle;

#[derive(Debug, Default)]
pub(super) struct LogThrottle {
    dead: Throttle<(Lane, DeadReason)>,
    reading_fails: [bool; Lane::ALL.len()],
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
    pub(super) fn reading(&mut self, lane: Lane, fault: Option<&QueueError>) {
        let fails = &mut self.reading_fails[lane.index()];
        match fault {
            Some(error) if !*fails => {
                tracing::error!(%lane, %error, "cannot read the queue; it is tried again");
            }
            None if *fails => tracing::info!(%lane, "the queue can be read again"),
            _ => {}
        }
        *fails = fault.is_some();
    }
}
