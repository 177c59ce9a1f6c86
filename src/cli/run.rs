//! `trunkline run`: the daemon in the foreground.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio_util::sync::CancellationToken;

use crate::activation::Activation;
use crate::clock::Clock;
use crate::config;
use crate::daemon::{self, Crashed, Daemon, Start};
use crate::metrics::Metrics;
use crate::panic;
use crate::shutdown::{self, Shutdown};

use super::exit::Exit;
use super::logging;
use super::runtime::async_runtime;

/// How long a start under way may go on after a stop signal: what it waits for may be a mount that hangs.
const START_ENDS_WITHIN: Duration = Duration::from_secs(5);
/// How long the queue may take to be closed after the second signal.
const CLOSED_WITHIN: Duration = Duration::from_secs(2);
/// How much longer than `daemon.grace` a stop may take after a panic: what panicked may be waited for in vain.
const CRASH_ENDS_WITHIN: Duration = Duration::from_secs(5);

/// The daemon, in the foreground, until a stop signal.
pub(super) fn run(path: Option<&Path>) -> anyhow::Result<Exit> {
    daemon::harden().context("cannot set umask and limits")?;
    let loaded = config::load(path)?;
    let metrics = Arc::new(Metrics::new());
    let log = logging::start(&loaded.config.log, metrics.log_lines_dropped.clone()).context("no log")?;
    let activation = Activation::from_env()?;
    let again = path.map(Path::to_owned);
    let start = |shutdown| Start {
        loaded: loaded.clone(),
        load: Arc::new(move || config::load(again.as_deref())),
        set_level: log.set_level.clone(),
        activation,
        clock: Clock::system(),
        metrics,
        shutdown,
    };
    let grace = loaded.config.daemon.grace;
    let ended = async_runtime()?.block_on(serve(start, grace));
    log.flush();
    ended
}

async fn serve(start: impl FnOnce(Shutdown) -> Start, grace: Duration) -> anyhow::Result<Exit> {
    let leave = Leave { shutdown: Shutdown::default(), crashed: CancellationToken::new(), grace };
    let (stop, crashed) = (leave.shutdown.stop.clone(), leave.crashed.clone());
    panic::on_panic(move || {
        crashed.cancel();
        stop.cancel();
    });
    let signals = tokio::spawn(leave.shutdown.clone().listen());
    // Before the start: a reload that comes early must not end us.
    let mut hangups = shutdown::hangups()?;
    // In a task of its own: a call that blocks must not keep us from hearing a signal.
    let starting = tokio::spawn(Daemon::start(start(leave.shutdown.clone())));
    let daemon = tokio::select! {
        started = starting => started.map_err(|_| Crashed)??,
        () = leave.during_start() => {
            tracing::warn!("stopped before the start had finished");
            return Ok(Exit::Done);
        }
    };
    let reloads = daemon.reloads();
    let reloading = tokio::spawn(async move {
        while hangups.recv().await.is_some() {
            reloads.reload("SIGHUP").await;
        }
    });
    let ended = tokio::select! {
        ended = daemon.finished() => ended,
        () = leave.at_once() => {
            tracing::warn!("exiting without closing the queue; accepted events are on disk");
            return Ok(Exit::Failed);
        }
    };
    reloading.abort();
    signals.abort();
    ended?;
    if leave.crashed.is_cancelled() {
        return Err(Crashed.into());
    }
    Ok(Exit::Done)
}

/// When we end without waiting any longer for what is under way.
struct Leave {
    shutdown: Shutdown,
    /// Something panicked.
    crashed: CancellationToken,
    grace: Duration,
}

impl Leave {
    async fn during_start(&self) {
        tokio::select! {
            () = after(&self.shutdown.stop, START_ENDS_WITHIN) => {}
            () = self.shutdown.now.cancelled() => {}
        }
    }

    async fn at_once(&self) {
        tokio::select! {
            () = after(&self.shutdown.now, CLOSED_WITHIN) => {}
            () = after(&self.crashed, self.grace + CRASH_ENDS_WITHIN) => {}
        }
    }
}

async fn after(token: &CancellationToken, time: Duration) {
    token.cancelled().await;
    tokio::time::sleep(time).await;
}
