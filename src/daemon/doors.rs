//! The sockets that the daemon listens on: those that systemd made, else our own.

use std::os::unix::net::UnixListener;

use tokio::net::TcpListener;

use super::fault::StartError;
use crate::activation::{Activation, HttpSocket};
use crate::config::Config;
use crate::ingest::HttpListener;
use crate::socket::{self, BindError, FileState, UnixSocket};

const STREAM_GROUP: &str = "ingest.stream.group";
const ADMIN_GROUP: &str = "admin.group";

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
pub(super) fn open(config: &Config, activation: Activation) -> Result<Doors, StartError> {
    let (stream, admin) = (&config.ingest.stream, &config.admin);
    let http = match activation.http {
        Some(HttpSocket::Tcp(socket)) => Some(HttpListener::Tcp(socket::adopt_tcp(socket)?)),
        Some(HttpSocket::Unix(socket)) => Some(HttpListener::Unix(UnixSocket::adopt(socket)?)),
        None => HttpListener::bind(&config.ingest.http)?,
    };
    let metrics = admin.metrics_listen.map(|address| socket::bind_tcp(&address.to_string())).transpose()?;
    Ok(Doors {
        stream: match activation.stream {
            Some(socket) => adopt(STREAM_GROUP, stream.group.as_deref(), socket)?,
            None => UnixSocket::bind(&stream.path, stream.mode, stream.group.as_deref())
                .map_err(|error| StartError::of_socket(STREAM_GROUP, error))?,
        },
        http,
        admin: match activation.admin {
            Some(socket) => adopt(ADMIN_GROUP, admin.group.as_deref(), socket)?,
            None => UnixSocket::bind(&admin.listen, admin.mode, admin.group.as_deref())
                .map_err(|error| StartError::of_socket(ADMIN_GROUP, error))?,
        },
        metrics,
    })
}

/// Looks up the groups of the socket files.
pub(super) fn check_groups(config: &Config) -> Result<(), StartError> {
    let groups = [(STREAM_GROUP, &config.ingest.stream.group), (ADMIN_GROUP, &config.admin.group)];
    for (key, group) in groups {
        let Some(group) = group else { continue };
        socket::group_id(group).map_err(|error| StartError::of_socket(key, error))?;
    }
    Ok(())
}

/// Takes a socket that systemd made: path, mode and group are systemd's.
fn adopt(key: &str, group: Option<&str>, socket: UnixListener) -> Result<UnixSocket, BindError> {
    if group.is_some() {
        tracing::warn!(key, "this key has no effect: systemd made the socket");
    }
    UnixSocket::adopt(socket)
}
