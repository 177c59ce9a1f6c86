//! Opens and closes the queue directory.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;

use crate::clock::Clock;
use crate::config;
use crate::event::Lane;
use crate::files::make_dir;
use crate::metrics::Metrics;

use super::committer::Committer;
use super::dir_lock::DirLock;
use super::error::{OpenError, QueueError};
use super::file_system;
use super::handle::{Caretaker, DeadLetters, LedgerReader, ReadJob, Reader, Writer};
use super::health::Health;
use super::job::Job;
use crate::queue::log::append::SegmentedLog;
use crate::queue::log::maintenance::{self, Chore, Maintenance};
use crate::queue::log::quarantine::Quarantine;
use crate::queue::log::recovery::open_log;
use crate::queue::log::segment::LogId;
use crate::queue::state::clock_file::ClockFile;
use crate::queue::state::dead::Dead;
use crate::queue::state::dedupe::Dedupe;
use crate::queue::state::lane::LaneLog;
use crate::queue::state::ledger::Ledger;
use crate::queue::state::limits::QueueLimits;
use crate::queue::state::owner::{Owner, OwnerFile};
use crate::queue::state::rebuild_dedupe::rebuild_dedupe;
use crate::queue::state::retention::Retention;
use crate::queue::state::shared::Shared;

/// The open queue. One process at a time holds a directory.
#[derive(Debug)]
pub struct Queue {
    shared: Arc<Shared>,
    jobs: Sender<Job>,
    reads: Sender<Option<ReadJob>>,
    maintenance: Maintenance,
    threads: Vec<JoinHandle<()>>,
    maintaining: Option<JoinHandle<()>>,
    disk_warning: Option<String>,
    _lock: Arc<DirLock>,
}

impl Queue {
    /// Opens the directory, or makes it. Takes as long for millions of events as for none. Blocks: call
    /// it on a blocking thread.
    ///
    /// # Errors
    /// If the directory is in use, not ours, not writable, or of a newer format. Damage is no error: it
    /// is set aside.
    pub fn open(
        config: &config::QueueConfig,
        clock: Clock,
        metrics: Arc<Metrics>,
    ) -> Result<Self, OpenError> {
        let dir = &config.dir;
        make_dir(dir).map_err(|error| OpenError::from_io(dir, &error))?;
        let lock = Arc::new(DirLock::take(dir)?);
        let disk_warning = file_system::warning(dir);
        let quarantine = Arc::new(Quarantine::new(dir.join("quarantine")));
        let (chores, chore_queue) = channel();
        let maintenance = Maintenance::new(chores);
        let open =
            |id| open_log(dir, id, config.segment_bytes, &quarantine, maintenance.clone(), clock.mono());
        let mut ledger = Ledger::new(open(LogId::Ledger)?);
        ledger.configure(config.keep_ledger, config.keep_ledger_size);
        // Without it events that were delivered would be sent again.
        let recovered = ledger.recover().map_err(|error| OpenError::Storage(error.words))?;
        let mut logs = Vec::new();
        for lane in Lane::ALL {
            logs.push(open(LogId::Lane(lane))?);
        }
        logs.push(open(LogId::Dead)?);
        for fault in recovered.apply(&mut logs) {
            tracing::error!(fault, "part of the queue is missing");
        }
        logs.iter_mut().for_each(|log| log.index.note_missing(&quarantine));
        let newest =
            |log: &SegmentedLog| log.index.segments().iter().map(|segment| segment.times.newest_ms).max();
        let newest_ms = logs.iter().chain([&ledger.log]).filter_map(newest).max();
        let clock_file = ClockFile::open(dir, &clock, newest_ms);
        ledger.remember_repeatable(config.dedupe_window, &recovered, &clock.ages());
        let dead = Dead::new(logs.pop().expect("the last one pushed"), clock.clone());
        let ids_dir = dir.join("dedupe");
        make_dir(&ids_dir).map_err(|error| OpenError::from_io(&ids_dir, &error))?;
        let mut dedupe = Dedupe::new(config.dedupe_window);
        rebuild_dedupe(&logs, &dead, &ledger, &ids_dir, &clock.ages(), config.dedupe_window, &mut dedupe);
        let logs = lane_logs(logs, dedupe.is_on().then_some(ids_dir));
        let (dir, chores) = (dir.clone(), maintenance.clone());
        let shared = Arc::new(Shared::new(dir, logs, dead, ledger, quarantine, chores, clock.clone()));
        let limits = QueueLimits::new(config, shared.clone(), lock.clone(), clock.clone());
        let retention = Retention::new(config.dead_letters_max_age, config.dedupe_window);
        metrics.queue_max_bytes.set(config.max_size.cast_signed());
        let committer = Committer {
            shared: shared.clone(),
            dedupe,
            limits,
            retention,
            clock_file,
            clock,
            metrics,
            health: Health::default(),
        };
        let maintaining = Some(spawn("queue-maintain", move || maintenance::run(&chore_queue))?);
        let committing = spawn_committer(committer)?;
        let reading = spawn_reader(shared.clone())?;
        shared.begin();
        let (jobs, reads) = (committing.sender, reading.sender);
        let threads = vec![committing.thread, reading.thread];
        Ok(Self { shared, jobs, reads, maintenance, threads, maintaining, disk_warning, _lock: lock })
    }

    /// As [`Ownership::claim`].
    ///
    /// # Errors
    /// As there.
    pub fn claim(&self, current: &Owner) -> Result<Option<String>, OpenError> {
        self.ownership().claim(current)
    }

    /// Why the file system of the directory should not hold a queue, as it was at the start.
    pub fn disk_warning(&self) -> Option<&str> {
        self.disk_warning.as_deref()
    }

    /// For whom the queue is.
    pub fn ownership(&self) -> Ownership {
        Ownership { shared: self.shared.clone() }
    }

    /// For the doors.
    pub fn writer(&self) -> Writer {
        Writer { jobs: self.jobs.clone() }
    }

    /// For the relay.
    pub fn reader(&self) -> Reader {
        Reader { shared: self.shared.clone(), jobs: self.jobs.clone(), reads: self.reads.clone() }
    }

    /// For those who look after the queue.
    pub fn caretaker(&self) -> Caretaker {
        Caretaker { jobs: self.jobs.clone() }
    }

    /// For the operator.
    pub fn dead_letters(&self) -> DeadLetters {
        DeadLetters { shared: self.shared.clone(), jobs: self.jobs.clone() }
    }

    /// For the operator.
    pub fn ledger(&self) -> LedgerReader {
        LedgerReader { shared: self.shared.clone() }
    }

    /// Finishes what was asked and gives the directory free. Blocks for at most a commit and the
    /// closing of a segment a lane.
    pub fn close(mut self) {
        // A thread that has ended needs no message.
        let _ = self.jobs.send(Job::Close);
        let _ = self.reads.send(None);
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a queue thread panicked");
            }
        }
        self.maintenance.ask(Chore::Stop);
        if self.maintaining.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the queue's maintenance thread panicked");
        }
    }
}

/// For whom the queue is. Cheap to clone; calls block.
#[derive(Clone, Debug)]
pub struct Ownership {
    shared: Arc<Shared>,
}

impl Ownership {
    /// Makes sure that what is queued may leave as `current`: an empty queue becomes its. Else why not,
    /// in words for the operator.
    ///
    /// # Errors
    /// If the owner before cannot be read: then nothing was changed. Or if the new one cannot be written down.
    pub fn claim(&self, current: &Owner) -> Result<Option<String>, OpenError> {
        let owner = Owner::read(&self.shared.dir)?;
        let events: u64 = Lane::ALL.into_iter().map(|lane| self.shared.depth(lane).events).sum();
        let is_unknown = self.shared.has_unknown();
        let more = if is_unknown { " and what cannot be read yet" } else { "" };
        match &owner {
            _ if events == 0 && !is_unknown => {}
            OwnerFile::Known(owner) if !owner.fits(current) => {
                return Ok(Some(format!(
                    "{events} events{more} were accepted for {owner}, and this is {current}: run `trunkline adopt` \
                     to send them here, or `trunkline queue export` to take them out"
                )));
            }
            OwnerFile::Damaged { path } => {
                return Ok(Some(format!(
                    "{} is damaged, so it is not known for whom {events} events{more} were accepted, and this is \
                     {current}: run `trunkline adopt` to send them here, or `trunkline queue export` to take them out",
                    path.display()
                )));
            }
            OwnerFile::Known(_) | OwnerFile::Absent => {}
        }
        let mut next = current.clone();
        // The same client is still of the organisation that a login showed.
        if let Some(before) =
            owner.known().filter(|before| next.organisation.is_none() && before.is_same_client(&next))
        {
            next.organisation = before.organisation;
        }
        next.write(&self.shared.dir)?;
        Ok(None)
    }

    /// Who it is, as it was last written down.
    ///
    /// # Errors
    /// If that cannot be read.
    pub fn owner(&self) -> Result<Option<Owner>, OpenError> {
        Ok(Owner::read(&self.shared.dir)?.known())
    }

    /// Makes `current` the owner, whatever is queued. Gives the one before, if that is known.
    ///
    /// # Errors
    /// If the owner cannot be written down.
    pub fn adopt(&self, current: &Owner) -> Result<Option<Owner>, OpenError> {
        change_owner(&self.shared.dir, current)
    }
}

/// Makes `current` the owner of a stopped daemon's directory. Gives the one before, if that is known.
///
/// # Errors
/// If the directory is not there, in use, or not writable.
pub fn adopt(dir: &Path, current: &Owner) -> Result<Option<Owner>, OpenError> {
    let _lock = DirLock::take(dir)?;
    change_owner(dir, current)
}

/// Whoever adopts need not know from whom.
fn change_owner(dir: &Path, current: &Owner) -> Result<Option<Owner>, OpenError> {
    let before = Owner::read(dir).ok().and_then(OwnerFile::known);
    current.write(dir)?;
    Ok(before)
}

/// The lanes' logs, in the order of [`Lane::ALL`].
fn lane_logs(logs: Vec<SegmentedLog>, ids_dir: Option<PathBuf>) -> [LaneLog; Lane::ALL.len()] {
    let pairs = Lane::ALL.into_iter().zip(logs);
    let logs: Vec<LaneLog> = pairs.map(|(lane, log)| LaneLog::new(log, lane, ids_dir.clone())).collect();
    logs.try_into().expect("one a lane")
}

/// A thread, and how to ask it.
struct Spawned<T> {
    sender: Sender<T>,
    thread: JoinHandle<()>,
}

fn spawn_committer(committer: Committer) -> Result<Spawned<Job>, OpenError> {
    let (sender, job_queue) = channel();
    let thread = spawn("queue-commit", move || committer.run(&job_queue))?;
    Ok(Spawned { sender, thread })
}

fn spawn_reader(shared: Arc<Shared>) -> Result<Spawned<Option<ReadJob>>, OpenError> {
    let (sender, read_queue) = channel::<Option<ReadJob>>();
    let thread = spawn("queue-read", move || {
        while let Ok(Some(ReadJob { lane, from, limit, answer })) = read_queue.recv() {
            let _ = answer.send(shared.read(lane, from, limit).map_err(QueueError::from));
        }
    })?;
    Ok(Spawned { sender, thread })
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, OpenError> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(work)
        .map_err(|error| OpenError::Storage(format!("no thread: {error}")))
}
