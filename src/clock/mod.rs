//! Time as an input: wall time for what people and the API read, boot time for windows and expiry.
//!
//! Boot time (`CLOCK_BOOTTIME`) goes on while the host is suspended and never jumps, so a token or a
//! retry window is not stretched by a laptop's lid or a virtual machine's pause. Wall time is only for
//! what leaves the process: event times, records, log lines. How old a record is by its wall time is for
//! [`age`](AgeClock) to say, and everything that goes by age asks there: `clock.ages().of(accepted_at_ms)`.

mod age;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub use age::{AgeClock, Ages};

/// A setting of the wall clock that is logged: smaller ones are every time sync's.
const TOLD_FROM_MS: i64 = 60_000;
/// Both clocks read within this make a pair; a thread may be put aside in between.
const PAIR_WITHIN: Duration = Duration::from_millis(250);

/// A point on the boot-time clock. Meaningless after a reboot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
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

    /// The point `by` earlier; boot if that is later.
    #[must_use]
    pub fn minus(self, by: Duration) -> Mono {
        Mono(self.0.saturating_sub(by))
    }

    /// The point `by` later; the end of time if that overflows.
    #[must_use]
    pub fn plus(self, by: Duration) -> Mono {
        Mono(self.0.saturating_add(by))
    }

    /// Milliseconds since boot.
    fn ms(self) -> i64 {
        duration_ms(self.0)
    }
}

/// Source of both clocks. Cheap to clone; clones share what is known of ages.
#[derive(Clone, Debug)]
pub struct Clock {
    source: ClockSource,
    ages: Arc<Mutex<AgeClock>>,
}

#[derive(Clone, Debug)]
enum ClockSource {
    System,
    Tokio { start: tokio::time::Instant, unix_ms_at_start: Arc<AtomicI64>, boot: Uuid },
    Manual(Arc<Manual>),
}

#[derive(Debug)]
struct Manual {
    boot: Uuid,
    unix_ms: AtomicI64,
    boot_ms: AtomicI64,
}

impl Clock {
    /// The host's clocks.
    pub fn system() -> Self {
        Self::from_source(ClockSource::System)
    }

    /// Follows tokio's clock, so that paused time in tests moves both clocks; wall time starts at
    /// `unix_ms`. Must be called within a runtime.
    pub fn tokio(unix_ms: i64) -> Self {
        let unix_ms_at_start = Arc::new(AtomicI64::new(unix_ms));
        Self::from_source(ClockSource::Tokio {
            start: tokio::time::Instant::now(),
            unix_ms_at_start,
            boot: Uuid::new_v4(),
        })
    }

    /// Stands still at `unix_ms` until [`Clock::advance`].
    pub fn manual(unix_ms: i64) -> Self {
        let now = || AtomicI64::new(unix_ms);
        Self::from_source(ClockSource::Manual(Arc::new(Manual {
            boot: Uuid::new_v4(),
            unix_ms: now(),
            boot_ms: now(),
        })))
    }

    fn from_source(source: ClockSource) -> Self {
        let ages = Arc::new(Mutex::new(AgeClock::new(source.mono(), source.unix_ms())));
        Self { source, ages }
    }

    /// The same clocks as another process finds them: what this one knows of ages is not known there.
    #[must_use]
    pub fn of_next_process(&self) -> Self {
        Self::from_source(self.source.clone())
    }

    /// Moves a manual clock on; does nothing to the others.
    pub fn advance(&self, by: Duration) {
        if let ClockSource::Manual(manual) = &self.source {
            manual.unix_ms.fetch_add(duration_ms(by), Ordering::SeqCst);
            manual.boot_ms.fetch_add(duration_ms(by), Ordering::SeqCst);
        }
    }

    /// Sets the wall clock on or back, as an operator or a time sync does; does nothing to the host's.
    pub fn set_wall(&self, by_ms: i64) {
        let wall = match &self.source {
            ClockSource::System => return,
            ClockSource::Tokio { unix_ms_at_start, .. } => unix_ms_at_start,
            ClockSource::Manual(manual) => &manual.unix_ms,
        };
        wall.fetch_add(by_ms, Ordering::SeqCst);
    }

    /// Wall time in milliseconds since 1970-01-01T00:00:00Z.
    pub fn unix_ms(&self) -> i64 {
        self.source.unix_ms()
    }

    /// Boot time.
    pub fn mono(&self) -> Mono {
        self.source.mono()
    }

    /// Ages of records as of now, for as many records as there are in hand. Whoever asks also notices
    /// that the wall clock was set.
    pub fn ages(&self) -> Ages {
        let mut ages = self.ages.lock();
        let now = self.source.mono();
        let wall_ms = self.source.unix_ms();
        let is_pair = self.source.mono().since(now) < PAIR_WITHIN;
        let step_ms = if is_pair { ages.look(now, wall_ms) } else { None };
        if let Some(step_ms) = step_ms.filter(|step_ms| step_ms.saturating_abs() >= TOLD_FROM_MS) {
            tracing::warn!(seconds = step_ms / 1000, "the wall clock was set; ages are counted by boot time");
        }
        Ages::new(ages.clone(), now)
    }

    /// Which boot this is; `None` if the kernel does not tell. Every clock of a test is of a boot of its own.
    pub fn boot(&self) -> Option<Uuid> {
        match &self.source {
            ClockSource::System => {
                let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
                Uuid::parse_str(text.trim()).ok()
            }
            ClockSource::Tokio { boot, .. } => Some(*boot),
            ClockSource::Manual(manual) => Some(manual.boot),
        }
    }

    /// What is known of ages, for the next process of this boot.
    pub fn age_clock(&self) -> AgeClock {
        self.ages.lock().clone()
    }

    /// Takes over what an earlier process of this boot knew of ages.
    pub fn resume(&self, earlier: AgeClock) {
        let mut ages = self.ages.lock();
        *ages = earlier.resumed(self.source.mono(), self.source.unix_ms());
    }

    /// A record of an earlier process carries this stamp; see [`AgeClock::found`].
    pub fn found_record(&self, stamp_ms: i64) {
        self.ages.lock().found(stamp_ms);
    }

    /// The API said that it is `date_ms`; see [`AgeClock::confirm`].
    pub fn confirm(&self, date_ms: i64) {
        let mut ages = self.ages.lock();
        ages.confirm(self.source.mono(), self.source.unix_ms(), date_ms);
    }
}

impl ClockSource {
    fn unix_ms(&self) -> i64 {
        match self {
            ClockSource::System => duration_ms(read(ClockId::CLOCK_REALTIME)),
            ClockSource::Tokio { start, unix_ms_at_start, .. } => {
                unix_ms_at_start.load(Ordering::SeqCst).saturating_add(duration_ms(start.elapsed()))
            }
            ClockSource::Manual(manual) => manual.unix_ms.load(Ordering::SeqCst),
        }
    }

    fn mono(&self) -> Mono {
        match self {
            ClockSource::System => Mono(read(ClockId::CLOCK_BOOTTIME)),
            ClockSource::Tokio { start, .. } => Mono(start.elapsed()),
            ClockSource::Manual(manual) => {
                Mono(Duration::from_millis(manual.boot_ms.load(Ordering::SeqCst).unsigned_abs()))
            }
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
