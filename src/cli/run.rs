//! `run`, `sandbox` and `send`: from arguments to the parts that do the work.

use std::io::{IsTerminal, Write};
use std::path::Path;

use anyhow::Context;

use crate::activation::Activation;
use crate::clock::Clock;
use crate::daemon::{self, Daemon};
use crate::shutdown::Shutdown;

use super::args::SendArgs;
use super::{Exit, async_runtime, complain, config, logging, sandbox, send};

/// The daemon, in the foreground, until a stop signal.
pub(super) fn run(path: Option<&Path>) -> anyhow::Result<Exit> {
    let loaded = crate::config::load(path)?;
    logging::start(&loaded.config.log);
    daemon::harden().context("cannot set umask and core limit")?;
    let activation = Activation::from_env()?;
    async_runtime()?.block_on(async {
        let shutdown = Shutdown::default();
        let signals = tokio::spawn(shutdown.clone().listen());
        let daemon = Daemon::start(loaded.config, activation, Clock::system(), shutdown).await?;
        daemon.finished().await;
        signals.abort();
        Ok(Exit::Done)
    })
}

/// An Events API on loopback until a stop signal.
pub(super) async fn sandbox(options: crate::sandbox::Options) -> anyhow::Result<Exit> {
    let shutdown = Shutdown::default();
    let stop = shutdown.stop.clone();
    let signals = tokio::spawn(shutdown.listen());
    sandbox::run(options, stop, &mut std::io::stdout()).await?;
    signals.abort();
    Ok(Exit::Done)
}

/// Lines from files or stdin to the stream socket.
pub(super) fn send(path: Option<&Path>, args: SendArgs) -> anyhow::Result<Exit> {
    let socket = match args.socket {
        Some(socket) => socket,
        None => config::stream_socket(path)?,
    };
    let options = send::SendOptions {
        socket,
        files: args.files,
        reconnect_for: args.reconnect_for.into(),
        progress: std::io::stderr().is_terminal(),
    };
    let report = async_runtime()?.block_on(send::run(options, |refused| complain(&refused.to_string())))?;
    writeln!(std::io::stdout(), "accepted {} · refused {}", report.accepted, report.refused)?;
    Ok(if report.refused == 0 { Exit::Done } else { Exit::Failed })
}
