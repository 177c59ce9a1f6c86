//! Throttles repeated log lines.

use std::collections::HashMap;
use std::time::Duration;

use crate::clock::Mono;
use crate::event::Lane;
use crate::queue::{DeadReason, Outcome, QueueError, Settlement};

/// At most one line a second for each lane and reason: a faulty producer must not fill the log.
const QUIET: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub(super) struct LogThrottle {
    dead: HashMap<(Lane, DeadReason), (Mono, u64)>,
    reading_fails: [bool; Lane::ALL.len()],
}

impl LogThrottle {
    /// Tells of dead letters. All of them are listed by `dead-letters list`.
    pub(super) fn dead_letters(&mut self, lane: Lane, settlements: &[Settlement], now: Mono) {
        for settlement in settlements {
            let Outcome::Dead { reason, .. } = &settlement.outcome else { continue };
            let (told_at, held_back) = self.dead.entry((lane, *reason)).or_default();
            if *told_at != Mono::default() && now.since(*told_at) < QUIET {
                *held_back += 1;
                continue;
            }
            let (event_id, reason) = (settlement.stored.event.event_id, reason.code());
            let (status, correlation_id) = (settlement.status, settlement.correlation_id.as_deref());
            let held_back = std::mem::take(held_back);
            *told_at = now;
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
