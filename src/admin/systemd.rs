//! Tells systemd how we are: ready, reloading, stopping, alive, and what we do in plain words.
//!
//! Without systemd (`NOTIFY_SOCKET`) nothing is sent. The watchdog depends only on our loops: an API outage must not
//! kill the daemon.
//!
//! Nobody waits for systemd: a message that cannot be sent at once is dropped. What it must know in the end is sent
//! again with the next status line.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sd_notify::NotifyState;
use tokio_util::sync::CancellationToken;

use super::overview::Overview;
use super::report_of;
use super::state::Lifecycle;

/// Pace of the status line, and of the watchdog if systemd asks for a slower one.
const EVERY: Duration = Duration::from_secs(10);

/// The way to systemd.
#[derive(Debug)]
pub struct Systemd {
    /// Where it listens; `None` without it.
    address: Option<SocketAddr>,
    /// It does not know yet that we are ready.
    is_ready_due: AtomicBool,
}

impl Systemd {
    /// Where the environment says.
    pub fn from_env() -> Self {
        let address = std::env::var_os("NOTIFY_SOCKET").and_then(|path| match address(&path) {
            Ok(address) => Some(address),
            Err(error) => {
                tracing::warn!(%error, "NOTIFY_SOCKET is not a socket; systemd gets no notifications");
                None
            }
        });
        Self { address, is_ready_due: AtomicBool::new(false) }
    }

    /// A reload begins. Ends with [`Systemd::ready`].
    pub fn reloading(&self) {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => self.send(&[NotifyState::Reloading, now]),
            Err(_) => self.send(&[NotifyState::Reloading]),
        };
    }

    /// Events are accepted.
    pub fn ready(&self) {
        let is_told = self.send(&[NotifyState::Ready]);
        self.is_ready_due.store(!is_told, Ordering::SeqCst);
    }

    /// Keeps systemd informed until `end`, also while we stop: a long drain is not a hang.
    pub async fn run(&self, overview: &Overview, end: CancellationToken) {
        if self.address.is_none() {
            return;
        }
        let watchdog = sd_notify::watchdog_enabled();
        // Twice as often as asked, as sd_watchdog_enabled(3) recommends.
        let every = watchdog.map_or(EVERY, |limit| EVERY.min(limit / 2)).max(Duration::from_millis(100));
        let (mut said, mut is_stop_told) = (String::new(), false);
        let mut lifecycle = overview.lifecycle.clone();
        loop {
            if watchdog.is_some() && overview.heartbeat.stalled().is_empty() {
                self.send(&[NotifyState::Watchdog]);
            }
            let is_stopping = *lifecycle.borrow_and_update() == Lifecycle::Stopping;
            if is_stopping && !is_stop_told {
                is_stop_told = self.send(&[NotifyState::Stopping]);
            }
            if !is_stopping && self.is_ready_due.load(Ordering::SeqCst) {
                self.ready();
            }
            let words = report_of::gather(overview, &overview.heartbeat.last_queue(), None).words.join("; ");
            if words != said && self.send(&[NotifyState::Status(&words)]) {
                said = words;
            }
            tokio::select! {
                () = end.cancelled() => return,
                // Whoever tells of it is gone once it stops: a channel that is closed would be ready at once, for ever.
                Ok(()) = lifecycle.changed() => {}
                () = tokio::time::sleep(every) => {}
            }
        }
    }

    /// Whether systemd has it, or there is none.
    fn send(&self, states: &[NotifyState<'_>]) -> bool {
        let Some(address) = &self.address else { return true };
        let mut message = String::new();
        for state in states {
            let _ = writeln!(message, "{state}");
        }
        let sent = UnixDatagram::unbound().and_then(|socket| {
            socket.set_nonblocking(true)?;
            socket.send_to_addr(message.as_bytes(), address)
        });
        if let Err(error) = &sent {
            tracing::debug!(%error, "cannot notify systemd");
        }
        sent.is_ok()
    }
}

/// A path, or with `@` a name that is not a file.
fn address(path: &OsStr) -> io::Result<SocketAddr> {
    match path.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
        _ => SocketAddr::from_pathname(path),
    }
}
