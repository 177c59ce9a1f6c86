//! What the relay tells operators: a snapshot, replaced as a whole when something changes.

use std::time::Duration;

use tokio::sync::watch;

use super::lane::LaneRun;
use crate::clock::Mono;
use crate::event::Lane;
use crate::metrics::{LaneLabel, Metrics};

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
    /// Why it does not, in plain words without personal data.
    pub reason: Option<String>,
    /// Events in requests under way.
    pub in_flight: usize,
    /// HTTP status of the last answer.
    pub last_status: Option<u16>,
    /// Time until the next attempt while it waits.
    pub next_attempt: Option<Duration>,
    /// When an event was last delivered, milliseconds since 1970.
    pub last_delivered_ms: Option<i64>,
}

/// All lanes now, by [`Lane::index`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RelayStatus {
    /// By lane index.
    pub lanes: [LaneStatus; Lane::ALL.len()],
}

/// Shows what the lanes do now.
pub(super) fn publish(
    metrics: &Metrics,
    shown: &watch::Sender<RelayStatus>,
    lanes: &[LaneRun],
    budget: f64,
    now: Mono,
) {
    metrics.rate_budget.set(budget);
    for run in lanes {
        let held = i64::try_from(run.order.keys_held()).unwrap_or(i64::MAX);
        metrics.keys_held.get_or_create(&LaneLabel { lane: run.lane.name() }).set(held);
    }
    let next = RelayStatus { lanes: Lane::ALL.map(|lane| lanes[lane.index()].status(now)) };
    shown.send_if_modified(|status| {
        let changed = *status != next;
        *status = next;
        changed
    });
}
