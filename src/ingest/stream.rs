//! The stream door: accepts connections until it is told to stop.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::event::{Door, ErrorBody};
use crate::metrics::DoorLabel;
use crate::socket::{Peer, UnixSocket};

use super::{DoorContext, Sink, connection};

/// Pause after a failed accept: out of file descriptors, it fails again at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Time for the one line that tells a producer why it is turned away.
const FAREWELL_LIMIT: Duration = Duration::from_millis(100);

/// Accepts and serves until `stop`; returns when all that was read is answered and all tasks are joined.
pub async fn serve<S: Sink>(socket: UnixSocket, context: Arc<DoorContext<S>>, stop: CancellationToken) {
    let tasks = TaskTracker::new();
    while let Some(accepted) = stop.run_until_cancelled(socket.accept()).await {
        match accepted {
            Ok(stream) => {
                tasks.spawn(welcome(stream, context.clone(), stop.clone()));
            }
            Err(error) => {
                tracing::warn!(door = Door::Stream.name(), %error, "cannot accept a connection");
                let _ = stop.run_until_cancelled(tokio::time::sleep(ACCEPT_PAUSE)).await;
            }
        }
    }
    drop(socket);
    tasks.close();
    tasks.wait().await;
}

async fn welcome<S: Sink>(stream: UnixStream, context: Arc<DoorContext<S>>, stop: CancellationToken) {
    let Ok(peer) = Peer::of(&stream) else { return };
    if !context.settings().allowed.allows(peer.uid) {
        context.refuse(Door::Stream, peer, "uid_not_allowed");
        let message = format!("uid {} may not connect (ingest.stream.allow_uids)", peer.uid);
        return turn_away(stream, ErrorBody { message, code: "not.authorized", status: 403 }).await;
    }
    let slot = match context.admission.connect(Some(peer.uid)) {
        Ok(slot) => slot,
        Err(crowded) => {
            context.refuse(Door::Stream, peer, "too_many_connections");
            let (message, code) = (crowded.to_string(), "service.unavailable");
            return turn_away(stream, ErrorBody { message, code, status: 503 }).await;
        }
    };
    let open = context.metrics.connections.get_or_create_owned(&DoorLabel { door: Door::Stream.name() });
    open.inc();
    connection::serve(stream.into_split(), peer, context, stop).await;
    open.dec();
    drop(slot);
}

async fn turn_away(mut stream: UnixStream, why: ErrorBody) {
    let mut line = why.to_bytes().to_vec();
    line.push(b'\n');
    let _ = tokio::time::timeout(FAREWELL_LIMIT, stream.write_all(&line)).await;
}
