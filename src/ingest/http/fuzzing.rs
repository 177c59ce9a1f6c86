//! The door without its sockets, opened for `fuzz/`: a request in, an answer out. Not part of a build.

use std::sync::Arc;

use axum::Router;

use crate::socket::Peer;

use super::super::{DoorContext, Sink};
use super::auth::Authenticator;
use super::routes::{HttpState, router};

/// What answers the requests of a connection from `peer`.
pub fn routes<S: Sink>(context: Arc<DoorContext<S>>, peer: Peer) -> Router {
    let auth = Arc::new(Authenticator::new(&context.settings().config.http));
    let slot = Arc::new(context.admission.connect(Some(peer.uid)).expect("it is the only connection"));
    router(HttpState { context, auth, peer, slot })
}
