//! The door without its sockets, opened for `fuzz/`: a request in, an answer out. Not part of a build.

use std::sync::Arc;

use axum::Router;

use crate::socket::Peer;

use super::super::{DoorContext, Sink};
use super::login::Login;
use super::routes::{Site, router};

/// What answers the requests of a connection from `peer`.
pub fn routes<S: Sink>(context: Arc<DoorContext<S>>, peer: Peer) -> Router {
    let login = Arc::new(Login::new(&context.settings().config.http, context.clock.clone()));
    router(Site { context, login, peer })
}
