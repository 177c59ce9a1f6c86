//! The one thread that writes: group commit of appends and settlements of all lanes.
//!
//! What arrived while the last commit ran goes into the next; there is no timer. Settlements of a group
//! come before its appends: they free space and keys.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::clock::{Clock, Mono};
use crate::config;
use crate::event::{Door, Envelope, Lane};
use crate::metrics::{LaneLabel, Metrics};

use super::job::{AppendResult, Job, Replaying, Settling, Slot, WaitingAppend};
use super::types::{AppendError, Appended, Outcome, QueueError, QueueHealth, ReplayError, Seq, Settlement};
use crate::queue::format::entry::{Fate, LedgerEntry};
use crate::queue::format::letter::DeadLetter;
use crate::queue::log::ids::Identity;
use crate::queue::state::dedupe::Dedupe;
use crate::queue::state::limits::Limits;
use crate::queue::state::retention::Aging;
use crate::queue::state::shared::Shared;

/// Events in one commit at most: bounds how long the first of them waits.
const MAX_GROUP: usize = 8_192;
/// Quiet after which bodies that are settled leave the disk; also the pace of looking after it.
const REST_AFTER: Duration = Duration::from_secs(2);
/// How long an append that failed says that the next will: behind a probe, none may come to show otherwise.
const FAULT_COUNTS_FOR: Duration = Duration::from_secs(30);
/// Pace of what goes by age.
const AGING_EVERY: Duration = Duration::from_secs(60);

pub(super) struct Committer {
    pub(super) shared: Arc<Shared>,
    pub(super) dedupe: Dedupe,
    pub(super) limits: Limits,
    pub(super) aging: Aging,
    pub(super) clock: Clock,
    pub(super) metrics: Arc<Metrics>,
    pub(super) settling_fails: bool,
    /// Why the last append failed, if it did.
    pub(super) append_fault: Option<(AppendError, Mono)>,
    /// When an event of the lane was last refused since the lane is full.
    pub(super) lane_full_at: [Option<Mono>; Lane::ALL.len()],
}

impl Committer {
    /// Works until [`Job::Close`]; what was asked before it is done.
    pub(super) fn run(mut self, jobs: &Receiver<Job>) {
        let mut is_rested = false;
        let mut looked_after = self.look_after(false);
        loop {
            let pace = if is_rested { AGING_EVERY } else { REST_AFTER };
            // A question about our health is no work: it neither ends the quiet nor puts off what is due.
            let wait = pace.saturating_sub(self.clock.mono().since(looked_after));
            match jobs.recv_timeout(if is_rested { wait } else { pace }) {
                Ok(Job::QueueHealth(answer)) => {
                    let _ = answer.send(self.vitals());
                }
                Ok(job) => {
                    if !self.group(job, jobs) {
                        return self.shared.close();
                    }
                    is_rested = false;
                    if self.clock.mono().since(looked_after) >= REST_AFTER {
                        looked_after = self.look_after(false);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    is_rested = true;
                    looked_after = self.look_after(true);
                }
                Err(RecvTimeoutError::Disconnected) => return self.shared.close(),
            }
        }
    }

    fn look_after(&mut self, is_quiet: bool) -> Mono {
        let now_ms = self.clock.unix_ms();
        self.shared.rest(is_quiet, now_ms);
        self.aging.run_if_due(&self.shared, now_ms);
        self.limits.look();
        self.tell(now_ms);
        self.clock.mono()
    }

    fn vitals(&mut self) -> QueueHealth {
        self.limits.look();
        let now = self.clock.mono();
        let is_fresh = |at: &Mono| now.since(*at) < FAULT_COUNTS_FOR;
        let fault = self.append_fault.as_ref().filter(|(_, at)| is_fresh(at)).map(|(error, _)| error.clone());
        let refusal = fault.or_else(|| self.limits.refusal());
        let full_lanes = match &refusal {
            Some(_) => Vec::new(),
            // Small events may still fit where large ones are refused: what was said counts.
            None => {
                let was_refused =
                    |lane: &Lane| self.lane_full_at[lane.index()].as_ref().is_some_and(is_fresh);
                let is_full = |lane: &Lane| was_refused(lane) || self.limits.is_lane_full(*lane);
                Lane::ALL.into_iter().filter(is_full).collect()
            }
        };
        QueueHealth { refusal, full_lanes, settling_fails: self.settling_fails }
    }

    /// The directory and what was built for the window of repeats stay as they are.
    fn configure(&mut self, config: &config::QueueConfig) {
        self.limits.configure(config);
        self.aging.configure(config.dead_letters_max_age);
        self.shared.ledger().configure(config.keep_ledger, config.keep_ledger_size);
        self.metrics.queue_max_bytes.set(config.max_size.cast_signed());
    }

    fn tell(&self, now_ms: i64) {
        let metrics = &self.metrics;
        metrics.dedupe_effective_seconds.set(self.dedupe.effective(now_ms).as_secs_f64());
        let (used, free) = self.limits.known();
        metrics.queue_disk_bytes.set(used.cast_signed());
        metrics.disk_free_bytes.set(free.cast_signed());
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
                Job::QueueHealth(answer) => {
                    let _ = answer.send(self.vitals());
                }
                Job::Configure(config) => self.configure(&config),
                Job::Close => is_open = false,
            }
            next = if is_open && events < MAX_GROUP { jobs.try_recv().ok() } else { None };
        }
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
        let now_ms = self.clock.unix_ms();
        self.limits.look();
        let mut group = Group::default();
        let mut answers = Vec::with_capacity(appends.len());
        for WaitingAppend { events, answer } in appends {
            let slots: Vec<Slot> =
                events.into_iter().map(|event| self.admit(event, now_ms, &mut group)).collect();
            answers.push((slots, answer));
        }
        let mut outcome: BTreeMap<Lane, Result<Seq, AppendError>> = BTreeMap::new();
        for (lane, events) in &group.lanes {
            let result = self.shared.append(*lane, events).map_err(|error| AppendError::Storage(error.0));
            self.tell_of_appending(*lane, result.as_ref().err());
            if result.is_err() {
                events.iter().for_each(|event| self.dedupe.forget(Identity::of(event)));
            }
            outcome.insert(*lane, result);
        }
        let is_stored = |lane: &Lane| matches!(outcome.get(lane), Some(Ok(_)));
        let stored = group.superseded.iter().filter(|(lane, ..)| is_stored(lane));
        let superseded: Vec<(Identity, Seq)> =
            stored.map(|(_, identity, number)| (*identity, *number)).collect();
        self.supersede(&superseded);
        for (slots, answer) in answers {
            let results: AppendResult = slots.into_iter().map(|slot| slot.result(&outcome)).collect();
            // A producer that went away does not need its answer.
            let _ = answer.send(results);
        }
    }

    fn admit(&mut self, mut event: Envelope, now_ms: i64, group: &mut Group) -> Slot {
        let (lane, identity) = (event.lane, Identity::of(&event));
        let is_replay = event.door == Door::Replay;
        if is_replay {
            event.accepted_at_ms = now_ms;
        }
        if !is_replay && self.dedupe.is_on() && self.dedupe.seen(identity, now_ms) {
            return Slot::Duplicate(lane);
        }
        if let Err(refused) = self.limits.check(&event) {
            if let AppendError::LaneFull { lane } = &refused {
                self.lane_full_at[lane.index()] = Some(self.clock.mono());
            }
            return Slot::Refused(refused);
        }
        // A replay ends its letter itself, once it is told that it was stored.
        if !is_replay && let Some(number) = self.shared.dead().find(identity) {
            group.superseded.push((lane, identity, number));
        }
        self.dedupe.remember(identity, event.accepted_at_ms);
        let events = group.lanes.entry(lane).or_default();
        events.push(event);
        Slot::Nth(lane, events.len() as u64 - 1)
    }

    /// Letters whose events were accepted anew. At worst one stays, and may be replayed in vain.
    fn supersede(&self, letters_of: &[(Identity, Seq)]) {
        let mut letters = Vec::new();
        for &(identity, number) in letters_of {
            match self.shared.dead().letter(number, &self.shared.quarantine) {
                // The index knows them by a hash only.
                Ok(found) => {
                    letters.extend(found.filter(|letter| Identity::of(&letter.stored.event) == identity))
                }
                Err(error) => tracing::warn!(%error, "a superseded dead letter cannot be read"),
            }
        }
        if let Err(error) = self.end_letters(&letters, Fate::Superseded) {
            tracing::warn!(%error, "dead letters were superseded and stay for now");
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

    fn settle(&mut self, settles: Vec<Settling>) {
        let now_ms = self.clock.unix_ms();
        // Bitmap before, and told so in vain: its letter may have ended since.
        let shared = self.shared.clone();
        let is_new = |settlement: &&Settlement| {
            matches!(settlement.outcome, Outcome::Dead { .. })
                && !shared.is_settled(settlement.stored.event.lane, settlement.stored.seq)
        };
        let dead: Vec<&Settlement> =
            settles.iter().flat_map(|settling| &settling.settlements).filter(is_new).collect();
        let buried = self.bury(&dead, now_ms);
        // Where no letter could be written, the others of the group are settled all the same.
        let has_dead = |settling: &Settling| {
            settling.settlements.iter().any(|settlement| matches!(settlement.outcome, Outcome::Dead { .. }))
        };
        let may_settle = |settling: &Settling| buried.is_ok() || !has_dead(settling);
        let (good, held): (Vec<&Settling>, Vec<&Settling>) =
            settles.iter().partition(|settling| may_settle(settling));
        let all: Vec<&Settlement> = good.iter().flat_map(|settling| &settling.settlements).collect();
        let entries: Vec<LedgerEntry> = all.iter().map(|settlement| entry_of(settlement, now_ms)).collect();
        let recorded = self.shared.record(&entries).map_err(QueueError::from);
        // What was delivered is done, whether that could be written or not: a segment of which all is
        // done needs no writing, and its space may be what is missing.
        let delivered = |settlement: &&&Settlement| settlement.outcome == Outcome::Delivered;
        let mut done: Vec<&Settlement> = all.clone();
        if recorded.is_err() {
            done = all.iter().filter(delivered).copied().collect();
        }
        let waiting: Vec<&Settlement> = held.iter().flat_map(|settling| &settling.settlements).collect();
        done.extend(waiting.iter().filter(delivered));
        let mut by_lane: BTreeMap<Lane, Vec<Seq>> = BTreeMap::new();
        for settlement in &done {
            by_lane.entry(settlement.stored.event.lane).or_default().push(settlement.stored.seq);
        }
        for (lane, seqs) in by_lane {
            self.shared.mark_settled(lane, &seqs);
        }
        if recorded.is_ok() && buried.is_ok() {
            // A dead letter may come again: mended by its producer, or replayed.
            let identities: Vec<Identity> =
                dead.iter().map(|settlement| Identity::of(&settlement.stored.event)).collect();
            identities.into_iter().for_each(|identity| self.dedupe.forget(identity));
        }
        // Dead letters that are full are told by the lane that makes them: nothing is wrong with the disk.
        let is_fault = |error: &&QueueError| !matches!(error, QueueError::DeadLettersFull);
        self.tell_of_settling(buried.as_ref().err().filter(is_fault).or(recorded.as_ref().err()));
        for settling in settles {
            let result = match &buried {
                Err(error) if has_dead(&settling) => Err(error.clone()),
                _ => recorded.clone(),
            };
            let _ = settling.answer.send(result);
        }
    }

    /// A fault that lasts is told once, and once that it is over.
    fn tell_of_appending(&mut self, lane: Lane, fault: Option<&AppendError>) {
        match fault {
            Some(error) if self.append_fault.is_none() => {
                tracing::error!(%lane, %error, "events cannot be stored and are refused; each one is tried");
            }
            None if self.append_fault.is_some() => tracing::info!(%lane, "events are stored again"),
            _ => {}
        }
        self.append_fault = fault.map(|error| (error.clone(), self.clock.mono()));
    }

    /// A fault that lasts is told once, and once that it is over.
    fn tell_of_settling(&mut self, fault: Option<&QueueError>) {
        match fault {
            Some(error) if !self.settling_fails => {
                tracing::error!(%error, "outcomes cannot be written down; it is tried again, and nothing is sent twice");
            }
            None if self.settling_fails => tracing::info!("outcomes are written down again"),
            _ => {}
        }
        self.settling_fails = fault.is_some();
    }

    /// Stores dead letters; older ones of the same events end with it.
    fn bury(&mut self, dead: &[&Settlement], now_ms: i64) -> Result<(), QueueError> {
        if dead.is_empty() {
            return Ok(());
        }
        self.limits.look();
        if self.limits.dead_are_full() {
            return Err(QueueError::DeadLettersFull);
        }
        let added = self.shared.dead().add(dead, now_ms);
        let replaced = match added {
            Err(_) if self.shared.release_reserve() => self.shared.dead().add(dead, now_ms)?,
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
    superseded: Vec<(Lane, Identity, Seq)>,
}
