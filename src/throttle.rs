//! One log line a second for each reason, so that nothing that repeats fills the log. Pure.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use crate::clock::Mono;

/// Source: `docs/operating.md`.
const QUIET: Duration = Duration::from_secs(1);

/// When each reason was logged last. Reasons are few: none is forgotten.
#[derive(Debug)]
pub struct Throttle<K>(HashMap<K, LastLogged>);

#[derive(Debug)]
struct LastLogged {
    at: Mono,
    held_back: u64,
}

impl<K> Default for Throttle<K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Eq + Hash> Throttle<K> {
    /// `Some(how many were held back)` if a line is due.
    pub fn due(&mut self, reason: K, now: Mono) -> Option<u64> {
        let Some(last) = self.0.get_mut(&reason) else {
            self.0.insert(reason, LastLogged { at: now, held_back: 0 });
            return Some(0);
        };
        if now.since(last.at) < QUIET {
            last.held_back += 1;
            return None;
        }
        last.at = now;
        Some(std::mem::take(&mut last.held_back))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    #[test]
    fn a_reason_is_logged_once_a_second_and_tells_what_it_held_back() {
        let clock = Clock::manual(1_000);
        let mut throttle = Throttle::default();

        let at_once = [(); 3].map(|()| throttle.due("missing", clock.mono()));
        let other = throttle.due("too_large", clock.mono());
        clock.advance(QUIET);
        let later = throttle.due("missing", clock.mono());

        assert_eq!(at_once, [Some(0), None, None]);
        assert_eq!(other, Some(0));
        assert_eq!(later, Some(2));
    }
}
