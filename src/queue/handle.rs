//! Handles to the queue for other modules.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::mpsc::{Sender, sync_channel};
use std::task::{Context, Poll};

use tokio::sync::oneshot;

use crate::config;
use crate::event::{Envelope, Lane};

use super::backlog::Backlog;
use super::error::{AppendError, QueueError, ReplayError};
use super::health::QueueHealth;
use super::job::{AppendResult, Job, Replaying, Settling, WaitingAppend};
use super::types::{LaneDepth, Page, PageLimit, Seq, Settlement};
use crate::queue::format::entry::Fate;
use crate::queue::format::letter::DeadLetter;
use crate::queue::state::ledger::{self, LedgerFindings};
use crate::queue::state::shared::Shared;

/// A read that waits for the reading thread.
#[derive(Debug)]
pub(super) struct ReadJob {
    pub(super) lane: Lane,
    pub(super) from: Seq,
    pub(super) limit: PageLimit,
    pub(super) answer: oneshot::Sender<Result<Page, QueueError>>,
}

/// Appends events. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Writer {
    pub(super) jobs: Sender<Job>,
}

impl Writer {
    /// Hands events over in this order; the ticket gives a result for each once it is on stable storage.
    pub fn submit(&self, events: Vec<Envelope>) -> Ticket {
        let (answer, result) = oneshot::channel();
        let count = events.len();
        // A closed queue drops `answer`, which the ticket reads as stopping.
        let _ = self.jobs.send(Job::Append(WaitingAppend { events, answer }));
        Ticket { result, count }
    }
}

/// The promise of an append's results, one an event, in order.
#[derive(Debug)]
pub struct Ticket {
    result: oneshot::Receiver<AppendResult>,
    count: usize,
}

impl Future for Ticket {
    type Output = AppendResult;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let count = self.count;
        Pin::new(&mut self.result)
            .poll(cx)
            .map(|result| result.unwrap_or_else(|_| vec![Err(AppendError::Stopping); count]))
    }
}

/// Reads and settles. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Reader {
    pub(super) shared: Arc<Shared>,
    pub(super) jobs: Sender<Job>,
    pub(super) reads: Sender<Option<ReadJob>>,
}

impl Backlog for Reader {
    async fn read(
        &self,
        lane: Lane,
        from: Seq,
        max_events: usize,
        max_bytes: usize,
    ) -> Result<Page, QueueError> {
        let (answer, page) = oneshot::channel();
        let limit = PageLimit { events: max_events, bytes: max_bytes };
        let job = ReadJob { lane, from, limit, answer };
        self.reads.send(Some(job)).map_err(|_| QueueError::Closed)?;
        page.await.map_err(|_| QueueError::Closed)?
    }

    async fn settle(&self, settlements: Vec<Settlement>) -> Result<(), QueueError> {
        let (answer, done) = oneshot::channel();
        let job = Job::Settle(Settling { settlements, answer });
        self.jobs.send(job).map_err(|_| QueueError::Closed)?;
        done.await.map_err(|_| QueueError::Closed)?
    }

    async fn wait_for(&self, lane: Lane, from: Seq) {
        let mut end = self.shared.end(lane);
        if end.wait_for(|end| *end > from).await.is_err() {
            std::future::pending().await
        }
    }

    fn depth(&self, lane: Lane) -> LaneDepth {
        self.shared.depth(lane)
    }
}

/// Asks the queue how it is, and changes its limits. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Caretaker {
    pub(super) jobs: Sender<Job>,
}

impl Caretaker {
    /// What the queue would say to a producer now; comes after the commit under way. `None` once the
    /// queue is closed.
    pub async fn health(&self) -> Option<QueueHealth> {
        let (answer, health) = oneshot::channel();
        self.jobs.send(Job::Health(answer)).ok()?;
        health.await.ok()
    }

    /// Keeps to the limits of `config` from now on; its directory and window of repeats stay.
    pub fn configure(&self, config: config::QueueConfig) {
        // A closed queue has no use for limits.
        let _ = self.jobs.send(Job::Configure(Box::new(config)));
    }
}

/// The dead letters, for the operator. Cheap to clone; calls block.
#[derive(Clone, Debug)]
pub struct DeadLetters {
    pub(super) shared: Arc<Shared>,
    pub(super) jobs: Sender<Job>,
}

impl DeadLetters {
    /// The first letter whose number is above `after`; 0 for the first of all. Lists without loading
    /// more than a chunk; what is damaged is set aside and passed over.
    ///
    /// # Errors
    /// [`QueueError::LettersUnread`] if it cannot be read now, which may pass: it is looked at again, at
    /// first after a second, later every minute.
    pub fn next(&self, after: Seq) -> Result<Option<DeadLetter>, QueueError> {
        let found = self.shared.dead().at_or_after(after + 1, &self.shared.quarantine);
        found.map_err(|unread| QueueError::LettersUnread {
            resume_at: unread.resume_at,
            fault: unread.error.words,
        })
    }

    /// How many letters of the lane there are. Never waits.
    pub fn count(&self, lane: Lane) -> u64 {
        self.shared.dead_counts.of(lane)
    }

    /// One past the newest letter's number: those from there on died later.
    pub fn next_number(&self) -> Seq {
        self.shared.dead().end()
    }

    /// Removes letters for good; durable when it returns.
    ///
    /// # Errors
    /// On a storage fault; then none may be taken for gone, and the same call again is harmless.
    pub fn discard(&self, letters: Vec<DeadLetter>) -> Result<(), QueueError> {
        self.end(letters, Fate::Discarded)
    }

    /// Accepts a letter's event again, as `event` says, through the normal way, and then ends the
    /// letter. `event` is the letter's own or an edited one; its door becomes `replay`.
    ///
    /// # Errors
    /// [`ReplayError::Refused`] if it was not accepted: the letter stays, and it is worth trying again
    /// from here on. [`ReplayError::Queue`] on a storage fault: the event may be queued, and the letter
    /// stays.
    pub fn replay(&self, letter: DeadLetter, mut event: Envelope) -> Result<Seq, ReplayError> {
        event.door = crate::event::Door::Replay;
        let (answer, done) = sync_channel(1);
        let job = Job::Replay(Box::new(Replaying { letter, event, answer }));
        let stopping = ReplayError::Refused(AppendError::Stopping);
        self.jobs.send(job).map_err(|_| stopping.clone())?;
        done.recv().map_err(|_| stopping)?
    }

    fn end(&self, letters: Vec<DeadLetter>, fate: Fate) -> Result<(), QueueError> {
        let (answer, done) = sync_channel(1);
        self.jobs.send(Job::EndLetters { letters, fate, answer }).map_err(|_| QueueError::Closed)?;
        done.recv().map_err(|_| QueueError::Closed)?
    }
}

/// What became of events. Cheap to clone; calls block.
#[derive(Clone, Debug)]
pub struct LedgerReader {
    pub(super) shared: Arc<Shared>,
}

impl LedgerReader {
    /// The newest `limit` entries that carry `id` as event, conversation, communication, interaction,
    /// user or agent id.
    pub fn find(&self, id: &str, limit: usize) -> LedgerFindings {
        let sources = self.shared.ledger().sources();
        ledger::find(sources, id, limit)
    }
}
