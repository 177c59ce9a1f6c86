//! What the other stages hold of the queue, and its opening and closing.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::task::{Context, Poll};
use std::thread::JoinHandle;

use nix::fcntl::{Flock, FlockArg};
use tokio::sync::oneshot;

use crate::clock::Clock;
use crate::config;
use crate::event::{Envelope, Lane};
use crate::metrics::Metrics;

use super::committer::{AppendResult, Committer, Job};
use super::dead::{DeadLetter, DeadStore};
use super::dedupe::{Dedupe, MAX_IDS};
use super::limits::Limits;
use super::log::Log;
use super::shared::Shared;
use super::types::{AppendError, Backlog, LaneDepth, OpenError, Page, QueueError, Seq, Settlement};

/// Events looked at for dedupe when the directory is opened.
const DEDUPE_PAGE: (usize, usize) = (10_000, 8 * 1024 * 1024);

type ReadJob = (Lane, Seq, (usize, usize), oneshot::Sender<Result<Page, QueueError>>);

/// The open queue. One process at a time holds a directory.
#[derive(Debug)]
pub struct Queue {
    shared: Arc<Shared>,
    dead: Arc<DeadStore>,
    jobs: Sender<Job>,
    reads: Sender<Option<ReadJob>>,
    threads: Vec<JoinHandle<()>>,
    _lock: Flock<fs::File>,
}

impl Queue {
    /// Opens the directory, or makes it. Blocks: call it on a blocking thread.
    ///
    /// # Errors
    /// If the directory is in use, not ours, not writable, or of a newer format.
    pub fn open(config: &config::Queue, clock: Clock, metrics: Arc<Metrics>) -> Result<Self, OpenError> {
        let dir = &config.dir;
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .map_err(|error| OpenError::from_io(dir, &error))?;
        let lock = lock(dir)?;
        let mut logs = Vec::new();
        for lane in Lane::ALL {
            logs.push(Log::open(dir.join("lanes").join(lane.name()), lane, &dir.join("quarantine"))?);
        }
        let logs: [Log; Lane::ALL.len()] = logs.try_into().expect("one a lane");
        let shared = Arc::new(Shared::new(logs));
        let dead = DeadStore::open(&dir.join("dead"), &dir.join("quarantine"))
            .map_err(|error| OpenError::Storage(error.0))?;
        let dead = Arc::new(dead);
        let mut dedupe = Dedupe::new(config.dedupe_window);
        recall(&shared, &mut dedupe)?;
        let limits = Limits::new(config, clock.clone());
        let (jobs, job_queue) = channel();
        let committer =
            Committer { shared: shared.clone(), dead: dead.clone(), dedupe, limits, clock, metrics };
        let (reads, read_queue) = channel::<Option<ReadJob>>();
        let reading = shared.clone();
        let threads = vec![
            spawn("queue-commit", move || committer.run(&job_queue))?,
            spawn("queue-read", move || {
                while let Ok(Some((lane, from, max, answer))) = read_queue.recv() {
                    let page = reading.read(lane, from, max).map_err(|error| QueueError::Storage(error.0));
                    let _ = answer.send(page);
                }
            })?,
        ];
        Ok(Self { shared, dead, jobs, reads, threads, _lock: lock })
    }

    /// For the doors.
    pub fn writer(&self) -> Writer {
        Writer { jobs: self.jobs.clone() }
    }

    /// For the relay.
    pub fn reader(&self) -> Reader {
        Reader { shared: self.shared.clone(), jobs: self.jobs.clone(), reads: self.reads.clone() }
    }

    /// For the operator.
    pub fn dead_letters(&self) -> DeadLetters {
        DeadLetters { store: self.dead.clone() }
    }

    /// Finishes what was asked and gives the directory free. Blocks for at most a commit.
    pub fn close(mut self) {
        // A thread that has ended needs no message.
        let _ = self.jobs.send(Job::Close);
        let _ = self.reads.send(None);
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread of the queue panicked");
            }
        }
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, OpenError> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(work)
        .map_err(|error| OpenError::Storage(format!("no thread: {error}")))
}

fn lock(dir: &Path) -> Result<Flock<fs::File>, OpenError> {
    let path = dir.join("lock");
    let file = fs::File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(|error| OpenError::from_io(&path, &error))?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock)
        .map_err(|_| OpenError::InUse { path: dir.to_path_buf() })
}

/// Ids of what lies unsettled: a producer may send it again after our restart.
fn recall(shared: &Shared, dedupe: &mut Dedupe) -> Result<(), OpenError> {
    for lane in Lane::ALL {
        let mut from = shared.end(lane).borrow().saturating_sub(MAX_IDS as Seq);
        loop {
            let page = shared.read(lane, from, DEDUPE_PAGE).map_err(|error| OpenError::Storage(error.0))?;
            page.events.iter().for_each(|stored| dedupe.remember(&stored.event));
            from = page.next;
            if page.at_end {
                break;
            }
        }
    }
    Ok(())
}

/// Appends events. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Writer {
    jobs: Sender<Job>,
}

impl Writer {
    /// Hands events over in this order; the ticket gives a result for each once it is on stable storage.
    pub fn submit(&self, events: Vec<Envelope>) -> Ticket {
        let (answer, result) = oneshot::channel();
        let count = events.len();
        // A closed queue drops `answer`, which the ticket reads as stopping.
        let _ = self.jobs.send(Job::Append { events, answer });
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
    shared: Arc<Shared>,
    jobs: Sender<Job>,
    reads: Sender<Option<ReadJob>>,
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
        let job = (lane, from, (max_events, max_bytes), answer);
        self.reads.send(Some(job)).map_err(|_| QueueError::Closed)?;
        page.await.map_err(|_| QueueError::Closed)?
    }

    async fn settle(&self, settlements: Vec<Settlement>) -> Result<(), QueueError> {
        let (answer, done) = oneshot::channel();
        self.jobs.send(Job::Settle { settlements, answer }).map_err(|_| QueueError::Closed)?;
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

/// The dead letters. Cheap to clone; calls block.
#[derive(Clone, Debug)]
pub struct DeadLetters {
    store: Arc<DeadStore>,
}

impl DeadLetters {
    /// The first letter after that position, or the first of all: lists without loading all.
    ///
    /// # Errors
    /// On a storage fault.
    pub fn next(&self, after: Option<(Lane, Seq)>) -> Result<Option<DeadLetter>, QueueError> {
        self.store.next(after).map_err(|error| QueueError::Storage(error.0))
    }

    /// Removes a letter for good. `false` if it was not there.
    ///
    /// # Errors
    /// On a storage fault.
    pub fn discard(&self, lane: Lane, seq: Seq) -> Result<bool, QueueError> {
        self.store.discard(lane, seq).map_err(|error| QueueError::Storage(error.0))
    }
}
