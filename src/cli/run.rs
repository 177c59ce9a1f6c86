//! `trunkline run`: the daemon in the foreground.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;

use crate::activation::Activation;
use crate::clock::Clock;
use crate::daemon::{self, Daemon, Start};
use crate::shutdown::{self, Shutdown};

use super::{Exit, async_runtime, logging};

/// The daemon, in the foreground, until a stop signal.
pub(super) fn run(path: Option<&Path>) -> anyhow::Result<Exit> {
    let loaded = crate::config::load(path)?;
    let set_level = logging::start(&loaded.config.log);
    daemon::harden().context("cannot set umask and core limit")?;
    let activation = Activation::from_env()?;
    async_runtime()?.block_on(async {
        let shutdown = Shutdown::default();
        let signals = tokio::spawn(shutdown.clone().listen());
        // Before the start: a reload that comes early must not end us.
        let mut hangups = shutdown::hangups()?;
        let again = path.map(Path::to_owned);
        let daemon = Daemon::start(Start {
            loaded,
            load: Arc::new(move || crate::config::load(again.as_deref())),
            set_level,
            activation,
            clock: Clock::system(),
            shutdown,
        })
        .await?;
        let reloads = daemon.reloads();
        let reloading = tokio::spawn(async move {
            while hangups.recv().await.is_some() {
                reloads.reload("SIGHUP").await;
            }
        });
        let ended = daemon.finished().await;
        reloading.abort();
        signals.abort();
        ended?;
        Ok(Exit::Done)
    })
}
