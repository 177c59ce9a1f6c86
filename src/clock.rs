//! Time as an input: wall time for what people and the API read, boot time for windows and expiry.
//!
//! Boot time (`CLOCK_BOOTTIME`) goes on while the host is suspended and never jumps, so a token or a
//! retry window is not stretched by a laptop's lid or a virtual machine's pause. Wall time is only for
//! what leaves the process: event times, records, log lines.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// A point on the boot-time clock. Meaningless in another process or after a reboot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mono(Duration);

impl Mono {
    /// The point `since_boot` after boot.
    pub const fn from_duration(since_boot: Duration) -> Self {
        Self(since_boot)
    }

    /// How long before `self` the point `earlier` lies; zero if it lies after.
    pub fn since(self, earlier: Mono) -> Duration {
        self.0.saturating_sub(earlier.0)
    }

    /// The point `by` later; the end of time if that overflows.
    #[must_use]
    pub fn plus(self, by: Duration) -> Mono {
        Mono(self.0.saturating_add(by))
    }
}

/// Source of both clocks. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    System,
    Tokio { start: tokio::time::Instant, unix_ms_at_start: i64 },
    Manual(Arc<AtomicI64>),
}

impl Clock {
    /// The host's clocks.
    pub fn system() -> Self {
        Self(Source::System)
    }

    /// Follows tokio's clock, so that paused time in tests moves both clocks; wall time starts at
    /// `unix_ms`. Must be called within a runtime.
    pub fn tokio(unix_ms: i64) -> Self {
        Self(Source::Tokio { start: tokio::time::Instant::now(), unix_ms_at_start: unix_ms })
    }

    /// Stands still at `unix_ms` until [`Clock::advance`].
    pub fn manual(unix_ms: i64) -> Self {
        Self(Source::Manual(Arc::new(AtomicI64::new(unix_ms))))
    }

    /// Moves a manual clock on; does nothing to the others.
    pub fn advance(&self, by: Duration) {
        if let Source::Manual(ms) = &self.0 {
            ms.fetch_add(i64::try_from(by.as_millis()).unwrap_or(i64::MAX), Ordering::SeqCst);
        }
    }

    /// Wall time in milliseconds since 1970-01-01T00:00:00Z.
    pub fn unix_ms(&self) -> i64 {
        match &self.0 {
            Source::System => duration_ms(read(ClockId::CLOCK_REALTIME)),
            Source::Tokio { start, unix_ms_at_start } => unix_ms_at_start + duration_ms(start.elapsed()),
            Source::Manual(ms) => ms.load(Ordering::SeqCst),
        }
    }

    /// Boot time.
    pub fn mono(&self) -> Mono {
        match &self.0 {
            Source::System => Mono(read(ClockId::CLOCK_BOOTTIME)),
            Source::Tokio { start, .. } => Mono(start.elapsed()),
            Source::Manual(ms) => Mono(Duration::from_millis(ms.load(Ordering::SeqCst).unsigned_abs())),
        }
    }
}

fn read(clock: ClockId) -> Duration {
    let time = clock_gettime(clock).expect("both clocks exist on Linux since 2.6.39");
    Duration::from(time)
}

fn duration_ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
