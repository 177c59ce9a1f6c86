//! All tasks of the daemon, from the first to the last.
//!
//! Order of a stop: the relay starts nothing new and settles what is in flight while the doors still
//! accept; then the doors stop and answer what was read; then the queue closes. The admin server stays open until
//! the doors are closed. Whatever is dropped on the way is on disk. A second signal ends doors and admin server at
//! once, bodies under way included. A task that ends unexpectedly triggers a stop.

use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::doors::Doors;
use super::handle::{Totals, totals};
use super::reload::Reloader;
use super::tasks::{ADMIN, DOOR, RELAY, all_joined, all_joined_unless, all_run, joined};
use crate::admin::{self, AdminContext, AdminRequest, Lifecycle, Systemd};
use crate::ingest::{self, DoorContext};
use crate::queue::{Queue, Reader, Writer};
use crate::shutdown::Shutdown;
use crate::{relay, upstream};

/// What is built and does not run yet.
pub(super) struct Running {
    pub(super) admin: AdminContext,
    pub(super) doors: Doors,
    pub(super) door_context: Arc<DoorContext<Writer>>,
    pub(super) reloader: Reloader,
    pub(super) requests: mpsc::Receiver<AdminRequest>,
    pub(super) lifecycle: watch::Sender<Lifecycle>,
    pub(super) systemd: Arc<Systemd>,
}

/// What serves: two sets, since they end one after the other.
struct Serving {
    doors: JoinSet<()>,
    admin: JoinSet<()>,
}

impl Running {
    /// Runs until all is stopped. `false` if a task panicked or ended by itself.
    pub(super) async fn run(
        self,
        relay: relay::Deps<Reader, upstream::Client>,
        queue: Queue,
        shutdown: Shutdown,
    ) -> bool {
        let (overview, systemd) = (self.admin.overview.clone(), self.systemd.clone());
        let (doors_stop, end) = (CancellationToken::new(), CancellationToken::new());
        let Serving { mut doors, admin: mut windows } = self.open(&shutdown, &doors_stop, &end);
        let told_end = CancellationToken::new();
        let telling = tokio::spawn({
            let (systemd, overview, end) = (systemd.clone(), overview.clone(), told_end.clone());
            async move { systemd.run(&overview, end).await }
        });
        systemd.ready();

        let mut relaying = JoinSet::new();
        relaying.spawn(relay::run(relay));
        let mut is_well = all_run(&shutdown.stop, &mut relaying, &mut doors, &mut windows).await;
        shutdown.stop.cancel();
        is_well &= all_joined(&mut relaying, RELAY).await;
        doors_stop.cancel();
        is_well &= all_joined_unless(&shutdown.now, &mut doors, DOOR).await;
        end.cancel();
        is_well &= all_joined_unless(&shutdown.now, &mut windows, ADMIN).await;
        is_well &= joined(tokio::task::spawn_blocking(move || queue.close()).await, "queue");
        told_end.cancel();
        is_well &= joined(telling.await, "systemd's status");
        let Totals { delivered, dead } = totals(&overview.metrics);
        tracing::info!(delivered, dead, "stopped");
        is_well
    }

    /// Starts the doors and the admin server.
    fn open(self, shutdown: &Shutdown, doors_stop: &CancellationToken, end: &CancellationToken) -> Serving {
        let Self { admin, doors: open, door_context, reloader, requests, lifecycle, .. } = self;
        let mut doors = JoinSet::new();
        doors.spawn(ingest::serve(open.stream, door_context.clone(), doors_stop.clone()));
        if let Some(http) = open.http {
            doors.spawn(ingest::serve_http(http, door_context, doors_stop.clone()));
        }
        let mut windows = JoinSet::new();
        if let Some(metrics) = open.metrics {
            windows.spawn(admin::serve_metrics(metrics, admin.overview.clone(), end.clone()));
        }
        let (heartbeat, watch_end) = (admin.overview.heartbeat.clone(), end.clone());
        windows.spawn(async move { heartbeat.watch(watch_end).await });
        windows.spawn(admin::serve(open.admin, admin, end.clone()));
        windows.spawn(reloader.run(requests, end.clone()));
        let _ = lifecycle.send(Lifecycle::Accepting);
        let stop = shutdown.stop.clone();
        windows.spawn(async move {
            stop.cancelled().await;
            let _ = lifecycle.send(Lifecycle::Stopping);
        });
        Serving { doors, admin: windows }
    }
}
