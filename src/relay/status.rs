//! What the relay tells operators: a snapshot, replaced as a whole when something changes.

use std::time::Duration;

use tokio::sync::watch;

use super::lane::LaneRun;
use crate::clock::Mono;
use crate::event::Lane;
use crate::metrics::{LaneLabel, Metrics};
use crate::relay::decide::pace::Pace;

/// Whether a lane delivers, and if not, why not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum LaneState {
    /// Delivers, or has nothing to deliver.
    #[default]
    Running,
    /// Waits after a fault that passes by itself.
    BackingOff,
    /// The API does not accept our credentials.
    Unauthorized,
    /// The credentials lack a permission.
    Forbidden,
    /// Address, network or directory do not fit.
    Misconfigured,
    /// An operator said so.
    Paused,
}

impl LaneState {
    /// All states.
    pub const ALL: [LaneState; 6] = [
        LaneState::Running,
        LaneState::BackingOff,
        LaneState::Unauthorized,
        LaneState::Forbidden,
        LaneState::Misconfigured,
        LaneState::Paused,
    ];

    /// Text in status and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            LaneState::Running => "running",
            LaneState::BackingOff => "backing_off",
            LaneState::Unauthorized => "unauthorized",
            LaneState::Forbidden => "forbidden",
            LaneState::Misconfigured => "misconfigured",
            LaneState::Paused => "paused",
        }
    }
}

/// One lane now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LaneStatus {
    /// Whether it delivers.
    pub state: LaneState,
    /// Why it does not, or has to wait while it runs, in plain words without personal data.
    pub reason: Option<String>,
    /// Events in requests under way.
    pub in_flight: usize,
    /// HTTP status of the last answer.
    pub last_status: Option<u16>,
    /// Time until the next attempt while it waits.
    pub next_attempt: Option<Duration>,
    /// When an event was last delivered, milliseconds since 1970.
    pub last_delivered_ms: Option<i64>,
    /// Keys whose own probe failed.
    pub keys_held: usize,
    /// Since when it is in this state, milliseconds since 1970; `None`: since the start.
    pub since_ms: Option<i64>,
}

/// All lanes now, by [`Lane::index`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RelayStatus {
    /// By lane index.
    pub lanes: [LaneStatus; Lane::ALL.len()],
    /// Requests a minute that may start now.
    pub budget: f64,
}

/// Shows what the lanes do now.
pub(super) fn publish(
    metrics: &Metrics,
    shown: &watch::Sender<RelayStatus>,
    lanes: &[LaneRun],
    pace: &Pace,
    (now, now_ms): (Mono, i64),
) {
    let budget = pace.budget(now);
    metrics.rate_budget.set(budget);
    let mut next = RelayStatus { lanes: Lane::ALL.map(|lane| lanes[lane.index()].status(now)), budget };
    if let Some(wait) = pace.limited_for(now) {
        for (run, status) in lanes.iter().zip(&mut next.lanes) {
            // It runs as far as it goes: the limit is the client's and ends by itself.
            if status.state == LaneState::Running && !run.is_empty() {
                status.reason = Some("the API's rate limit is used up: all lanes wait".to_owned());
                status.next_attempt = Some(wait);
            }
        }
    }
    for (lane, status) in Lane::ALL.into_iter().zip(&next.lanes) {
        let held = i64::try_from(status.keys_held).unwrap_or(i64::MAX);
        metrics.keys_held.get_or_create(&LaneLabel { lane: lane.name() }).set(held);
    }
    shown.send_if_modified(|status| {
        for (next, before) in next.lanes.iter_mut().zip(&status.lanes) {
            next.since_ms = if next.state == before.state { before.since_ms } else { Some(now_ms) };
        }
        let changed = *status != next;
        *status = next;
        changed
    });
}
