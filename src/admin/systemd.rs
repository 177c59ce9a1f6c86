//! Tells systemd how we are: ready, reloading, stopping, alive, and what we do in plain words.
//!
//! Without systemd (`NOTIFY_SOCKET`) nothing is sent. The watchdog hears of our loops only: an upstream that
//! is down is no reason to be killed.

use std::time::Duration;

use sd_notify::NotifyState;
use tokio_util::sync::CancellationToken;

use super::overview::Overview;
use super::report_of;
use super::state::Lifecycle;

/// Pace of the status line, and of the watchdog if systemd asks for a slower one.
const EVERY: Duration = Duration::from_secs(10);

fn send(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!(%error, "systemd cannot be told");
    }
}

/// A reload begins. Ends with [`ready`].
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => send(&[NotifyState::Reloading, now]),
        Err(_) => send(&[NotifyState::Reloading]),
    }
}

/// Events are accepted.
pub fn ready() {
    send(&[NotifyState::Ready]);
}

/// Keeps systemd informed until `stop`, and on until `end`: a long drain is no hang.
pub async fn run(overview: &Overview, end: CancellationToken) {
    let is_told = std::env::var_os("NOTIFY_SOCKET").is_some();
    if !is_told {
        return;
    }
    let watchdog = sd_notify::watchdog_enabled();
    // Twice as often as asked, as sd_watchdog_enabled(3) recommends.
    let every = watchdog.map_or(EVERY, |limit| EVERY.min(limit / 2)).max(Duration::from_millis(100));
    let (mut said, mut is_stopping) = (String::new(), false);
    let mut lifecycle = overview.lifecycle.clone();
    loop {
        if watchdog.is_some() && overview.heartbeat.stalled().is_empty() {
            send(&[NotifyState::Watchdog]);
        }
        if *lifecycle.borrow_and_update() == Lifecycle::Stopping && !is_stopping {
            is_stopping = true;
            send(&[NotifyState::Stopping]);
        }
        let report = report_of::gather(overview, &overview.heartbeat.last_queue(), None);
        let words = report.words.join("; ");
        if words != said {
            send(&[NotifyState::Status(&words)]);
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
