//! When an event is too old to be sent. Pure.
//!
//! Age is wall time, since it outlives restarts. A wall clock that was set by more than an hour would
//! expire everything at once, or nothing for long: then nothing expires until the clock fits again.

use std::time::Duration;

use crate::clock::Mono;

/// Source: the issue of delivery.
const JUMP_MS: i64 = 3_600_000;

/// Looks at both clocks.
#[derive(Debug)]
pub(crate) struct Expiry {
    /// Wall time less boot time at the start, milliseconds.
    offset_ms: i64,
    is_suspended: bool,
}

/// What came of a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// As before.
    Same,
    /// The wall clock has jumped by so many seconds: nothing expires from now on.
    Suspended(i64),
    /// It fits again.
    Resumed,
}

impl Expiry {
    pub(crate) fn new(now: Mono, wall_ms: i64) -> Self {
        Self { offset_ms: offset_ms(now, wall_ms), is_suspended: false }
    }

    /// Compares the clocks.
    pub(crate) fn look(&mut self, now: Mono, wall_ms: i64) -> Look {
        let jumped_ms = offset_ms(now, wall_ms).saturating_sub(self.offset_ms);
        let is_off = jumped_ms.saturating_abs() > JUMP_MS;
        match (self.is_suspended, is_off) {
            (false, true) => {
                self.is_suspended = true;
                Look::Suspended(jumped_ms / 1000)
            }
            (true, false) => {
                self.is_suspended = false;
                Look::Resumed
            }
            _ => Look::Same,
        }
    }

    /// Events accepted before this, milliseconds since 1970, are too old; `None`: none is.
    pub(crate) fn oldest_ms(&self, max_age: Duration, wall_ms: i64) -> Option<i64> {
        if max_age.is_zero() || self.is_suspended {
            return None;
        }
        Some(wall_ms.saturating_sub(i64::try_from(max_age.as_millis()).unwrap_or(i64::MAX)))
    }
}

fn offset_ms(now: Mono, wall_ms: i64) -> i64 {
    let boot_ms = i64::try_from(now.since(Mono::default()).as_millis()).unwrap_or(i64::MAX);
    wall_ms.saturating_sub(boot_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_MS: i64 = 3_600_000;

    fn at(seconds: u64) -> Mono {
        Mono::from_duration(Duration::from_secs(seconds))
    }

    #[test]
    fn a_clock_that_jumps_over_an_hour_suspends_expiry_until_it_fits_again() {
        let mut expiry = Expiry::new(at(0), 0);
        let day = Duration::from_secs(86_400);

        assert_eq!(expiry.look(at(7_200), 2 * HOUR_MS + HOUR_MS), Look::Same);
        assert_eq!(expiry.oldest_ms(day, 48 * HOUR_MS), Some(24 * HOUR_MS));
        assert_eq!(expiry.look(at(7_200), 5 * HOUR_MS), Look::Suspended(3 * 3_600));
        assert_eq!(expiry.look(at(7_201), 5 * HOUR_MS), Look::Same);
        assert_eq!(expiry.oldest_ms(day, 48 * HOUR_MS), None);
        assert_eq!(expiry.look(at(7_300), 2 * HOUR_MS), Look::Resumed);
    }
}
