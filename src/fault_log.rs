//! When to log a lasting fault: at once, then less and less often. Pure.

use std::time::Duration;

use crate::clock::Mono;

/// The second telling comes a minute after the first, then the wait grows fourfold, up to an hour.
const FIRST_WAIT: Duration = Duration::from_secs(60);
const LONGEST_WAIT: Duration = Duration::from_secs(3_600);

/// One kind of fault.
#[derive(Debug)]
pub struct FaultLog {
    is_faulty: bool,
    is_told: bool,
    told_at: Option<Mono>,
    wait: Duration,
    /// Since it was last logged.
    times: u64,
}

/// What to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Telling {
    /// It has happened so many times since it was last logged.
    Fault {
        /// Times, this one included.
        times: u64,
    },
    /// It is over.
    Over,
}

impl Default for FaultLog {
    fn default() -> Self {
        Self { is_faulty: false, is_told: false, told_at: None, wait: FIRST_WAIT, times: 0 }
    }
}

impl FaultLog {
    /// Whether the last try failed.
    pub fn is_faulty(&self) -> bool {
        self.is_faulty
    }

    /// Takes note of a try.
    pub fn tried(&mut self, is_fault: bool, now: Mono) -> Option<Telling> {
        if is_fault { self.failed(now) } else { self.went_well(now) }
    }

    /// Takes note of a try that failed.
    fn failed(&mut self, now: Mono) -> Option<Telling> {
        self.is_faulty = true;
        self.times += 1;
        let wait = match self.told_at {
            Some(told_at) if now.since(told_at) < self.wait => return None,
            // It was quiet for long enough to be another fault.
            Some(told_at) if now.since(told_at) > self.wait * 4 => FIRST_WAIT,
            Some(_) => (self.wait * 4).min(LONGEST_WAIT),
            None => FIRST_WAIT,
        };
        (self.is_told, self.told_at, self.wait) = (true, Some(now), wait);
        Some(Telling::Fault { times: std::mem::take(&mut self.times) })
    }

    /// Takes note of a try that did not fail. One that came back since it was logged is over once its next
    /// telling would be due.
    fn went_well(&mut self, now: Mono) -> Option<Telling> {
        self.is_faulty = false;
        let told_at = self.told_at.filter(|_| self.is_told)?;
        if self.times > 0 && now.since(told_at) < self.wait {
            return None;
        }
        self.is_told = false;
        Some(Telling::Over)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Mono {
        Mono::from_duration(Duration::from_secs(seconds))
    }

    #[test]
    fn a_fault_that_lasts_a_day_is_told_some_thirty_times_however_often_it_happens() {
        let mut log = FaultLog::default();

        let told: Vec<u64> = (0..86_400).filter(|second| log.failed(at(*second)).is_some()).collect();

        assert_eq!(told[..4], [0, 60, 300, 1_260]);
        assert!(told.len() < 32, "{}", told.len());
        assert_eq!(log.went_well(at(90_000)), Some(Telling::Over));
        assert_eq!(log.went_well(at(90_001)), None);
    }

    #[test]
    fn a_fault_that_comes_and_goes_is_told_no_more_often_than_one_that_stays() {
        let mut log = FaultLog::default();
        let mut told = 0;

        for second in 0..60 {
            told += usize::from(log.failed(at(second)).is_some());
            told += usize::from(log.failed(at(second)).is_some());
            told += usize::from(log.went_well(at(second)).is_some());
        }

        assert_eq!(told, 1);
        assert_eq!(log.failed(at(60)), Some(Telling::Fault { times: 120 }));
        assert_eq!(log.went_well(at(61)), Some(Telling::Over));
        assert_eq!((log.failed(at(62)), log.went_well(at(62))), (None, None));
    }
}
