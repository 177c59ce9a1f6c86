//! Checks that our loops make progress: each is pinged regularly and answers from inside its loop.
//!
//! A loop that waits for a stalled disk does not count as dead for 5 minutes; the upstream is not checked.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::rates::{Rates, Sample};
use crate::clock::{Clock, Mono};
use crate::event::{Door, Lane};
use crate::metrics::{DoorLabel, LaneLabel, Metrics};
use crate::queue::{Backlog, Caretaker, QueueError, QueueHealth, Reader, Seq};
use crate::relay::Command;

/// Pace of asking, and of the samples that rates are made of.
const EVERY: Duration = Duration::from_secs(10);
/// A loop that has not answered for this long is dead. Source: a sync may stall for up to 5 minutes, and
/// its beginning is noticed with the next question.
pub(super) const DEAD_AFTER: Duration = Duration::from_secs(330);
/// A queue that is busy for longer is judged by its last answer.
const QUEUE_ANSWERS_WITHIN: Duration = Duration::from_secs(2);

/// Asks the loops, and remembers when each answered last and what was counted then.
#[derive(Debug)]
pub struct Heartbeat {
    clock: Clock,
    caretaker: Caretaker,
    relay: mpsc::Sender<Command>,
    backlog: Reader,
    metrics: Arc<Metrics>,
    last: Mutex<LastBeats>,
}

#[derive(Debug)]
struct LastBeats {
    committer: Mono,
    reader: Mono,
    relay: Mono,
    queue: QueueHealth,
    rates: Rates,
}

/// A loop that has not answered for too long.
#[derive(Debug)]
pub(super) struct StalledLoop {
    pub(super) name: &'static str,
    pub(super) silent_for: Duration,
}

impl Heartbeat {
    /// All well as of now.
    pub fn new(
        clock: Clock,
        caretaker: Caretaker,
        relay: mpsc::Sender<Command>,
        backlog: Reader,
        metrics: Arc<Metrics>,
    ) -> Self {
        let now = clock.mono();
        let (queue, rates) = (QueueHealth::default(), Rates::default());
        let last = Mutex::new(LastBeats { committer: now, reader: now, relay: now, queue, rates });
        Self { clock, caretaker, relay, backlog, metrics, last }
    }

    /// Asks the loops until `stop`.
    pub async fn watch(&self, stop: CancellationToken) {
        let all = async {
            tokio::join!(self.watch_committer(), self.watch_reader(), self.watch_relay(), self.watch_counts())
        };
        stop.run_until_cancelled(all).await;
    }

    async fn watch_committer(&self) {
        // While it commits it does not answer, and its last answer grows old.
        while let Some(health) = self.caretaker.health().await {
            self.note_queue(health);
            tokio::time::sleep(EVERY).await;
        }
    }

    async fn watch_reader(&self) {
        // Nothing lies there: what counts is that it answers.
        let ask = || self.backlog.read(Lane::ALL[0], Seq::MAX, 1, 1);
        while !matches!(ask().await, Err(QueueError::Closed)) {
            self.last().reader = self.clock.mono();
            tokio::time::sleep(EVERY).await;
        }
    }

    async fn watch_relay(&self) {
        loop {
            let (answer, heard) = oneshot::channel();
            if self.relay.send(Command::Ping(answer)).await.is_err() || heard.await.is_err() {
                return;
            }
            self.last().relay = self.clock.mono();
            tokio::time::sleep(EVERY).await;
        }
    }

    async fn watch_counts(&self) {
        loop {
            let sample = self.sample();
            self.last().rates.push(sample);
            tokio::time::sleep(EVERY).await;
        }
    }

    /// Loops that have not answered for too long.
    pub(super) fn stalled(&self) -> Vec<StalledLoop> {
        let now = self.clock.mono();
        let last = self.last();
        let loops = [
            ("the queue's committer", last.committer),
            ("the queue's reader", last.reader),
            ("the relay", last.relay),
        ];
        let loops = loops.into_iter().map(|(name, at)| StalledLoop { name, silent_for: now.since(at) });
        loops.filter(|stalled| stalled.silent_for >= DEAD_AFTER).collect()
    }

    /// How the queue is now, or was when it last answered.
    pub(super) async fn ask_queue(&self) -> QueueHealth {
        if let Ok(Some(health)) = tokio::time::timeout(QUEUE_ANSWERS_WITHIN, self.caretaker.health()).await {
            self.note_queue(health);
        }
        self.last_queue()
    }

    /// How the queue was when it last answered.
    pub(super) fn last_queue(&self) -> QueueHealth {
        self.last().queue.clone()
    }

    /// The samples of the last minutes.
    pub(super) fn rates(&self) -> Rates {
        self.last().rates.clone()
    }

    /// What is counted now.
    pub(super) fn sample(&self) -> Sample {
        let metrics = &self.metrics;
        let doors = Door::ALL.map(|door| DoorLabel { door: door.name() });
        let lanes = Lane::ALL.map(|lane| LaneLabel { lane: lane.name() });
        Sample {
            at: self.clock.mono(),
            accepted: Metrics::total(doors, &metrics.events_accepted),
            duplicate: metrics.events_duplicate.get(),
            delivered: Metrics::total(lanes, &metrics.events_delivered),
            queued: Lane::ALL.iter().map(|lane| self.backlog.depth(*lane).events).sum(),
            disk_bytes: metrics.queue_disk_bytes.get().cast_unsigned(),
        }
    }

    fn note_queue(&self, health: QueueHealth) {
        let mut last = self.last();
        last.queue = health;
        last.committer = self.clock.mono();
    }

    fn last(&self) -> MutexGuard<'_, LastBeats> {
        self.last.lock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use crate::queue::Queue;

    #[tokio::test]
    async fn each_loop_that_does_not_answer_is_named_and_none_that_does() {
        let dir = tempfile::tempdir().unwrap();
        let text = "[upstream]\nregion = \"eu-central-1\"\nclient_id = \"c\"\nclient_secret = \"s\"\n[queue]\ndir = \"queue\"\n";
        let settings = config::from_toml_str(text, dir.path(), std::iter::empty()).unwrap().config;
        let (clock, metrics) = (Clock::manual(0), Arc::new(Metrics::new()));
        let queue = Queue::open(&settings.queue, clock.clone(), metrics.clone()).unwrap();
        let (commands, mut asked) = mpsc::channel(1);
        let heartbeat =
            Arc::new(Heartbeat::new(clock.clone(), queue.caretaker(), commands, queue.reader(), metrics));

        clock.advance(DEAD_AFTER);
        let before: Vec<&str> = heartbeat.stalled().into_iter().map(|stalled| stalled.name).collect();
        let stop = CancellationToken::new();
        let watching = tokio::spawn({
            let (heartbeat, stop) = (heartbeat.clone(), stop.clone());
            async move { heartbeat.watch(stop).await }
        });
        let Some(Command::Ping(answer)) = asked.recv().await else { panic!("a question") };
        answer.send(()).unwrap();
        while !heartbeat.stalled().is_empty() {
            tokio::task::yield_now().await;
        }
        stop.cancel();
        watching.await.unwrap();

        assert_eq!(before, ["the queue's committer", "the queue's reader", "the relay"]);
    }
}
