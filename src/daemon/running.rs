//! All tasks of the daemon, from the first to the last.
//!
//! Order of a stop: the relay starts nothing new and settles what is in flight while the doors still
//! take; then the doors stop and answer what was read; then the queue closes. The operator's window stays
//! open until the doors are closed. Whatever is dropped on the way lies on disk. A task that ends without a
//! stop begins one: without it the daemon would only look as if it ran.

use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::doors::Doors;
use super::reload::Reloader;
use super::{Totals, totals};
use crate::admin::{self, AdminContext, Phase, Request};
use crate::ingest::{self, DoorContext};
use crate::queue::{Queue, Reader, Writer};
use crate::shutdown::Shutdown;
use crate::{relay, upstream};

const RELAY: &str = "relay";
const DOOR: &str = "a door";
const WINDOW: &str = "the operator's window";

/// What is built and does not run yet.
pub(super) struct Running {
    pub(super) house: Arc<AdminContext>,
    pub(super) open: Doors,
    pub(super) door_context: Arc<DoorContext<Writer>>,
    pub(super) reloader: Reloader,
    pub(super) requests: mpsc::Receiver<Request>,
    pub(super) phase: watch::Sender<Phase>,
}

impl Running {
    /// Runs until all is stopped. `false` if a task panicked or ended by itself.
    pub(super) async fn run(
        self,
        relay: relay::Deps<Reader, upstream::Client>,
        queue: Queue,
        shutdown: Shutdown,
    ) -> bool {
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

        let mut relaying = JoinSet::new();
        relaying.spawn(relay::run(relay));
        let mut is_well = all_run(&shutdown.stop, &mut relaying, &mut doors, &mut windows).await;
        shutdown.stop.cancel();
        is_well &= all_joined(&mut relaying, RELAY).await;
        doors_stop.cancel();
        is_well &= all_joined(&mut doors, DOOR).await;
        end.cancel();
        is_well &= all_joined(&mut windows, WINDOW).await;
        is_well &= joined(tokio::task::spawn_blocking(move || queue.close()).await, "queue");
        told_end.cancel();
        is_well &= joined(telling.await, "the line to systemd");
        let Totals { delivered, dead } = totals(&house.metrics);
        tracing::info!(delivered, dead, "stopped");
        is_well
    }
}

/// Returns at the stop, or `false` as soon as a task ends before.
async fn all_run(
    stop: &CancellationToken,
    relay: &mut JoinSet<()>,
    doors: &mut JoinSet<()>,
    windows: &mut JoinSet<()>,
) -> bool {
    let (ended, what) = tokio::select! {
        biased;
        // What ends from now on ends for that.
        () = stop.cancelled() => return true,
        Some(ended) = relay.join_next() => (ended, RELAY),
        Some(ended) = doors.join_next() => (ended, DOOR),
        Some(ended) = windows.join_next() => (ended, WINDOW),
    };
    joined(ended, what);
    tracing::error!(task = what, "a task ended that the daemon cannot do without: stopping");
    false
}

async fn all_joined(tasks: &mut JoinSet<()>, what: &str) -> bool {
    let mut is_well = true;
    while let Some(ended) = tasks.join_next().await {
        is_well &= joined(ended, what);
    }
    is_well
}

/// A task that panicked has lost its work in memory; what it held lies on disk. `false` if it did.
pub(super) fn joined<T>(result: Result<T, tokio::task::JoinError>, what: &str) -> bool {
    match result {
        Err(error) if !error.is_cancelled() => {
            tracing::error!(%error, task = what, "a task ended in a panic");
            false
        }
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn running() -> JoinSet<()> {
        JoinSet::from_iter([std::future::pending()])
    }

    #[tokio::test]
    async fn any_task_that_ends_before_the_stop_ends_the_run_as_a_failure() {
        for which in 0..3 {
            let mut sets = [running(), running(), running()];
            sets[which].spawn(async { panic!("a fault") });
            let [relay, doors, windows] = &mut sets;

            assert!(!all_run(&CancellationToken::new(), relay, doors, windows).await);
        }
        let mut by_itself = JoinSet::from_iter([std::future::ready(())]);
        assert!(!all_run(&CancellationToken::new(), &mut by_itself, &mut running(), &mut running()).await);
    }

    #[tokio::test]
    async fn what_ends_for_a_stop_is_no_failure_unless_it_panics() {
        let stop = CancellationToken::new();
        stop.cancel();
        let mut relay = JoinSet::from_iter([std::future::ready(())]);
        let mut window = JoinSet::new();
        window.spawn(async { panic!("a fault") });

        assert!(all_run(&stop, &mut relay, &mut running(), &mut running()).await);
        assert!(all_joined(&mut relay, RELAY).await);
        assert!(!all_joined(&mut window, WINDOW).await);
    }
}
