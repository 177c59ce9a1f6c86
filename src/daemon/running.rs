//! All tasks of the daemon, from the first to the last.
//!
//! Order of a stop: the relay starts nothing new and settles what is in flight while the doors still
//! take; then the doors stop and answer what was read; then the queue closes. The operator's window stays
//! open until the doors are closed. Whatever is dropped on the way lies on disk.

use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::doors::Doors;
use super::reload::Reloader;
use super::{Totals, totals};
use crate::admin::{self, House, Phase, Request};
use crate::ingest::{self, DoorContext};
use crate::queue::{Queue, Reader, Writer};
use crate::shutdown::Shutdown;
use crate::{relay, upstream};

/// What is built and does not run yet.
pub(super) struct Running {
    pub(super) house: Arc<House>,
    pub(super) open: Doors,
    pub(super) door_context: Arc<DoorContext<Writer>>,
    pub(super) reloader: Reloader,
    pub(super) requests: mpsc::Receiver<Request>,
    pub(super) phase: watch::Sender<Phase>,
}

impl Running {
    /// Runs until all is stopped.
    pub(super) async fn run(
        self,
        relay: relay::Parts<Reader, upstream::Client>,
        queue: Queue,
        shutdown: Shutdown,
    ) {
        let Self { house, open, door_context, reloader, requests, phase } = self;
        let (doors_stop, end) = (CancellationToken::new(), CancellationToken::new());
        let mut doors = JoinSet::new();
        doors.spawn(ingest::serve(open.stream, door_context.clone(), doors_stop.clone()));
        if let Some(http) = open.http {
            doors.spawn(ingest::serve_http(http, door_context, doors_stop.clone()));
        }
        let mut windows = JoinSet::new();
        let parts = admin::Parts::new(house.clone());
        windows.spawn(admin::serve(open.admin, parts.clone(), end.clone()));
        if let Some(metrics) = open.metrics {
            windows.spawn(admin::serve_metrics(metrics, parts, end.clone()));
        }
        windows.spawn(reloader.run(requests, end.clone()));
        let (watched, watch_end) = (house.clone(), end.clone());
        windows.spawn(async move { admin::watch_vitality(&watched, watch_end).await });
        let told_end = CancellationToken::new();
        let telling = tokio::spawn({
            let (house, end) = (house.clone(), told_end.clone());
            async move { admin::tell_systemd(&house, end).await }
        });
        let _ = phase.send(Phase::Accepting);
        admin::tell_ready();
        let (stop, stopping) = (shutdown.stop.clone(), phase);
        windows.spawn(async move {
            stop.cancelled().await;
            let _ = stopping.send(Phase::Stopping);
        });

        let relay = tokio::spawn(relay::run(relay));
        joined(relay.await, "relay");
        shutdown.stop.cancel();
        doors_stop.cancel();
        while let Some(ended) = doors.join_next().await {
            joined(ended, "a door");
        }
        end.cancel();
        while let Some(ended) = windows.join_next().await {
            joined(ended, "the operator's window");
        }
        joined(tokio::task::spawn_blocking(move || queue.close()).await, "queue");
        told_end.cancel();
        joined(telling.await, "the line to systemd");
        let Totals { delivered, dead } = totals(&house.metrics);
        tracing::info!(delivered, dead, "stopped");
    }
}

/// A task that panicked has lost its work in memory; what it held lies on disk.
pub(super) fn joined<T>(result: Result<T, tokio::task::JoinError>, what: &str) {
    if let Err(error) = result
        && !error.is_cancelled()
    {
        tracing::error!(%error, task = what, "a task ended in a panic");
    }
}
