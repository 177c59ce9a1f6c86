//! What `/status` says: the shape of `status --json`, on which scripts rely.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The whole daemon now. Unknown times are null.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// `running`, or the state of the lane that is worst off.
    pub state: String,
    /// The same in plain words, the most important first.
    pub words: Vec<String>,
    /// Events are accepted.
    pub ready: bool,
    /// Nothing is wrong.
    pub healthy: bool,
    /// Why not.
    pub reasons: Vec<String>,
    /// Events that are not settled.
    pub queue_events: u64,
    /// Bytes of their bodies.
    pub queue_bytes: u64,
    /// Age of the oldest of them.
    pub oldest_seconds: Option<u64>,
    /// Events in the dead letters.
    pub dead_letters: u64,
    /// When the oldest of them will be discarded, if within three days.
    pub dead_letters_expire_seconds: Option<u64>,
    /// Until nothing is queued, at the present pace; null while the backlog does not shrink.
    pub time_to_drain_seconds: Option<u64>,
    /// Until nothing more is accepted, at the present growth; null while nothing grows.
    pub time_to_full_seconds: Option<u64>,
    /// Requests a minute that may start now.
    pub rate_budget: f64,
    /// How far this host's clock is ahead of the API's.
    pub clock_skew_seconds: Option<i64>,
    /// Life left of the access token.
    pub token_expiry_seconds: Option<u64>,
    /// Why the last login failed, if it did.
    pub login_fault: Option<String>,
    /// Region's name, or the API's base URL where that was set.
    pub region: String,
    /// Organisation's id, once a login has shown it.
    pub organisation: Option<String>,
    /// Its name.
    pub organisation_name: Option<String>,
    /// OAuth client.
    pub client_id: Option<String>,
    /// API's host.
    pub api_host: String,
    /// The proxy on the way to it and what names it, password masked.
    pub proxy: Option<String>,
    /// Events accepted a second over the last minute, repeats aside.
    pub accepted_per_second: f64,
    /// Events delivered a second over the last minute.
    pub delivered_per_second: f64,
    /// Since the start.
    pub accepted_total: u64,
    /// Repeats among them.
    pub duplicate_total: u64,
    /// Since the start.
    pub refused_total: u64,
    /// Since the start.
    pub delivered_total: u64,
    /// Since the start.
    pub dead_total: u64,
    /// Since the start.
    pub requests_total: u64,
    /// Events that stood in them.
    pub events_in_requests_total: u64,
    /// Producers connected.
    pub connections: u64,
    /// The disk.
    pub disk: Disk,
    /// Whether the last reload was taken over.
    pub last_reload_ok: bool,
    /// Version of the daemon.
    pub version: String,
    /// Since the start.
    pub uptime_seconds: u64,
    /// Time of this report, milliseconds since 1970.
    pub now_ms: i64,
    /// By lane.
    pub lanes: BTreeMap<String, LaneReport>,
}

/// The queue's directory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disk {
    /// Bytes under it.
    pub used_bytes: u64,
    /// `queue.max_size`
    pub max_bytes: u64,
    /// Free on its file system; null if that does not report its size.
    pub free_bytes: Option<u64>,
    /// Why that file system should not hold a queue.
    #[serde(default)]
    pub warning: Option<String>,
}

/// One lane now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LaneReport {
    /// `running`, `backing_off`, `unauthorized`, `forbidden`, `misconfigured` or `paused`.
    pub state: String,
    /// Why, if not running.
    pub reason: Option<String>,
    /// Since when, milliseconds since 1970; null: since the start.
    pub since_ms: Option<i64>,
    /// Events that are not settled.
    pub queue_events: u64,
    /// Age of the oldest of them.
    pub oldest_seconds: Option<u64>,
    /// Events in requests under way.
    pub in_flight: u64,
    /// HTTP status of the last answer.
    pub last_status: Option<u16>,
    /// Until the next attempt, while it waits.
    pub next_attempt_seconds: Option<u64>,
    /// Since an event was last accepted by this process.
    pub last_accepted_seconds: Option<u64>,
    /// Since an event was last delivered by this process.
    pub last_delivered_seconds: Option<u64>,
    /// Keys whose own probe failed.
    pub keys_held: u64,
    /// Events of the lane in the dead letters.
    pub dead_letters: u64,
}
