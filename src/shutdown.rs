//! Stop signals. SIGTERM or SIGINT asks for an orderly stop, a second one for a stop at once.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// SIGHUPs from now on; without this one ends the process.
///
/// # Errors
/// If the handler cannot be installed.
pub fn hangups() -> std::io::Result<tokio::signal::unix::Signal> {
    signal(SignalKind::hangup())
}

/// A file that reaches the limit which our parent set (`RLIMIT_FSIZE`) is a write that fails from now on, and is reported;
/// without this one ends the process without a word.
///
/// # Errors
/// If the handler cannot be installed.
pub fn survive_file_size_limit() -> std::io::Result<()> {
    signal(SignalKind::from_raw(nix::libc::SIGXFSZ)).map(drop)
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
    /// Fires `stop` at the first SIGTERM or SIGINT and `now` at the second; returns after that.
    ///
    /// # Errors
    /// If the handlers cannot be installed.
    pub async fn listen(self) -> std::io::Result<()> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
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
