//! The one rate limiter of the process.
//!
//! The relay's loop asks for each of its requests whether it may start. Whoever else sends (a login, `tokens/me`, a
//! repeat after a 401) waits for the same window. What started within the last minute counts over a restart.

use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};

use super::start_log::{Earlier, FILE, OpenedLog, StartLog};
use crate::clock::{Clock, Mono};
use crate::config;
use crate::relay::decide::MINUTE;
use crate::relay::decide::pace::Pace;
use crate::upstream::RateLimiter;

/// The pace of all requests. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Pacer(Arc<PacerState>);

#[derive(Debug)]
struct PacerState {
    pace: Mutex<Pace>,
    log: Option<StartLog>,
    /// Until then the last minute counts as used up, since nobody knows what started in it.
    unknown_until: Option<Mono>,
    clock: Clock,
}

impl Pacer {
    /// Counts from now on, and remembers nothing over a restart.
    pub fn new(config: &config::RelayConfig, clock: Clock) -> Self {
        let pace = Pace::new(config.requests_per_minute, config.burst, clock.mono());
        Self(Arc::new(PacerState { pace: Mutex::new(pace), log: None, unknown_until: None, clock }))
    }

    /// Counts what earlier processes started, too: they wrote it to a file in `dir`. Blocks. If the file cannot be
    /// had, the last minute counts as used up.
    pub fn open(config: &config::RelayConfig, clock: Clock, dir: &Path) -> Self {
        let now = clock.mono();
        let mut pace = Pace::new(config.requests_per_minute, config.burst, now);
        let (log, earlier) = match StartLog::open(dir, clock.clone(), config.requests_per_minute) {
            Ok(OpenedLog { log, earlier }) => {
                if earlier == Earlier::Unknown {
                    tracing::warn!(
                        "{FILE} in queue.dir does not tell how many requests started recently (it is damaged, or the host was restarted just now); sending none for one minute"
                    );
                }
                (Some(log), earlier)
            }
            Err(error) => {
                tracing::warn!(%error, "cannot tell how many requests started recently; sending none for one minute");
                (None, Earlier::Unknown)
            }
        };
        let unknown_until = match earlier {
            Earlier::Starts(starts) => {
                pace.restore(&starts);
                None
            }
            Earlier::Unknown => {
                pace.restore(&vec![now; config.requests_per_minute as usize]);
                Some(now.plus(MINUTE))
            }
        };
        Self(Arc::new(PacerState { pace: Mutex::new(pace), log, unknown_until, clock }))
    }

    /// How long nothing may start because nobody knows what started in the last minute.
    pub(super) fn unknown_for(&self, now: Mono) -> Option<Duration> {
        self.0.unknown_until.map(|until| until.since(now)).filter(|wait| !wait.is_zero())
    }

    /// For a decision or a look.
    pub(super) fn pace(&self) -> MutexGuard<'_, Pace> {
        self.0.pace.lock()
    }

    /// Writes down that a request starts at `now`: before it leaves.
    pub(super) async fn write_down(&self, now: Mono) {
        if let Some(log) = &self.0.log {
            log.started(now).await;
        }
    }
}

impl RateLimiter for Pacer {
    fn acquire(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async {
            let now = self.0.clock.mono();
            let at = self.pace().reserve(now);
            let wait = at.since(now);
            if wait > Duration::ZERO {
                tokio::time::sleep(wait).await;
            }
            self.write_down(at).await;
        })
    }
}
