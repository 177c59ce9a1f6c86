//! What goes by age: dead letters, the ledger, ids of settled events.

use std::time::Duration;

use super::shared::Shared;
use crate::queue::format::entry::Fate;
use crate::queue::log::ids;

/// Letters that end in one go: bounds a commit.
const LETTERS_AT_ONCE: usize = 1_000;
const EVERY_MS: i64 = 60_000;

fn ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[derive(Debug)]
pub(crate) struct Aging {
    dead_letters_max_age_ms: Option<i64>,
    dedupe_window_ms: i64,
    ran_at_ms: i64,
}

impl Aging {
    pub(crate) fn new(dead_letters_max_age: Duration, dedupe_window: Duration) -> Self {
        let mut aging =
            Self { dead_letters_max_age_ms: None, dedupe_window_ms: ms(dedupe_window), ran_at_ms: i64::MIN };
        aging.configure(dead_letters_max_age);
        aging
    }

    pub(crate) fn configure(&mut self, dead_letters_max_age: Duration) {
        self.dead_letters_max_age_ms = (!dead_letters_max_age.is_zero()).then(|| ms(dead_letters_max_age));
    }

    /// Once a minute.
    pub(crate) fn run_if_due(&mut self, shared: &Shared, now_ms: i64) {
        if now_ms.saturating_sub(self.ran_at_ms).abs() >= EVERY_MS {
            self.run(shared, now_ms);
        }
    }

    fn run(&mut self, shared: &Shared, now_ms: i64) {
        self.ran_at_ms = now_ms;
        shared.ledger().prune(now_ms);
        ids::prune(&shared.dir.join("dedupe"), now_ms.saturating_sub(self.dedupe_window_ms));
        if let Some(max_age) = self.dead_letters_max_age_ms {
            self.end_old_letters(shared, now_ms, max_age);
        }
    }

    fn end_old_letters(&self, shared: &Shared, now_ms: i64, max_age_ms: i64) {
        let (mut old, mut next) = (Vec::new(), 0);
        while old.len() < LETTERS_AT_ONCE {
            match shared.dead().at_or_after(next, &shared.quarantine) {
                Ok(Some(letter)) if now_ms.saturating_sub(letter.died_at_ms) > max_age_ms => {
                    next = letter.number + 1;
                    old.push(letter);
                }
                Ok(_) => break,
                Err(error) => {
                    tracing::warn!(%error, "dead letters cannot be read");
                    break;
                }
            }
        }
        if old.is_empty() {
            return;
        }
        match shared.end_letters(&old, Fate::AgedOut, now_ms) {
            Ok(()) => {
                tracing::warn!(
                    count = old.len(),
                    "dead letters older than queue.dead_letters_max_age were discarded"
                );
            }
            Err(error) => tracing::warn!(%error, "old dead letters stay for now"),
        }
    }
}
