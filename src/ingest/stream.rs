//! The stream door: accepts connections until it is told to stop.

use std::sync::Arc;

use bytes::Bytes;
use tokio::net::UnixStream;
use tokio_util::sync::CancellationToken;

use crate::event::{Door, ErrorBody};
use crate::metrics::DoorLabel;
use crate::socket::{Accepted, Peer, UnixSocket, accept_loop};

use super::{ConnectionSlot, DoorContext, Sink, connection};

/// Accepts and serves until `stop`; returns when all that was read is answered and all tasks are joined.
pub async fn serve<S: Sink>(socket: UnixSocket, context: Arc<DoorContext<S>>, stop: CancellationToken) {
    accept_loop(socket, Door::Stream.name(), &context.clock, &stop, |accepted| {
        let admitted = admit(&context, accepted.peer);
        welcome(accepted, admitted, context.clone(), stop.clone())
    })
    .await;
}

/// A place for the producer, or why it has none.
fn admit<S: Sink>(context: &DoorContext<S>, peer: Peer) -> Result<ConnectionSlot, ErrorBody> {
    if !context.settings().allowed.allows(peer.uid) {
        context.refuse(Door::Stream, peer, "uid_not_allowed");
        let message = format!("uid {} may not connect (ingest.stream.allow_uids)", peer.uid);
        return Err(ErrorBody { message, code: "not.authorized", status: 403 });
    }
    context.admission.connect(Some(peer.uid)).map_err(|crowded| {
        context.refuse(Door::Stream, peer, "too_many_connections");
        ErrorBody { message: crowded.to_string(), code: "service.unavailable", status: 503 }
    })
}

async fn welcome<S: Sink>(
    Accepted { stream, peer }: Accepted<UnixStream>,
    admitted: Result<ConnectionSlot, ErrorBody>,
    context: Arc<DoorContext<S>>,
    stop: CancellationToken,
) {
    let slot = match admitted {
        Ok(slot) => slot,
        Err(why) => return context.rejections.say(stream, words(&why)).await,
    };
    let open = context.metrics.connections.get_or_create_owned(&DoorLabel { door: Door::Stream.name() });
    open.inc();
    let (reader, writer) = stream.into_split();
    connection::serve(reader, writer, peer, context, stop).await;
    open.dec();
    drop(slot);
}

/// The line that tells a producer why it is turned away.
fn words(why: &ErrorBody) -> Bytes {
    let mut line = why.to_bytes().to_vec();
    line.push(b'\n');
    Bytes::from(line)
}
