//! What an operator changes: pause, resume, adopt, reload. Each is logged with the peer's uid.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, mpsc, oneshot};

use super::paused;
use super::request::{AdminRequest, Adopted, ReloadAnswer, ReloadRequest};
use crate::event::Lane;
use crate::panic::Panicked;
use crate::relay::Command;
use crate::socket::Peer;

/// One lane, or all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LaneChoice {
    /// Lane's name; not given: all.
    pub lane: Option<String>,
}

/// What a change did, in words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeAnswer {
    /// Fit to print.
    pub message: String,
}

/// Why a change was not made.
#[derive(Debug, thiserror::Error)]
pub(super) enum ChangeError {
    #[error("unknown lane {0:?}; the lanes are {lanes}", lanes = Lane::ALL.map(Lane::name).join(", "))]
    NoLane(String),
    #[error("nothing was changed, because the change cannot be saved: {0}")]
    Unwritten(String),
    #[error("the daemon is stopping")]
    Stopping,
}

/// What an operator may change.
#[derive(Debug)]
pub struct Controls {
    relay: mpsc::Sender<Command>,
    configuration: mpsc::Sender<AdminRequest>,
    /// Where paused lanes are remembered.
    queue_dir: PathBuf,
    /// Held over a pause or resume: two must not write over each other.
    turn: Mutex<()>,
}

impl Controls {
    /// `configuration` is heard by the task that has the configuration in force.
    pub fn new(
        relay: mpsc::Sender<Command>,
        configuration: mpsc::Sender<AdminRequest>,
        queue_dir: PathBuf,
    ) -> Self {
        Self { relay, configuration, queue_dir, turn: Mutex::default() }
    }

    /// Pauses or resumes: first on disk, then in force.
    pub(super) async fn pause(
        &self,
        choice: &LaneChoice,
        pause: bool,
        peer: Peer,
    ) -> Result<ChangeAnswer, ChangeError> {
        let lane = match &choice.lane {
            None => None,
            Some(name) => Some(Lane::from_name(name).ok_or_else(|| ChangeError::NoLane(name.clone()))?),
        };
        let _one = self.turn.lock().await;
        let dir = self.queue_dir.clone();
        let written = tokio::task::spawn_blocking(move || {
            let mut lanes = paused::read(&dir)?;
            Lane::ALL.into_iter().filter(|each| lane.is_none_or(|lane| lane == *each)).for_each(|each| {
                lanes[each.index()] = pause;
            });
            paused::write(&dir, &lanes)
        });
        match written.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(ChangeError::Unwritten(error.to_string())),
            Err(_) => return Err(ChangeError::Unwritten(Panicked.to_string())),
        }
        let command = if pause { Command::Pause(lane) } else { Command::Resume(lane) };
        self.relay.send(command).await.map_err(|_| ChangeError::Stopping)?;
        let what = if pause { "paused" } else { "resumed" };
        let which = lane.map_or("all lanes", Lane::name);
        tracing::info!(lanes = which, uid = peer.uid, pid = peer.pid, "{what} by an operator");
        let message = match pause {
            true => format!("paused {which}: events are still accepted but not sent; this survives restarts"),
            false => format!("resumed {which}"),
        };
        Ok(ChangeAnswer { message })
    }

    /// Lets what was queued for another account leave for the configured one.
    pub(super) async fn adopt(&self, peer: Peer) -> Result<ChangeAnswer, ChangeError> {
        let (answer, done) = oneshot::channel();
        self.configuration.send(AdminRequest::Adopt(answer)).await.map_err(|_| ChangeError::Stopping)?;
        let adopted = done.await.map_err(|_| ChangeError::Stopping)?;
        let Adopted { owner, before } = adopted.map_err(ChangeError::Unwritten)?;
        let before = before.filter(|before| *before != owner).map(|before| before.to_string());
        tracing::info!(%owner, before, uid = peer.uid, pid = peer.pid, "adopted by an operator");
        let message = match before {
            Some(before) => format!("the queue now belongs to {owner}; before: {before}"),
            None => format!("the queue belongs to {owner}"),
        };
        Ok(ChangeAnswer { message })
    }

    /// Has the configuration read again.
    pub(super) async fn reload(&self, by: String) -> Result<ReloadAnswer, ChangeError> {
        let (answer, done) = oneshot::channel();
        self.configuration
            .send(AdminRequest::Reload(ReloadRequest { by, answer }))
            .await
            .map_err(|_| ChangeError::Stopping)?;
        done.await.map_err(|_| ChangeError::Stopping)
    }
}
