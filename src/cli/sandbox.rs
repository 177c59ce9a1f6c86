//! `sandbox`: an Events API on this machine until a stop signal.

use std::io::Write;

use tokio_util::sync::CancellationToken;

use crate::sandbox::{Options, Sandbox, ready_config};

/// Binds, writes a ready configuration to `out`, serves until `stop`.
///
/// # Errors
/// If the address cannot be had or `out` cannot be written.
pub async fn run(options: Options, stop: CancellationToken, out: &mut impl Write) -> anyhow::Result<()> {
    let sandbox = Sandbox::bind(options).await?;
    out.write_all(ready_config(sandbox.addr()).as_bytes())?;
    out.flush()?;
    sandbox.serve(stop).await;
    Ok(())
}
