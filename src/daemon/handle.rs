//! The running daemon, as its caller holds it.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use super::fault::Crashed;
use crate::admin::{AdminRequest, ReloadAnswer, ReloadRequest};
use crate::event::Lane;
use crate::metrics::{LaneLabel, LaneReason, Metrics};
use crate::queue::DeadReason;
use crate::relay::{LaneState, RelayStatus};

/// How many events came to which end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Taken by the API.
    pub delivered: u64,
    /// In the dead letters.
    pub dead: u64,
}

/// Asks for reloads. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Reloads(pub(super) mpsc::Sender<AdminRequest>);

impl Reloads {
    /// Has the configuration read again, and says what that did. `None` while stopping.
    pub async fn reload(&self, by: &str) -> Option<ReloadAnswer> {
        let (answer, done) = oneshot::channel();
        self.0.send(AdminRequest::Reload(ReloadRequest { by: by.to_owned(), answer })).await.ok()?;
        done.await.ok()
    }
}

/// The running daemon.
#[derive(Debug)]
pub struct Daemon {
    pub(super) metrics: Arc<Metrics>,
    pub(super) status: watch::Receiver<RelayStatus>,
    pub(super) requests: mpsc::Sender<AdminRequest>,
    pub(super) task: JoinHandle<bool>,
}

impl Daemon {
    /// For those who may ask for a reload.
    pub fn reloads(&self) -> Reloads {
        Reloads(self.requests.clone())
    }

    /// Everything counted.
    pub fn metrics(&self) -> Arc<Metrics> {
        self.metrics.clone()
    }

    /// The lanes' state as it changes.
    pub fn status(&self) -> watch::Receiver<RelayStatus> {
        self.status.clone()
    }

    /// Events by their end, all lanes together.
    pub fn totals(&self) -> Totals {
        totals(&self.metrics)
    }

    /// What the lanes do, in a few words.
    pub fn state_in_words(&self) -> String {
        let status = self.status.borrow();
        let troubled =
            Lane::ALL.into_iter().zip(&status.lanes).find(|(_, lane)| lane.state != LaneState::Running);
        match troubled {
            None => "delivering".to_owned(),
            Some((lane, found)) => {
                let reason = found.reason.as_deref().unwrap_or("no reason known");
                format!("{lane} {}: {reason}", found.state.name())
            }
        }
    }

    /// Returns when every task has ended after a stop.
    ///
    /// # Errors
    /// If one panicked, or ended without a stop. What was accepted lies on disk all the same.
    pub async fn finished(self) -> Result<(), Crashed> {
        match self.task.await {
            Ok(true) => Ok(()),
            Ok(false) => Err(Crashed),
            Err(_) => Err(Crashed),
        }
    }
}

/// Events by their end, all lanes together.
pub(super) fn totals(metrics: &Metrics) -> Totals {
    let mut totals = Totals::default();
    for lane in Lane::ALL {
        totals.delivered += metrics.events_delivered.get_or_create(&LaneLabel { lane: lane.name() }).get();
        for reason in DeadReason::ALL {
            let labels = LaneReason { lane: lane.name(), reason: reason.code() };
            totals.dead += metrics.events_dead.get_or_create(&labels).get();
        }
    }
    totals
}
