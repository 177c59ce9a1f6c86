//! The stream door: accepts connections until it is told to stop.

use std::os::unix::net::UnixListener as StdListener;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::{UnixListener, UnixStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config;
use crate::event::{Door, ErrorBody};
use crate::metrics::DoorLabel;

use super::{BindError, DoorContext, Peer, Sink, SocketFile, bind_unix, connection};

/// Pause after a failed accept: out of file descriptors, it fails again at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Time for the one line that tells a producer why it is turned away.
const FAREWELL_LIMIT: Duration = Duration::from_millis(100);

/// A stream socket that listens.
#[derive(Debug)]
pub struct Listener {
    socket: UnixListener,
    file: Option<SocketFile>,
}

impl Listener {
    /// Makes the socket file. Must be called within a runtime.
    ///
    /// # Errors
    /// If it cannot be made, is in use, or names a group that this host does not have.
    pub fn bind(config: &config::Stream) -> Result<Self, BindError> {
        let (socket, file) = bind_unix(&config.path, config.mode, config.group.as_deref())?;
        Self::listen(socket, Some(file))
    }

    /// Takes a socket that systemd made; path, mode and group are systemd's then.
    ///
    /// # Errors
    /// If the socket is of no use.
    pub fn adopt(socket: StdListener) -> Result<Self, BindError> {
        Self::listen(socket, None)
    }

    fn listen(socket: StdListener, file: Option<SocketFile>) -> Result<Self, BindError> {
        socket.set_nonblocking(true).map_err(BindError::Socket)?;
        let socket = UnixListener::from_std(socket).map_err(BindError::Socket)?;
        Ok(Self { socket, file })
    }
}

/// Accepts and serves until `stop`; returns when all that was read is answered and all tasks are joined.
pub async fn serve<S: Sink>(listener: Listener, context: Arc<DoorContext<S>>, stop: CancellationToken) {
    let Listener { socket, file } = listener;
    let tasks = TaskTracker::new();
    while let Some(accepted) = stop.run_until_cancelled(socket.accept()).await {
        match accepted {
            Ok((stream, _)) => {
                tasks.spawn(welcome(stream, context.clone(), stop.clone()));
            }
            Err(error) => {
                tracing::warn!(door = Door::Stream.name(), %error, "cannot accept a connection");
                let _ = stop.run_until_cancelled(tokio::time::sleep(ACCEPT_PAUSE)).await;
            }
        }
    }
    // The file goes first: who finds none knows that nobody listens.
    drop(file);
    drop(socket);
    tasks.close();
    tasks.wait().await;
}

async fn welcome<S: Sink>(stream: UnixStream, context: Arc<DoorContext<S>>, stop: CancellationToken) {
    let Ok(peer) = Peer::of(&stream) else { return };
    if !context.settings().allowed.allows(peer.uid) {
        context.notes.refused(Door::Stream, peer, "uid_not_allowed");
        let message = format!("uid {} may not connect (ingest.stream.allow_uids)", peer.uid);
        return turn_away(stream, ErrorBody { message, code: "not.authorized", status: 403 }).await;
    }
    let slot = match context.admission.connect(Some(peer.uid)) {
        Ok(slot) => slot,
        Err(crowded) => {
            context.notes.refused(Door::Stream, peer, "too_many_connections");
            let (message, code) = (crowded.to_string(), "service.unavailable");
            return turn_away(stream, ErrorBody { message, code, status: 503 }).await;
        }
    };
    let open = context.metrics.connections.get_or_create_owned(&DoorLabel { door: Door::Stream.name() });
    open.inc();
    connection::serve(stream, peer, context, stop).await;
    open.dec();
    drop(slot);
}

async fn turn_away(mut stream: UnixStream, why: ErrorBody) {
    let mut line = why.to_bytes().to_vec();
    line.push(b'\n');
    let _ = tokio::time::timeout(FAREWELL_LIMIT, stream.write_all(&line)).await;
}
