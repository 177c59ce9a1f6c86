//! `trunkline sandbox`: an Events API on this machine until a stop signal.

use crate::sandbox::{Options, Sandbox, ready_config};
use crate::shutdown::Shutdown;

use super::exit::Exit;
use super::output::say;

/// Binds, prints a ready configuration, serves until a stop signal.
pub(super) async fn run(options: Options) -> anyhow::Result<Exit> {
    let shutdown = Shutdown::default();
    let stop = shutdown.stop.clone();
    let signals = tokio::spawn(shutdown.listen());
    let sandbox = Sandbox::bind(options).await?;
    say(&ready_config(sandbox.addr()))?;
    sandbox.serve(stop).await;
    signals.abort();
    Ok(Exit::Done)
}
