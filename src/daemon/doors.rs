//! The sockets that the daemon listens on: those that systemd made, else our own.

use std::os::unix::net::UnixListener;

use tokio::net::TcpListener;

use crate::activation::{Activation, HttpSocket};
use crate::config::Config;
use crate::ingest::HttpListener;
use crate::socket::{self, BindError, FileState, UnixSocket};

/// All that listens.
pub(super) struct Doors {
    pub(super) stream: UnixSocket,
    pub(super) http: Option<HttpListener>,
    pub(super) admin: UnixSocket,
    pub(super) metrics: Option<TcpListener>,
}

impl Doors {
    /// The socket files of ours that producers connect to.
    pub(super) fn ingest_files(&self) -> Vec<FileState> {
        let http = self.http.as_ref().and_then(HttpListener::file_state);
        self.stream.file_state().into_iter().chain(http).collect()
    }
}

/// Takes or makes them all; if one cannot be had, none listens.
pub(super) fn open(config: &Config, activation: Activation) -> Result<Doors, BindError> {
    let (stream, admin) = (&config.ingest.stream, &config.admin);
    let http = match activation.http {
        Some(HttpSocket::Tcp(socket)) => Some(HttpListener::Tcp(socket::adopt_tcp(socket)?)),
        Some(HttpSocket::Unix(socket)) => Some(HttpListener::Unix(UnixSocket::adopt(socket)?)),
        None => HttpListener::bind(&config.ingest.http)?,
    };
    let metrics = admin.metrics_listen.map(|address| socket::bind_tcp(&address.to_string())).transpose()?;
    Ok(Doors {
        stream: match activation.stream {
            Some(socket) => adopt("ingest.stream.group", stream.group.as_deref(), socket)?,
            None => UnixSocket::bind(&stream.path, stream.mode, stream.group.as_deref())?,
        },
        http,
        admin: match activation.admin {
            Some(socket) => adopt("admin.group", admin.group.as_deref(), socket)?,
            None => UnixSocket::bind(&admin.listen, admin.mode, admin.group.as_deref())?,
        },
        metrics,
    })
}

/// Takes a socket that systemd made: path, mode and group are systemd's.
fn adopt(key: &str, group: Option<&str>, socket: UnixListener) -> Result<UnixSocket, BindError> {
    if group.is_some() {
        tracing::warn!(key, "this key has no effect: systemd made the socket");
    }
    UnixSocket::adopt(socket)
}
