//! What the relay tells operators: a snapshot, replaced as a whole when something changes.

use std::time::Duration;

use super::decide::state::LaneState;
use crate::event::Lane;

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
