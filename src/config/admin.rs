//! `[admin]`: the operator's socket and the metrics server.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::key::{ConfigKey, ValueType, key, unset};
use super::values::Values;

/// `[admin]`
#[derive(Clone, Debug)]
pub struct AdminConfig {
    /// Unix socket of the admin interface.
    pub listen: PathBuf,
    /// Permission bits of the socket file.
    pub mode: u32,
    /// Group of the socket file.
    pub group: Option<String>,
    /// TCP address of the read-only metrics and health server; `None`: off.
    pub metrics_listen: Option<SocketAddr>,
    /// Age of the oldest event at which `/healthz` turns.
    pub late_after: Duration,
}

pub(super) const KEYS: &[ConfigKey] = &[
    key(
        "admin.listen",
        "unix:/run/trunkline/admin.sock",
        ValueType::UnixListen,
        "Unix socket of the admin interface.",
    )
    .read_at_start(),
    key("admin.mode", "0660", ValueType::Mode, "Permission bits of the socket file.").read_at_start(),
    unset("admin.group", "\"trunkline-admin\"", ValueType::Text, "Group of the socket file, name or number.")
        .read_at_start(),
    unset(
        "admin.metrics_listen",
        "\"127.0.0.1:9464\"",
        ValueType::TcpListen,
        "TCP address that serves only GET /livez, /readyz, /healthz and /metrics. Not set: off.",
    )
    .read_at_start(),
    key(
        "admin.late_after",
        "15m",
        ValueType::Duration { off: false },
        "/healthz fails when the oldest event is older than this.",
    ),
];

/// Reads the section.
pub(super) fn read(values: &mut Values<'_>) -> AdminConfig {
    AdminConfig {
        listen: values.unix_listen("admin.listen"),
        mode: values.mode("admin.mode"),
        group: values.text("admin.group"),
        metrics_listen: values.tcp_listen("admin.metrics_listen"),
        late_after: values.duration("admin.late_after"),
    }
}
