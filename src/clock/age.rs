//! How old a record is, whatever the wall clock does. Pure.
//!
//! Records carry wall time, because they outlive a boot. But the wall clock can be wrong at a start (no
//! time sync yet, an empty battery) and can be set while we run. Boot time never jumps, so an age is
//! counted by boot time as far as possible:
//!
//! | the record was stamped | its age |
//! |---|---|
//! | since the host's boot | boot time since then: each setting of the wall clock is noted, so that a stamp leads back to its boot time; a restart of the process takes over what is noted |
//! | before the boot, and the API's `Date` was heard since our start | from the stamp to that `Date`, or to our wall clock at that moment if it was behind, and boot time since |
//! | before the boot, and nothing has confirmed our clock | from the stamp to the newest record that was found at the start, or to our wall clock if that is or was behind, and boot time since the first start of this boot |
//! | before the boot and before 2020 | boot time since the first start of this boot: that clock had not been set |
//!
//! Invariants
//! - Where two sources disagree, the one that makes the record younger counts: a wrong clock keeps records
//!   too long and ends none.
//! - Age grows with boot time: no setting of the clock stops it for good.
//! - There is no threshold, so ages of seconds are as safe as ages of days.
//!
//! What it cannot see: stamps of an earlier boot whose clock was behind make its records older than they
//! are, and if that clock and ours are both ahead by the same, no `Date` has been heard and records from
//! before that time are still there, those are too old as well.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Mono;

/// Stamps before 2020-01-01 are those of a clock that had not been set.
const PLAUSIBLE_MS: i64 = 1_577_836_800_000;
/// What the two clocks may differ by without anybody having set one: both are read one after the other.
const TOLERANCE_MS: i64 = 1_000;
/// Settings of the clock that are remembered. More of them make records of this process younger, not older.
const MAX_ERAS: usize = 32;

/// Tells ages. Kept by [`Clock`](super::Clock), which feeds it; see [`Clock::ages`](super::Clock::ages).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AgeClock {
    started: Mono,
    /// The newest stamp found at the start.
    newest_ms: Option<i64>,
    /// Wall time less boot time, by the API's word.
    confirmed_offset_ms: Option<i64>,
    /// The current one is the last.
    eras: VecDeque<Era>,
    /// The lowest offset of all eras whose wall clock was set at all.
    lowest_offset_ms: Option<i64>,
    /// Eras before this are forgotten.
    remembered_from: Option<Mono>,
}

/// The time between two settings of the wall clock.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Era {
    /// Wall time less boot time.
    offset_ms: i64,
    /// The last look before it: the clock was set after that.
    from: Mono,
    /// The last look in it.
    seen: Mono,
}

impl AgeClock {
    /// Starts at `now`, when the wall clock shows `wall_ms`.
    pub fn new(now: Mono, wall_ms: i64) -> Self {
        let era = Era { offset_ms: wall_ms.saturating_sub(now.ms()), from: now, seen: now };
        Self {
            started: now,
            newest_ms: None,
            confirmed_offset_ms: None,
            eras: VecDeque::from([era]),
            lowest_offset_ms: Some(era.offset_ms).filter(|_| wall_ms >= PLAUSIBLE_MS),
            remembered_from: None,
        }
    }

    /// Goes on with what an earlier process of the same boot knew: its stamps lead back to their boot time, too.
    #[must_use]
    pub fn resumed(mut self, now: Mono, wall_ms: i64) -> Self {
        self.look(now, wall_ms);
        self
    }

    /// Whether both say the same of every record, but for what passed between two looks.
    pub fn is_like(&self, other: &AgeClock) -> bool {
        let eras =
            |clock: &AgeClock| clock.eras.iter().map(|era| (era.offset_ms, era.from)).collect::<Vec<_>>();
        let is_close = match (self.confirmed_offset_ms, other.confirmed_offset_ms) {
            (Some(one), Some(other)) => one.abs_diff(other) <= TOLERANCE_MS.unsigned_abs(),
            (one, other) => one == other,
        };
        is_close && self.remembered_from == other.remembered_from && eras(self) == eras(other)
    }

    /// Compares the clocks. Gives by how many milliseconds the wall clock was set since the last look.
    pub fn look(&mut self, now: Mono, wall_ms: i64) -> Option<i64> {
        let offset_ms = wall_ms.saturating_sub(now.ms());
        let current = self.eras.back_mut().expect("there is always a current era");
        let (before, from) = (current.offset_ms, current.seen);
        current.seen = now;
        let step_ms = offset_ms.saturating_sub(before);
        if step_ms.saturating_abs() <= TOLERANCE_MS {
            return None;
        }
        if wall_ms >= PLAUSIBLE_MS {
            self.lowest_offset_ms =
                Some(self.lowest_offset_ms.map_or(offset_ms, |lowest| lowest.min(offset_ms)));
        }
        self.eras.push_back(Era { offset_ms, from, seen: now });
        if self.eras.len() > MAX_ERAS {
            self.remembered_from = self.eras.pop_front().map(|oldest| oldest.seen);
        }
        Some(step_ms)
    }

    /// A record of an earlier process carries this stamp. The newest one counts.
    pub fn found(&mut self, stamp_ms: i64) {
        self.newest_ms = self.newest_ms.max(Some(stamp_ms));
    }

    /// The API said that it is `date_ms`, when our wall clock showed `wall_ms`.
    pub fn confirm(&mut self, now: Mono, wall_ms: i64, date_ms: i64) {
        // A host whose clock is always some minutes behind stamps by that clock.
        let offset_ms = wall_ms.min(date_ms).saturating_sub(now.ms());
        // Both may be behind later on; neither makes what was confirmed untrue.
        self.confirmed_offset_ms = self.confirmed_offset_ms.max(Some(offset_ms));
    }

    /// How old the record with this stamp is.
    pub fn age(&self, stamp_ms: i64, now: Mono) -> Duration {
        let youngest = self.eras.iter().filter_map(|era| era.stamped_at(stamp_ms)).max();
        let age_ms = match youngest {
            Some(boot_ms) => now.ms().saturating_sub(boot_ms),
            None => self.foreign_age_ms(stamp_ms, now),
        };
        // It may be one of ours from an era that is forgotten.
        let from_ms = self.remembered_from.map(|from| now.ms().saturating_sub(from.ms()));
        let age_ms = from_ms.map_or(age_ms, |from_ms| age_ms.min(from_ms));
        Duration::from_millis(u64::try_from(age_ms).unwrap_or(0))
    }

    fn foreign_age_ms(&self, stamp_ms: i64, now: Mono) -> i64 {
        // It was there when we started.
        let since_start_ms = now.ms().saturating_sub(self.started.ms());
        let reference_ms = match (self.confirmed_offset_ms, self.newest_ms) {
            _ if stamp_ms < PLAUSIBLE_MS => None,
            (Some(offset_ms), _) => Some(now.ms().saturating_add(offset_ms)),
            (None, Some(newest_ms)) => {
                let current = self.eras.back().expect("there is always a current era");
                let offset_ms = self.lowest_offset_ms.unwrap_or(current.offset_ms);
                let wall_at_start_ms = self.started.ms().saturating_add(offset_ms);
                Some(newest_ms.min(wall_at_start_ms).saturating_add(since_start_ms))
            }
            (None, None) => None,
        };
        reference_ms.map_or(since_start_ms, |at| at.saturating_sub(stamp_ms).max(since_start_ms))
    }
}

impl Era {
    /// Boot time of a stamp, if it can be of this era.
    fn stamped_at(&self, stamp_ms: i64) -> Option<i64> {
        let boot_ms = stamp_ms.saturating_sub(self.offset_ms);
        let (from_ms, to_ms) = (self.from.ms() - TOLERANCE_MS, self.seen.ms() + TOLERANCE_MS);
        (from_ms..=to_ms).contains(&boot_ms).then_some(boot_ms)
    }
}

/// Ages as of one moment.
#[derive(Clone, Debug)]
pub struct Ages {
    clock: AgeClock,
    now: Mono,
}

impl Ages {
    /// Ages by `clock`, which has looked at `now`.
    pub fn new(clock: AgeClock, now: Mono) -> Self {
        Self { clock, now }
    }

    /// Now, in milliseconds of boot time.
    pub fn now_boot_ms(&self) -> i64 {
        self.now.ms()
    }

    /// How old the record with this stamp is, milliseconds since 1970.
    pub fn of(&self, stamp_ms: i64) -> Duration {
        self.clock.age(stamp_ms, self.now)
    }

    /// When the record was stamped, in milliseconds of boot time; before the boot it is negative. Two
    /// such points compare as they came, whatever the wall clock did.
    pub fn boot_ms(&self, stamp_ms: i64) -> i64 {
        self.now.ms().saturating_sub(super::duration_ms(self.of(stamp_ms)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Strategy, any, prop_assert, prop_oneof, proptest};

    use super::*;

    const DAY_S: i64 = 86_400;
    /// 2026-01-01.
    const T: i64 = 1_767_225_600_000;

    fn at(seconds: i64) -> Mono {
        Mono::from_duration(Duration::from_secs(seconds.unsigned_abs()))
    }

    fn age_s(clock: &AgeClock, stamp_ms: i64, now_s: i64) -> u64 {
        clock.age(stamp_ms, at(now_s)).as_secs()
    }

    #[test]
    fn a_record_of_this_process_is_as_old_as_boot_time_says_whatever_the_clock_was_set_to() {
        for step_s in [31 * DAY_S, -31 * DAY_S, 3_500, -56 * 365 * DAY_S] {
            let mut clock = AgeClock::new(at(100), T);
            clock.look(at(110), T + 10_000);

            let step = clock.look(at(120), T + 20_000 + step_s * 1000);

            assert_eq!(step, Some(step_s * 1000));
            assert_eq!(age_s(&clock, T + 5_000, 120), 15, "before the step of {step_s}");
            assert_eq!(age_s(&clock, T + 15_000 + step_s * 1000, 120), 5, "after the step of {step_s}");
        }
    }

    #[test]
    fn a_start_with_a_clock_ahead_ages_nothing_by_that() {
        let mut clock = AgeClock::new(at(0), T + 31 * DAY_S * 1000);

        clock.found(T);

        assert_eq!(age_s(&clock, T - 60_000, 10), 70);
    }

    #[test]
    fn a_newest_record_from_the_future_ages_nothing() {
        let mut clock = AgeClock::new(at(0), T);

        clock.found(T + 31 * DAY_S * 1000);

        assert_eq!(age_s(&clock, T - 60_000, 10), 70);
        assert_eq!(age_s(&clock, T + 31 * DAY_S * 1000, 10), 10);
    }

    #[test]
    fn a_clock_that_is_set_ahead_to_a_record_from_the_future_ages_nothing() {
        let mut clock = AgeClock::new(at(0), T);
        clock.found(T + 31 * DAY_S * 1000);

        clock.look(at(10), T + 31 * DAY_S * 1000);

        assert_eq!(age_s(&clock, T - 60_000, 10), 70);
    }

    #[test]
    fn the_time_of_a_stop_counts_once_the_api_has_confirmed_the_clock() {
        let mut clock = AgeClock::new(at(0), T + 40 * DAY_S * 1000);
        clock.found(T);

        let before = age_s(&clock, T, 10);
        clock.confirm(at(10), T + 40 * DAY_S * 1000 + 10_000, T + 40 * DAY_S * 1000 + 9_000);

        assert_eq!(before, 10);
        assert_eq!(age_s(&clock, T, 11), 40 * DAY_S.unsigned_abs() + 10);
    }

    #[test]
    fn the_api_does_not_confirm_a_clock_that_is_ahead_of_it() {
        let mut clock = AgeClock::new(at(0), T + 31 * DAY_S * 1000);
        clock.found(T);

        clock.confirm(at(10), T + 31 * DAY_S * 1000 + 10_000, T + 10_000);

        assert_eq!(age_s(&clock, T - 60_000, 20), 80);
    }

    #[test]
    fn records_of_a_clock_that_was_not_set_are_as_old_as_this_start() {
        let mut clock = AgeClock::new(at(0), T);
        clock.found(T);
        clock.confirm(at(1), T + 1_000, T + 1_000);

        assert_eq!(age_s(&clock, 5_000, 60), 60);
    }

    #[test]
    fn a_correction_of_the_first_minute_makes_records_of_before_the_start_age_as_they_should() {
        let mut clock = AgeClock::new(at(0), 0);
        clock.found(T);
        let unset = age_s(&clock, T - 3_600_000, 60);

        clock.look(at(61), T + 120_000);

        assert_eq!(unset, 60);
        assert_eq!(age_s(&clock, T - 3_600_000, 61), 3_661);
    }

    fn step() -> impl Strategy<Value = i64> {
        prop_oneof![-5_000_i64..5_000, -40 * DAY_S * 1000..40 * DAY_S * 1000]
    }

    proptest! {
        /// Each turn: some time passes, a record is stamped, the clock may be set, somebody may look.
        #[test]
        fn no_record_of_this_process_is_ever_older_than_it_is(
            turns in proptest::collection::vec((0_u64..100_000, proptest::option::of(step()), any::<bool>()), 1..120),
        ) {
            let (mut boot_ms, mut wall_ms) = (5_000_i64, T);
            let mono = |ms: i64| Mono::from_duration(Duration::from_millis(ms.unsigned_abs()));
            let mut clock = AgeClock::new(mono(boot_ms), wall_ms);
            let mut stamped = Vec::new();
            let mut total_step_ms = 0_i64;

            for (passed_ms, step_ms, looks) in turns {
                boot_ms += passed_ms.cast_signed();
                wall_ms += passed_ms.cast_signed();
                stamped.push((wall_ms, boot_ms));
                if let Some(step_ms) = step_ms {
                    wall_ms += step_ms;
                    total_step_ms += step_ms.abs();
                    stamped.push((wall_ms, boot_ms));
                }
                if looks || step_ms.is_some() {
                    clock.look(mono(boot_ms), wall_ms);
                }
            }

            clock.look(mono(boot_ms), wall_ms);
            for (stamp_ms, born_ms) in stamped {
                let age_ms = clock.age(stamp_ms, mono(boot_ms)).as_millis();
                let truth_ms = u128::from((boot_ms - born_ms).unsigned_abs());
                prop_assert!(age_ms <= truth_ms + 1_000, "{age_ms} for {truth_ms}");
                prop_assert!(total_step_ms > 0 || age_ms + 1_000 >= truth_ms);
            }
        }
    }
}
