//! Stop signals. SIGTERM or SIGINT asks for an orderly stop, a second one for a stop at once.

use nix::sys::signal::{SigSet, Signal};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// SIGHUPs from now on; without this one ends the process.
///
/// # Errors
/// If the handler cannot be installed.
pub fn hangups() -> std::io::Result<tokio::signal::unix::Signal> {
    signal(SignalKind::hangup())
}

/// Signals that the parent blocked are heard from now on. SIGXFSZ is blocked instead: a file that reaches the limit which
/// the parent set (`RLIMIT_FSIZE`) is a write that fails and is reported; the signal would end the process without a
/// word. Called before any thread is started, as threads inherit the mask.
///
/// # Errors
/// If the system refuses the mask.
pub fn hear_signals() -> std::io::Result<()> {
    let mut blocked = SigSet::empty();
    blocked.add(Signal::SIGXFSZ);
    Ok(blocked.thread_set_mask()?)
}

/// Two tokens that everything which runs listens to.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    /// Start nothing new, finish what is in hand.
    pub stop: CancellationToken,
    /// Drop what is in hand. Nothing accepted is lost by it: it lies on disk.
    pub now: CancellationToken,
}

impl Shutdown {
    /// Fires `stop` at the first SIGTERM or SIGINT and `now` at the second; ends after that. Signals are heard from the
    /// call on, not only once the future runs.
    ///
    /// # Errors
    /// If the handlers cannot be installed.
    pub fn listen(self) -> impl Future<Output = std::io::Result<()>> + Send {
        let handlers = signal(SignalKind::terminate())
            .and_then(|terminate| Ok((terminate, signal(SignalKind::interrupt())?)));
        async move {
            let (mut terminate, mut interrupt) = handlers?;
            for token in [&self.stop, &self.now] {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
                tracing::info!(at_once = self.stop.is_cancelled(), "stop signal");
                token.cancel();
            }
            Ok(())
        }
    }
}
