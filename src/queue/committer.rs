//! The one thread that writes: group commit of appends and settlements of all lanes.
//!
//! What arrived while the last commit ran goes into the next; there is no timer. Settlements of a group
//! come before its appends: they free space and keys.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::clock::Clock;
use crate::event::{Door, Envelope, Lane};
use crate::metrics::Metrics;

use super::dead::DeadStore;
use super::dedupe::Dedupe;
use super::limits::Limits;
use super::shared::Shared;
use super::types::{AppendError, Appended, Outcome, QueueError, Seq, Settlement};

/// Events in one commit at most: bounds how long the first of them waits.
const MAX_GROUP: usize = 8_192;
/// Quiet after which bodies that are settled leave the disk.
const REST_AFTER: Duration = Duration::from_secs(2);

pub(super) type AppendResult = Vec<Result<Appended, AppendError>>;

/// What the thread is asked to do.
#[derive(Debug)]
pub(super) enum Job {
    Append { events: Vec<Envelope>, answer: oneshot::Sender<AppendResult> },
    Settle { settlements: Vec<Settlement>, answer: oneshot::Sender<Result<(), QueueError>> },
    Close,
}

type WaitingAppend = (Vec<Envelope>, oneshot::Sender<AppendResult>);
type WaitingSettle = (Vec<Settlement>, oneshot::Sender<Result<(), QueueError>>);

pub(super) struct Committer {
    pub(super) shared: Arc<Shared>,
    pub(super) dead: Arc<DeadStore>,
    pub(super) dedupe: Dedupe,
    pub(super) limits: Limits,
    pub(super) clock: Clock,
    pub(super) metrics: Arc<Metrics>,
}

impl Committer {
    /// Works until [`Job::Close`]; what was asked before it is done.
    pub(super) fn run(mut self, jobs: &Receiver<Job>) {
        let mut rested = false;
        loop {
            let first = if rested {
                jobs.recv().map_err(|_| RecvTimeoutError::Disconnected)
            } else {
                jobs.recv_timeout(REST_AFTER)
            };
            match first {
                Ok(job) => {
                    rested = false;
                    if !self.group(job, jobs) {
                        return;
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    rested = true;
                    self.shared.rest();
                }
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Commits `first` and all that waits behind it. `false` once closed.
    fn group(&mut self, first: Job, jobs: &Receiver<Job>) -> bool {
        let (mut appends, mut settles) = (Vec::new(), Vec::new());
        let (mut events, mut open) = (0, true);
        let mut next = Some(first);
        while let Some(job) = next {
            match job {
                Job::Append { events: new, answer } => {
                    events += new.len();
                    appends.push((new, answer));
                }
                Job::Settle { settlements, answer } => {
                    events += settlements.len();
                    settles.push((settlements, answer));
                }
                Job::Close => open = false,
            }
            next = if open && events < MAX_GROUP { jobs.try_recv().ok() } else { None };
        }
        let began = self.clock.mono();
        if !settles.is_empty() {
            self.settle(settles);
        }
        if !appends.is_empty() {
            self.append(appends);
        }
        self.metrics.queue_commit_seconds.observe(self.clock.mono().since(began).as_secs_f64());
        open
    }

    fn append(&mut self, appends: Vec<WaitingAppend>) {
        let now_ms = self.clock.unix_ms();
        self.limits.look();
        let mut group = Group::default();
        let mut answers = Vec::with_capacity(appends.len());
        for (events, answer) in appends {
            let slots: Vec<Slot> =
                events.into_iter().map(|event| self.admit(event, now_ms, &mut group)).collect();
            answers.push((slots, answer));
        }
        let mut outcome: BTreeMap<Lane, Result<Seq, AppendError>> = BTreeMap::new();
        for (lane, events) in group.lanes {
            let result = self.shared.append(lane, &events).map_err(|error| {
                tracing::error!(%lane, %error, "append failed: the segment is sealed");
                AppendError::Storage(error.0)
            });
            if result.is_err() {
                for event in &events {
                    self.dedupe.forget(event);
                }
            }
            outcome.insert(lane, result);
        }
        for (slots, answer) in answers {
            let results = slots.into_iter().map(|slot| slot.result(&outcome, &self.metrics)).collect();
            // A producer that went away does not need its answer.
            let _ = answer.send(results);
        }
    }

    fn admit(&mut self, event: Envelope, now_ms: i64, group: &mut Group) -> Slot {
        let lane = event.lane;
        if event.door != Door::Replay && self.dedupe.seen(&event, now_ms) {
            return Slot::Duplicate(lane);
        }
        if let Err(refused) = self.limits.check(&self.shared, &event) {
            return Slot::Refused(refused);
        }
        self.dedupe.remember(&event);
        let events = group.lanes.entry(lane).or_default();
        events.push(event);
        Slot::Nth(lane, events.len() as u64 - 1)
    }

    fn settle(&mut self, settles: Vec<WaitingSettle>) {
        let mut by_lane: BTreeMap<Lane, Vec<Seq>> = BTreeMap::new();
        let mut dead = Vec::new();
        for settlement in settles.iter().flat_map(|(settlements, _)| settlements) {
            by_lane.entry(settlement.stored.event.lane).or_default().push(settlement.stored.seq);
            if matches!(settlement.outcome, Outcome::Dead { .. }) {
                dead.push(settlement);
            }
        }
        let mut result =
            self.dead.add(&dead, self.clock.unix_ms()).map_err(|error| QueueError::Storage(error.0));
        for (lane, mut seqs) in by_lane {
            seqs.sort_unstable();
            seqs.dedup();
            if result.is_ok() {
                result = self.shared.settle(lane, &seqs).map_err(|error| QueueError::Storage(error.0));
            }
        }
        if result.is_ok() {
            // A dead letter may come again: mended by its producer, or replayed.
            dead.iter().for_each(|settlement| self.dedupe.forget(&settlement.stored.event));
        }
        if let Err(error) = &result {
            tracing::error!(%error, "settling failed: it is tried again");
        }
        for (_, answer) in settles {
            let _ = answer.send(result.clone());
        }
    }
}

#[derive(Default)]
struct Group {
    lanes: BTreeMap<Lane, Vec<Envelope>>,
}

/// Where an event's answer comes from.
enum Slot {
    Nth(Lane, u64),
    /// A repeat shares the fate of what it repeats if that is in this group.
    Duplicate(Lane),
    Refused(AppendError),
}

impl Slot {
    fn result(
        self,
        outcome: &BTreeMap<Lane, Result<Seq, AppendError>>,
        metrics: &Metrics,
    ) -> Result<Appended, AppendError> {
        match self {
            Slot::Nth(lane, nth) => match &outcome[&lane] {
                Ok(first) => Ok(Appended::Stored(first + nth)),
                Err(error) => Err(error.clone()),
            },
            Slot::Duplicate(lane) => match outcome.get(&lane) {
                Some(Err(error)) => Err(error.clone()),
                _ => {
                    metrics.events_duplicate.inc();
                    Ok(Appended::Duplicate)
                }
            },
            Slot::Refused(error) => Err(error),
        }
    }
}
