//! The sockets that the daemon listens on: those that systemd made, else our own.

use crate::activation::{Activation, HttpSocket};
use crate::config::Config;
use crate::{admin, ingest};

/// All that listens.
pub(super) struct Doors {
    pub(super) stream: ingest::Listener,
    pub(super) http: Option<ingest::HttpListener>,
    pub(super) admin: admin::Listener,
    pub(super) metrics: Option<admin::MetricsListener>,
}

/// Takes or makes them all; if one cannot be had, none listens.
pub(super) fn open(config: &Config, activation: Activation) -> Result<Doors, ingest::BindError> {
    let ingest = &config.ingest;
    let stream = match activation.stream {
        Some(socket) => {
            warn_of_systemds("ingest.stream.group", ingest.stream.group.as_deref());
            ingest::Listener::adopt(socket)?
        }
        None => ingest::Listener::bind(&ingest.stream)?,
    };
    let http = match activation.http {
        Some(HttpSocket::Tcp(socket)) => Some(ingest::HttpListener::adopt_tcp(socket)?),
        Some(HttpSocket::Unix(socket)) => Some(ingest::HttpListener::adopt_unix(socket)?),
        None => ingest::HttpListener::bind(&ingest.http)?,
    };
    let admin = match activation.admin {
        Some(socket) => {
            warn_of_systemds("admin.group", config.admin.group.as_deref());
            admin::Listener::adopt(socket)?
        }
        None => admin::Listener::bind(&config.admin)?,
    };
    Ok(Doors { stream, http, admin, metrics: admin::MetricsListener::bind(&config.admin)? })
}

/// Path, mode and group of a socket that systemd made are systemd's.
fn warn_of_systemds(key: &str, group: Option<&str>) {
    if group.is_some() {
        tracing::warn!(key, "this key has no effect: systemd made the socket");
    }
}
