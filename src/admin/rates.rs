//! Rates of the last minutes, and what they say about the next. Pure.

use std::collections::VecDeque;
use std::time::Duration;

use crate::clock::Mono;

/// How far back rates of events look.
const MINUTE: Duration = Duration::from_secs(60);
/// How far back the growth of the directory looks: segments come and go in steps.
const KEPT: Duration = Duration::from_secs(600);
/// A shorter look tells nothing of growth: the directory is made, a reserve is taken.
const GROWTH_SEEN: f64 = 120.0;
/// Growth below this is none: a few bytes a second would fill a disk in years.
const GROWTH_MIN: f64 = 64.0;

/// What was counted at one time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sample {
    pub(super) at: Mono,
    pub(super) accepted: u64,
    pub(super) duplicate: u64,
    pub(super) delivered: u64,
    pub(super) queued: u64,
    pub(super) disk_bytes: u64,
}

/// Samples of the last ten minutes.
#[derive(Clone, Debug, Default)]
pub(super) struct Rates(VecDeque<Sample>);

/// What the samples say.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Trend {
    /// Events accepted a second, repeats aside.
    pub(super) accepted: f64,
    /// Events delivered a second.
    pub(super) delivered: f64,
    /// Until nothing is queued; `None` while the backlog does not shrink.
    pub(super) to_drain: Option<Duration>,
    /// Bytes a second by which the directory grows.
    pub(super) growth: f64,
}

impl Rates {
    pub(super) fn push(&mut self, sample: Sample) {
        while self.0.front().is_some_and(|oldest| sample.at.since(oldest.at) > KEPT) {
            self.0.pop_front();
        }
        self.0.push_back(sample);
    }

    /// From the samples to `now`.
    pub(super) fn trend(&self, now: Sample) -> Trend {
        let since = |back: Duration, counts: fn(&Sample) -> bool| {
            let within = self.0.iter().find(|sample| now.at.since(sample.at) <= back && counts(sample));
            within
                .map(|then| (*then, now.at.since(then.at).as_secs_f64()))
                .filter(|(_, seconds)| *seconds >= 1.0)
        };
        let to_drain_of_none = (now.queued == 0).then_some(Duration::ZERO);
        let Some((then, seconds)) = since(MINUTE, |_| true) else {
            return Trend { to_drain: to_drain_of_none, ..Trend::default() };
        };
        let per_second = |now: u64, then: u64| now.saturating_sub(then) as f64 / seconds;
        let new = |sample: &Sample| sample.accepted.saturating_sub(sample.duplicate);
        let accepted = per_second(new(&now), new(&then));
        let delivered = per_second(now.delivered, then.delivered);
        let shrinks_by = then.queued.saturating_sub(now.queued) as f64 / seconds;
        let to_drain = (shrinks_by > 0.0)
            .then(|| Duration::try_from_secs_f64(now.queued as f64 / shrinks_by).ok())
            .flatten();
        let growth = since(KEPT, has_looked)
            .filter(|(_, seconds)| *seconds >= GROWTH_SEEN)
            .map_or(0.0, |(then, seconds)| now.disk_bytes.saturating_sub(then.disk_bytes) as f64 / seconds);
        Trend { accepted, delivered, to_drain: to_drain_of_none.or(to_drain), growth }
    }
}

impl Trend {
    /// Until `room` bytes are used up at the present growth; `None` while nothing grows.
    pub(super) fn to_full(self, room: u64) -> Option<Duration> {
        (self.growth >= GROWTH_MIN)
            .then(|| Duration::try_from_secs_f64(room as f64 / self.growth).ok())
            .flatten()
    }
}

/// Before the first look at the disk nothing is known of it, and that is no growth from nothing.
fn has_looked(sample: &Sample) -> bool {
    sample.disk_bytes > 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64, accepted: u64, delivered: u64, queued: u64, disk_bytes: u64) -> Sample {
        let at = Mono::from_duration(Duration::from_secs(1_000 + seconds));
        Sample { at, accepted, duplicate: 0, delivered, queued, disk_bytes }
    }

    #[test]
    fn a_backlog_that_shrinks_says_when_it_is_gone() {
        let mut rates = Rates::default();
        rates.push(at(0, 0, 0, 1_000, 0));

        let trend = rates.trend(at(10, 100, 600, 500, 0));

        assert_eq!((trend.accepted, trend.delivered), (10.0, 60.0));
        assert_eq!(trend.to_drain, Some(Duration::from_secs(10)));
        assert_eq!(trend.to_full(1_000), None);
    }

    #[test]
    fn an_outage_says_when_the_disk_is_full_and_not_when_the_backlog_is_gone() {
        let mut rates = Rates::default();
        for minute in 0..20 {
            let bytes = if minute == 0 { 0 } else { 1 + minute * 3_000_000 };
            rates.push(at(minute * 60, minute * 3_000, 0, minute * 3_000, bytes));
        }

        let trend = rates.trend(at(20 * 60, 60_000, 0, 60_000, 60_000_001));

        assert_eq!(trend.to_drain, None);
        assert_eq!(trend.to_full(5_000_000), Some(Duration::from_secs(100)));
    }

    #[test]
    fn nothing_queued_takes_no_time_and_without_samples_nothing_is_claimed() {
        assert_eq!(Rates::default().trend(at(0, 5, 5, 0, 0)).to_drain, Some(Duration::ZERO));
        assert_eq!(Rates::default().trend(at(0, 5, 0, 5, 0)).to_drain, None);
    }
}
