//! Whether our loops make progress: each is asked now and then, and answers from within.
//!
//! A loop that waits for the disk does not answer. That is no death for as long as a stalled disk may
//! take; what the upstream does is not asked.

use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::context::AdminContext;
use super::rates::{Rates, Sample};
use crate::clock::Mono;
use crate::event::Lane;
use crate::metrics::{DoorLabel, LaneLabel};
use crate::queue::{Backlog, QueueHealth};
use crate::relay::Command;

/// Pace of asking, and of the samples that rates are made of.
const EVERY: Duration = Duration::from_secs(10);
/// A loop that has not answered for this long is dead. Source: a sync may stall for up to 5 minutes, and
/// its beginning is noticed with the next question.
pub(super) const DEAD_AFTER: Duration = Duration::from_secs(330);

/// The last heartbeats, and what was counted then.
#[derive(Debug)]
pub struct Heartbeat(Mutex<Inner>);

#[derive(Debug)]
struct Inner {
    committer: Mono,
    relay: Mono,
    queue: QueueHealth,
    rates: Rates,
}

impl Heartbeat {
    /// All well as of `now`.
    pub fn new(now: Mono) -> Self {
        let inner =
            Inner { committer: now, relay: now, queue: QueueHealth::default(), rates: Rates::default() };
        Self(Mutex::new(inner))
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock()
    }

    /// Loops that have not answered for too long, by name, with the time since.
    pub(super) fn stalled(&self, now: Mono) -> Vec<(&'static str, Duration)> {
        let inner = self.inner();
        let loops = [("the queue's committer", inner.committer), ("the relay", inner.relay)];
        let ages = loops.into_iter().map(|(name, at)| (name, now.since(at)));
        ages.filter(|(_, age)| *age >= DEAD_AFTER).collect()
    }

    pub(super) fn queue(&self) -> QueueHealth {
        self.inner().queue.clone()
    }

    pub(super) fn note_queue(&self, vitals: QueueHealth, now: Mono) {
        let mut inner = self.inner();
        inner.queue = vitals;
        inner.committer = now;
    }

    fn note_relay(&self, now: Mono) {
        self.inner().relay = now;
    }

    fn sample(&self, sample: Sample) {
        self.inner().rates.push(sample);
    }

    /// What the rates of the last minutes are.
    pub(super) fn rates(&self) -> Rates {
        self.inner().rates.clone()
    }
}

/// Asks the loops until `stop`.
pub async fn watch(house: &AdminContext, stop: CancellationToken) {
    let ask_queue = async {
        loop {
            // While it commits it does not answer, and its last answer grows old.
            let Some(vitals) = house.caretaker.vitals().await else { return };
            house.vitality.note_queue(vitals, house.clock.mono());
            tokio::time::sleep(EVERY).await;
        }
    };
    let ask_relay = async {
        loop {
            let (answer, heard) = oneshot::channel();
            if house.commands.send(Command::Ping(answer)).await.is_err() || heard.await.is_err() {
                return;
            }
            house.vitality.note_relay(house.clock.mono());
            tokio::time::sleep(EVERY).await;
        }
    };
    let count = async {
        loop {
            house.vitality.sample(sample(house));
            tokio::time::sleep(EVERY).await;
        }
    };
    let all = async { tokio::join!(ask_queue, ask_relay, count) };
    stop.run_until_cancelled(all).await;
}

/// What is counted now.
pub(super) fn sample(house: &AdminContext) -> Sample {
    let metrics = &house.metrics;
    let doors = crate::event::Door::ALL.map(|door| DoorLabel { door: door.name() });
    let lanes = Lane::ALL.map(|lane| LaneLabel { lane: lane.name() });
    Sample {
        at: house.clock.mono(),
        accepted: crate::metrics::Metrics::total(doors, &metrics.events_accepted),
        duplicate: metrics.events_duplicate.get(),
        delivered: crate::metrics::Metrics::total(lanes, &metrics.events_delivered),
        queued: Lane::ALL.iter().map(|lane| house.backlog.depth(*lane).events).sum(),
        disk_bytes: metrics.queue_disk_bytes.get().cast_unsigned(),
    }
}
