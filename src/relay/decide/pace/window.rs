//! The starts of the last minute: no more than the configured number in any 60 s, spread evenly.
//!
//! A burst is paid back evenly over the next minute; otherwise all lanes would stall at its end, for two seconds
//! with a burst of 10.

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::time::Duration;

use crate::clock::Mono;
use crate::relay::decide::MINUTE;

/// How much longer than 60 s a start counts: the request may reach the API that much later than another that started
/// 60 s after it. Costs a three-hundredth of the rate.
const SLACK: Duration = Duration::from_millis(200);

/// The starts of the last minute.
#[derive(Debug)]
pub(super) struct Window {
    per_minute: NonZeroU32,
    burst: NonZeroU32,
    starts: VecDeque<Mono>,
    /// Starts without a pause before them.
    run: u32,
    even_at: Mono,
}

impl Window {
    pub(super) fn new(per_minute: NonZeroU32, burst: NonZeroU32, now: Mono) -> Self {
        Self { per_minute, burst, starts: VecDeque::new(), run: 0, even_at: now }
    }

    /// Counts these starts, too, which are in rising order.
    pub(super) fn restore(&mut self, starts: &[Mono]) {
        let most = self.per_minute.get() as usize;
        self.starts.extend(&starts[starts.len().saturating_sub(most)..]);
    }

    /// Keeps to another rate; what has started counts on.
    pub(super) fn configure(&mut self, per_minute: NonZeroU32, burst: NonZeroU32, now: Mono) {
        let surplus = self.starts.len().saturating_sub(per_minute.get() as usize);
        self.starts.drain(..surplus);
        let starts = std::mem::take(&mut self.starts);
        *self = Self { starts, ..Self::new(per_minute, burst, now) };
    }

    /// The earliest instant at which a request might start.
    pub(super) fn free_at(&self) -> Mono {
        self.even_at.max(self.room_at())
    }

    /// When one more may start without too many in a minute.
    fn room_at(&self) -> Mono {
        match self.starts.front() {
            Some(oldest) if self.is_full() => oldest.plus(MINUTE + SLACK),
            _ => Mono::default(),
        }
    }

    /// Counts a start as soon as there is room for it, and says when that is. Whoever asks after it comes later.
    pub(super) fn reserve(&mut self, now: Mono) -> Mono {
        let at = now.max(self.room_at());
        self.count(at);
        at
    }

    fn count(&mut self, at: Mono) {
        if self.is_full() {
            self.starts.pop_front();
        }
        let later = self.starts.iter().rev().take_while(|start| **start > at).count();
        self.starts.insert(self.starts.len() - later, at);
    }

    fn is_full(&self) -> bool {
        self.starts.len() >= self.per_minute.get() as usize
    }

    /// A request starts now.
    pub(super) fn started(&mut self, now: Mono) {
        let own = MINUTE / self.per_minute.get();
        let is_pause = self.starts.back().is_none_or(|last| now.since(*last) > own * 2);
        self.run = if is_pause { 1 } else { self.run.saturating_add(1) };
        self.count(now);
        if self.run > self.burst.get() {
            self.even_at = now.plus(self.spacing(now));
        }
    }

    /// The spacing at which what the last minute leaves lasts until its starts no longer count.
    fn spacing(&self, now: Mono) -> Duration {
        let ends = self.starts.iter().map(|at| at.plus(MINUTE + SLACK)).filter(|end| *end > now);
        let counting = ends.clone().count();
        let left = (self.per_minute.get() as usize).saturating_sub(counting);
        // Until the nth of them ends, counted from none, n more than what is left may start; and one as it ends.
        let spacings = ends.enumerate().filter_map(|(nth, end)| {
            let starts = u32::try_from(left + nth + 1).ok()?;
            Some(end.since(now) / starts)
        });
        spacings.max().unwrap_or_default()
    }
}
