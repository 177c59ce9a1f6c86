//! Queue health from its latest operations, and what to log about it.

use std::time::Duration;

use crate::clock::Mono;
use crate::event::Lane;

use super::error::{AppendError, QueueError, StoreError};
use super::state::limits::QueueLimits;
use crate::fault_log::{FaultLog, Telling};

/// What the queue would say to a producer now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueueHealth {
    /// Why no event of any lane is accepted.
    pub refusal: Option<AppendError>,
    /// Lanes that have used their share; the others go on.
    pub full_lanes: Vec<Lane>,
    /// Outcomes cannot be written down.
    pub settling_fails: bool,
}

/// How long an append that failed says that the next will: behind a probe, none may come to show otherwise.
const FAULT_COUNTS_FOR: Duration = Duration::from_secs(30);

/// What the tries of the committer came to.
#[derive(Debug, Default)]
pub(super) struct Health {
    settling: FaultLog,
    appending: [FaultLog; Lane::ALL.len()],
    directory: FaultLog,
    superseding: FaultLog,
    /// Why an append failed, if the last one did.
    append_fault: Option<(AppendError, Mono)>,
    /// When an event of the lane was last refused since the lane is full.
    lane_full_at: [Option<Mono>; Lane::ALL.len()],
}

impl Health {
    /// An event was refused since its lane is full.
    pub(super) fn lane_is_full(&mut self, lane: Lane, now: Mono) {
        self.lane_full_at[lane.index()] = Some(now);
    }

    /// What would be said to a producer now.
    pub(super) fn report(&self, limits: &QueueLimits, now: Mono) -> QueueHealth {
        let is_fresh = |at: &Mono| now.since(*at) < FAULT_COUNTS_FOR;
        let fault = self.append_fault.as_ref().filter(|(_, at)| is_fresh(at)).map(|(error, _)| error.clone());
        let refusal = fault.or_else(|| limits.refusal());
        let full_lanes = match &refusal {
            Some(_) => Vec::new(),
            // Small events may still fit where large ones are refused: what was said counts.
            None => {
                let was_refused =
                    |lane: &Lane| self.lane_full_at[lane.index()].as_ref().is_some_and(is_fresh);
                let is_full = |lane: &Lane| was_refused(lane) || limits.is_lane_full(*lane);
                Lane::ALL.into_iter().filter(is_full).collect()
            }
        };
        QueueHealth { refusal, full_lanes, settling_fails: self.settling.is_faulty() }
    }

    /// A lane's append was tried.
    pub(super) fn appended(&mut self, lane: Lane, fault: Option<&AppendError>, now: Mono) {
        let error = fault.map(tracing::field::display);
        match self.appending[lane.index()].tried(fault.is_some(), now) {
            Some(Telling::Fault { times }) => {
                tracing::error!(%lane, error, times, "events cannot be stored and are refused; each one is tried");
            }
            Some(Telling::Over) => tracing::info!(%lane, "events are stored again"),
            None => {}
        }
        self.append_fault = fault.map(|error| (error.clone(), now));
    }

    /// Outcomes were to be written down.
    pub(super) fn settled(&mut self, fault: Option<&QueueError>, now: Mono) {
        let error = fault.map(tracing::field::display);
        match self.settling.tried(fault.is_some(), now) {
            Some(Telling::Fault { times }) => {
                tracing::error!(error, times, "cannot record outcomes; trying again, nothing is sent twice")
            }
            Some(Telling::Over) => tracing::info!("outcomes are recorded again"),
            None => {}
        }
    }

    /// Dead letters were to be read whose events were accepted again.
    pub(super) fn superseded_read(&mut self, fault: Option<&StoreError>, now: Mono) {
        let error = fault.map(tracing::field::display);
        if let Some(Telling::Fault { times }) = self.superseding.tried(fault.is_some(), now) {
            tracing::warn!(error, times, "superseded dead letters cannot be read; they stay");
        }
    }

    /// `queue.dir` was looked at; `gone` if it is not there any more.
    pub(super) fn directory_looked_at(&mut self, gone: Option<&AppendError>, now: Mono) {
        let error = gone.map(tracing::field::display);
        match self.directory.tried(gone.is_some(), now) {
            Some(Telling::Fault { .. }) => tracing::error!(error, "events are refused"),
            Some(Telling::Over) => tracing::info!("queue.dir is back"),
            None => {}
        }
    }
}
