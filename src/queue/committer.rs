//! The one thread that writes: group commit of appends and settlements of all lanes.
//!
//! What arrived while the last commit ran goes into the next; there is no timer. Settlements of a group
//! come before its appends: they free space and keys.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::clock::{Ages, Clock, Mono};
use crate::config;
use crate::event::{Door, Envelope, Lane};
use crate::metrics::{LaneLabel, Metrics};

use super::error::{AppendError, QueueError, ReplayError};
use super::health::{Health, QueueHealth};
use super::job::{AppendResult, Job, Replaying, Settling, Slot, WaitingAppend};
use super::types::{Appended, Outcome, Seq, Settlement};
use crate::queue::format::entry::{Fate, LedgerEntry};
use crate::queue::format::letter::DeadLetter;
use crate::queue::log::header::TimeRange;
use crate::queue::log::ids::Identity;
use crate::queue::state::clock_file::ClockFile;
use crate::queue::state::dead::KnownLetter;
use crate::queue::state::dedupe::Dedupe;
use crate::queue::state::limits::QueueLimits;
use crate::queue::state::retention::Retention;
use crate::queue::state::shared::Shared;

/// Events in one commit at most: bounds how long the first of them waits.
const MAX_GROUP: usize = 8_192;
/// Quiet after which bodies that are settled leave the disk; also the pace of looking after it.
const REST_AFTER: Duration = Duration::from_secs(2);
/// Pace of what goes by age.
const RETENTION_EVERY: Duration = Duration::from_secs(60);

pub(super) struct Committer {
    pub(super) shared: Arc<Shared>,
    pub(super) dedupe: Dedupe,
    pub(super) limits: QueueLimits,
    pub(super) retention: Retention,
    pub(super) clock_file: ClockFile,
    pub(super) clock: Clock,
    pub(super) metrics: Arc<Metrics>,
    pub(super) health: Health,
}

impl Committer {
    /// Works until [`Job::Close`]; what was asked before it is done.
    pub(super) fn run(mut self, jobs: &Receiver<Job>) {
        let mut is_rested = false;
        let mut worked_at = self.clock.mono();
        let mut looked_after = self.look_after(false);
        loop {
            // Questions about our health are not work: they neither end the quiet nor put off what is due.
            let (since, pace) =
                if is_rested { (looked_after, RETENTION_EVERY) } else { (worked_at, REST_AFTER) };
            match jobs.recv_timeout(pace.saturating_sub(self.clock.mono().since(since))) {
                Ok(Job::Health(answer)) => {
                    let _ = answer.send(self.report_health());
                    if self.clock.mono().since(since) < pace {
                        continue;
                    }
                }
                Ok(job) => {
                    if !self.group(job, jobs) {
                        return self.shared.close();
                    }
                    is_rested = false;
                    worked_at = self.clock.mono();
                    if worked_at.since(looked_after) >= REST_AFTER {
                        looked_after = self.look_after(false);
                    }
                    continue;
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return self.shared.close(),
            }
            is_rested = true;
            looked_after = self.look_after(true);
        }
    }

    fn look_after(&mut self, is_quiet: bool) -> Mono {
        self.end_lost();
        self.shared.rest(is_quiet);
        self.clock_file.keep(&self.clock);
        self.retention.run_if_due(&self.shared, &self.clock);
        self.limits.look();
        let gone = self.limits.directory_gone();
        self.health.directory_looked_at(gone.as_ref(), self.clock.mono());
        self.publish_metrics();
        self.clock.mono()
    }

    fn report_health(&mut self) -> QueueHealth {
        self.limits.look();
        self.health.report(&self.limits, self.clock.mono())
    }

    /// The directory and what was built for the window of repeats stay as they are.
    fn configure(&mut self, config: &config::QueueConfig) {
        self.limits.configure(config);
        self.retention.configure(config.dead_letters_max_age);
        self.shared.ledger().configure(config.keep_ledger, config.keep_ledger_size);
        self.metrics.queue_max_bytes.set(config.max_size.cast_signed());
    }

    fn publish_metrics(&self) {
        let metrics = &self.metrics;
        let now_ms = self.clock.ages().now_boot_ms();
        metrics.dedupe_effective_seconds.set(self.dedupe.effective(now_ms).as_secs_f64());
        self.limits.publish(metrics);
        for lane in Lane::ALL {
            let count = self.shared.dead().len(lane);
            metrics.dead_letters.get_or_create(&LaneLabel { lane: lane.name() }).set(count.cast_signed());
        }
        let told = metrics.quarantined.get();
        metrics.quarantined.inc_by(self.shared.quarantine.parts().saturating_sub(told));
    }

    /// Commits `first` and all that waits behind it. `false` once closed.
    fn group(&mut self, first: Job, jobs: &Receiver<Job>) -> bool {
        let (mut appends, mut settles) = (Vec::new(), Vec::new());
        let (mut events, mut is_open) = (0, true);
        let mut next = Some(first);
        let began = self.clock.mono();
        while let Some(job) = next {
            events += job.len();
            match job {
                Job::Append(append) => appends.push(append),
                Job::Settle(settle) => settles.push(settle),
                Job::EndLetters { letters, fate, answer } => {
                    // Who asked may have gone: what was asked is done all the same.
                    let _ = answer.send(self.end_letters(&letters, fate));
                }
                Job::Replay(replaying) => {
                    let Replaying { letter, event, answer } = *replaying;
                    let _ = answer.send(self.replay(letter, event));
                }
                Job::Health(answer) => {
                    let _ = answer.send(self.report_health());
                }
                Job::Configure(config) => self.configure(&config),
                Job::Close => is_open = false,
            }
            next = if is_open && events < MAX_GROUP { jobs.try_recv().ok() } else { None };
        }
        self.end_lost();
        if !settles.is_empty() {
            self.settle(settles);
        }
        if !appends.is_empty() {
            self.append(appends);
        }
        self.metrics.queue_commit_seconds.observe(self.clock.mono().since(began).as_secs_f64());
        is_open
    }

    fn append(&mut self, appends: Vec<WaitingAppend>) {
        let (now_ms, ages) = (self.clock.unix_ms(), self.clock.ages());
        self.limits.look();
        // Nothing is stored where it is known that nobody would find it.
        self.limits.directory_gone();
        let mut group = Group::default();
        let mut answers = Vec::with_capacity(appends.len());
        for WaitingAppend { events, answer } in appends {
            let slots: Vec<Slot> =
                events.into_iter().map(|event| self.admit(event, now_ms, &ages, &mut group)).collect();
            answers.push((slots, answer));
        }
        let mut outcome: BTreeMap<Lane, Result<Seq, AppendError>> = BTreeMap::new();
        for (lane, events) in &group.lanes {
            let result = self.store(*lane, events);
            if result.is_err() {
                events.iter().for_each(|event| self.dedupe.forget(Identity::of(event)));
            }
            outcome.insert(*lane, result);
        }
        let is_stored = |lane: &Lane| matches!(outcome.get(lane), Some(Ok(_)));
        let mut superseded = group.superseded;
        superseded.retain(|letter| is_stored(&letter.lane));
        self.supersede(&superseded);
        for (slots, answer) in answers {
            let results: AppendResult = slots.into_iter().map(|slot| slot.result(&outcome)).collect();
            // A producer that went away does not need its answer.
            let _ = answer.send(results);
        }
    }

    /// Stores events of a lane. Where there is no room, what can be done without gives way first.
    fn store(&mut self, lane: Lane, events: &[Envelope]) -> Result<Seq, AppendError> {
        let stored = match self.shared.append(lane, events) {
            Err(error) if self.shared.makes_space(&error) => self.shared.append(lane, events),
            result => result,
        };
        let result = stored.map_err(|error| AppendError::Storage(error.words));
        self.health.appended(lane, result.as_ref().err(), self.clock.mono());
        // Synced, but where nobody will find it.
        result.and_then(|first| self.limits.directory_gone().map_or(Ok(first), Err))
    }

    fn admit(&mut self, mut event: Envelope, now_ms: i64, ages: &Ages, group: &mut Group) -> Slot {
        let (lane, identity) = (event.lane, Identity::of(&event));
        let is_replay = event.door == Door::Replay;
        if is_replay {
            event.accepted_at_ms = now_ms;
        }
        if !is_replay && self.dedupe.is_on() && self.dedupe.seen(identity, ages.now_boot_ms()) {
            return Slot::Duplicate(lane);
        }
        if let Err(refused) = self.limits.check(&event) {
            if let AppendError::LaneFull { lane } = &refused {
                self.health.lane_is_full(*lane, self.clock.mono());
            }
            return Slot::Refused(refused);
        }
        // A replay ends its letter itself, once it knows that it was stored.
        if !is_replay && let Some(number) = self.shared.dead().find(identity) {
            group.superseded.push(KnownLetter { lane, identity, number });
        }
        self.dedupe.remember(identity, ages.boot_ms(event.accepted_at_ms));
        let events = group.lanes.entry(lane).or_default();
        events.push(event);
        Slot::Nth(lane, events.len() as u64 - 1)
    }

    /// Letters whose events were accepted again. At worst one stays, and may be replayed in vain.
    fn supersede(&mut self, superseded: &[KnownLetter]) {
        if superseded.is_empty() {
            return;
        }
        let (mut letters, mut unread) = (Vec::new(), None);
        for &KnownLetter { identity, number, .. } in superseded {
            match self.shared.dead().letter(number, &self.shared.quarantine) {
                // The index knows them by a hash only.
                Ok(found) => {
                    letters.extend(found.filter(|letter| Identity::of(&letter.stored.event) == identity))
                }
                Err(error) => unread = Some(error),
            }
        }
        self.health.superseded_read(unread.as_ref(), self.clock.mono());
        if let Err(error) = self.end_letters(&letters, Fate::Superseded) {
            tracing::warn!(%error, "superseded dead letters cannot be removed; they stay");
        }
    }

    /// In one piece, so that two replays of a letter, or a replay and a repeat, accept it once.
    fn replay(&mut self, letter: DeadLetter, event: Envelope) -> Result<Seq, ReplayError> {
        // It may have ended since it was listed.
        let found = self.shared.dead().letter(letter.number, &self.shared.quarantine);
        let found = found.map_err(|error| ReplayError::Queue(error.into()))?;
        if found.as_ref() != Some(&letter) {
            return Err(ReplayError::Ended);
        }
        let (answer, mut result) = oneshot::channel();
        self.append(vec![WaitingAppend { events: vec![event], answer }]);
        match result.try_recv().ok().and_then(|mut results| results.pop()) {
            Some(Ok(Appended::Stored(seq))) => {
                self.end_letters(&[letter], Fate::Replayed).map_err(ReplayError::Queue)?;
                Ok(seq)
            }
            Some(Err(error)) => Err(ReplayError::Refused(error)),
            // A replay is never taken for a repeat.
            Some(Ok(Appended::Duplicate)) | None => Err(ReplayError::Queue(QueueError::Closed)),
        }
    }

    fn end_letters(&self, letters: &[DeadLetter], fate: Fate) -> Result<(), QueueError> {
        self.shared.end_letters(letters, fate, self.clock.unix_ms())
    }

    /// Writes outcomes down and answers. Letters come first, then the ledger, then memory:
    ///
    /// | letters | ledger | a job without a death | a job with one |
    /// |---|---|---|---|
    /// | ok | ok | all settled, `Ok` | all settled, the ids of the dead forgotten, `Ok` |
    /// | ok | err | deliveries done with, the ledger's error | deliveries done with, the ledger's error |
    /// | err | ok | all settled, `Ok` | deliveries done with, the letters' error |
    /// | err | err | deliveries done with, the ledger's error | deliveries done with, the letters' error |
    ///
    /// A delivery is done with even if that could not be written: nobody sends it again in this process,
    /// and its segment's space may be what is missing. An error says that the same call must come again.
    fn settle(&mut self, jobs: Vec<Settling>) {
        let now_ms = self.clock.unix_ms();
        let deaths = self.new_deaths(&jobs);
        let letters = self.write_dead_letters(&deaths, now_ms);
        let (waiting, ready): (Vec<&Settling>, Vec<&Settling>) =
            jobs.iter().partition(|job| letters.is_err() && job.has_death());
        let waiting: Vec<&Settlement> = waiting.into_iter().flat_map(|job| &job.settlements).collect();
        let ready: Vec<&Settlement> = ready.into_iter().flat_map(|job| &job.settlements).collect();
        let entries: Vec<LedgerEntry> = ready.iter().map(|settlement| entry_of(settlement, now_ms)).collect();
        let recorded = self.shared.record(&entries).map_err(QueueError::from);
        let is_done = |settlement: &&Settlement| settlement.outcome == Outcome::Delivered;
        match &recorded {
            Ok(()) => self.mark_settled(ready.into_iter().chain(waiting.into_iter().filter(is_done))),
            Err(_) => self.mark_settled(ready.into_iter().chain(waiting).filter(is_done)),
        }
        if recorded.is_ok() && letters.is_ok() {
            // A dead letter may come again: fixed by its producer, or replayed.
            let ids: Vec<Identity> = deaths.iter().map(|death| Identity::of(&death.stored.event)).collect();
            ids.into_iter().for_each(|id| self.dedupe.forget(id));
        }
        // Dead letters that are full are reported by the lane that makes them: nothing is wrong with the disk.
        let is_fault = |error: &&QueueError| !matches!(error, QueueError::DeadLettersFull);
        let fault = letters.as_ref().err().filter(is_fault).or(recorded.as_ref().err());
        self.health.settled(fault, self.clock.mono());
        for job in jobs {
            let of_letters = if job.has_death() { letters.clone() } else { Ok(()) };
            // Whoever asked may have gone.
            let _ = job.answer.send(of_letters.and(recorded.clone()));
        }
    }

    /// Writes down which events are lost. Whoever sends one of them again sends no repeat.
    fn end_lost(&mut self) {
        let lost = self.shared.take_lost();
        if lost.is_empty() {
            return;
        }
        let ages = self.clock.ages();
        for segment in &lost {
            segment.events.iter().filter_map(|event| event.id).for_each(|id| self.dedupe.forget(id.identity));
            if segment.events.iter().any(|event| event.id.is_none()) {
                // Better twice than not at all.
                let TimeRange { oldest_ms, newest_ms } = segment.times;
                self.dedupe.forget_between(ages.boot_ms(oldest_ms), ages.boot_ms(newest_ms));
            }
        }
        let now_ms = self.clock.unix_ms();
        let entries: Vec<LedgerEntry> = lost.iter().flat_map(|segment| segment.entries(now_ms)).collect();
        let recorded = self.shared.record(&entries).map_err(QueueError::from);
        self.health.settled(recorded.as_ref().err(), self.clock.mono());
        match recorded {
            Ok(()) => self.shared.lost_recorded(&lost),
            Err(_) => self.shared.put_back_lost(lost),
        }
    }

    /// Deaths that are not written down yet. One that is settled was reported in vain: its letter may have
    /// ended since.
    fn new_deaths<'a>(&self, jobs: &'a [Settling]) -> Vec<&'a Settlement> {
        let is_new = |death: &&Settlement| !self.shared.is_settled(death.stored.event.lane, death.stored.seq);
        let all = jobs.iter().flat_map(|job| &job.settlements);
        all.filter(|settlement| settlement.outcome.is_death()).filter(is_new).collect()
    }

    fn mark_settled<'a>(&self, settlements: impl Iterator<Item = &'a Settlement>) {
        let mut by_lane: BTreeMap<Lane, Vec<Seq>> = BTreeMap::new();
        for settlement in settlements {
            by_lane.entry(settlement.stored.event.lane).or_default().push(settlement.stored.seq);
        }
        for (lane, seqs) in by_lane {
            self.shared.mark_settled(lane, &seqs);
        }
    }

    /// Stores dead letters; older ones of the same events end with it.
    fn write_dead_letters(&mut self, deaths: &[&Settlement], now_ms: i64) -> Result<(), QueueError> {
        if deaths.is_empty() {
            return Ok(());
        }
        self.limits.look();
        if self.limits.dead_are_full() {
            return Err(QueueError::DeadLettersFull);
        }
        let added = self.shared.dead().add(deaths, now_ms);
        let replaced = match added {
            Err(error) if self.shared.frees_space(&error) => self.shared.dead().add(deaths, now_ms)?,
            other => other?,
        };
        self.supersede(&replaced);
        Ok(())
    }
}

fn entry_of(settlement: &Settlement, now_ms: i64) -> LedgerEntry {
    let fate = match &settlement.outcome {
        Outcome::Delivered => Fate::Delivered,
        Outcome::Dead { reason, .. } => Fate::Dead(*reason),
    };
    let stored = &settlement.stored;
    LedgerEntry {
        attempts: settlement.attempts,
        status: settlement.status,
        correlation_id: settlement.correlation_id.clone(),
        ..LedgerEntry::of(&stored.event, stored.seq, fate, now_ms)
    }
}

#[derive(Default)]
struct Group {
    lanes: BTreeMap<Lane, Vec<Envelope>>,
    superseded: Vec<KnownLetter>,
}
