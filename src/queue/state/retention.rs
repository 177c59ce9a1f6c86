//! What ends by age: dead letters, segments of the ledger, ids of events whose segment is gone.

use std::time::Duration;

use super::shared::Shared;
use crate::clock::{Ages, Clock, Mono};
use crate::fault_log::{FaultLog, Telling};
use crate::queue::format::entry::Fate;
use crate::queue::log::ids;

/// Letters that end in one go: bounds a commit.
const LETTERS_AT_ONCE: usize = 1_000;
const EVERY: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(crate) struct Retention {
    dead_letters_max_age: Option<Duration>,
    dedupe_window: Duration,
    ran_at: Option<Mono>,
    unread: FaultLog,
    unremoved: FaultLog,
}

impl Retention {
    pub(crate) fn new(dead_letters_max_age: Duration, dedupe_window: Duration) -> Self {
        let mut retention = Self {
            dead_letters_max_age: None,
            dedupe_window,
            ran_at: None,
            unread: FaultLog::default(),
            unremoved: FaultLog::default(),
        };
        retention.configure(dead_letters_max_age);
        retention
    }

    pub(crate) fn configure(&mut self, dead_letters_max_age: Duration) {
        self.dead_letters_max_age = (!dead_letters_max_age.is_zero()).then_some(dead_letters_max_age);
    }

    /// Once a minute.
    pub(crate) fn run_if_due(&mut self, shared: &Shared, clock: &Clock) {
        let now = clock.mono();
        if self.ran_at.is_none_or(|ran_at| now.since(ran_at) >= EVERY) {
            self.ran_at = Some(now);
            self.run(shared, clock);
        }
    }

    fn run(&mut self, shared: &Shared, clock: &Clock) {
        let ages = clock.ages();
        shared.ledger().prune(&ages);
        ids::prune(&shared.dir.join("dedupe"), |modified_ms| ages.of(modified_ms) > self.dedupe_window);
        if let Some(max_age) = self.dead_letters_max_age {
            self.end_old_letters(shared, &ages, max_age, clock);
        }
    }

    fn end_old_letters(&mut self, shared: &Shared, ages: &Ages, max_age: Duration, clock: &Clock) {
        let (mut old, mut next, mut fault) = (Vec::new(), 0, None);
        while old.len() < LETTERS_AT_ONCE {
            match shared.dead().at_or_after(next, &shared.quarantine) {
                Ok(Some(letter)) if ages.of(letter.died_at_ms) > max_age => {
                    next = letter.number + 1;
                    old.push(letter);
                }
                // Later ones died later.
                Ok(_) => break,
                Err(unread) => {
                    next = unread.resume_at;
                    fault = Some(unread.error);
                }
            }
        }
        let told = self.unread.tried(fault.is_some(), clock.mono());
        if let (Some(Telling::Fault { times }), Some(error)) = (told, fault) {
            tracing::warn!(%error, times, "dead letters cannot be read; they stay");
        }
        if old.is_empty() {
            return;
        }
        let ended = shared.end_letters(&old, Fate::AgedOut, clock.unix_ms());
        let told = self.unremoved.tried(ended.is_err(), clock.mono());
        match (ended, told) {
            (Ok(()), _) => {
                let count = old.len();
                tracing::warn!(count, "dead letters older than queue.dead_letters_max_age were discarded");
            }
            (Err(error), Some(Telling::Fault { times })) => {
                tracing::warn!(%error, times, "old dead letters cannot be removed; trying again later");
            }
            (Err(_), _) => {}
        }
    }
}
