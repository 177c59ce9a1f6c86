//! A queue over a watched disk, and the account of what it was asked and what it answered.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use trunkline::clock::Clock;
use trunkline::event::{Envelope, Lane};
use trunkline::queue::{
    AppendError, Appended, Backlog, OpenError, Outcome, Queue, QueueError, Settlement, Stored,
};
use uuid::Uuid;

use super::Layer;
use super::told::{Account, Told};
use crate::kit::{event_with_id, letters, small_segments, try_open};

/// How many events of what size fill a segment.
pub(crate) const FILL: (usize, usize) = (6, 20_000);

/// Far above what lies between two syncs of one task.
const QUIET: Duration = Duration::from_millis(500);

/// Opens the queue of a disk, with segments that as few as [`FILL`] says fill.
pub(crate) fn open(disk: &Path) -> Result<Queue, OpenError> {
    try_open(&small_segments(disk))
}

/// An event with bytes of its own.
pub(crate) fn event(event_id: Uuid, lane: Lane, size: usize) -> Envelope {
    event_with_id(lane, event_id, size, Clock::system().unix_ms())
}

/// Writes the files of `from` over those of `to`, and syncs none.
fn write_over(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        match path.file_name().and_then(|name| name.to_str()) {
            Some("lock" | "reserve") => {}
            _ if path.is_dir() => write_over(&path, &target),
            _ => fs::write(target, fs::read(&path).unwrap()).unwrap(),
        }
    }
}

/// What a kill leaves that comes between a write and its sync: `answered` is on the disk, `unanswered`
/// in the page cache only.
pub(crate) async fn killed_before_its_sync(disk: &Path, answered: Envelope, unanswered: Envelope) -> Layer {
    let home = tempfile::tempdir().unwrap();
    let queue = open(home.path()).unwrap();
    queue.writer().submit(vec![answered]).await;
    write_over(home.path(), disk);
    let layer = Layer::over(disk, 1);
    queue.writer().submit(vec![unanswered]).await;
    write_over(home.path(), disk);
    queue.close();
    layer
}

/// A queue on a watched disk.
pub(crate) struct Run {
    pub(crate) layer: Layer,
    pub(crate) account: Account,
    dir: PathBuf,
    queue: Option<Queue>,
    last: u128,
}

impl Run {
    /// Watches a disk that holds what `account` says. The queue is not open yet.
    pub(crate) fn over(dir: &Path, seed: u64, account: Account) -> Self {
        let layer = Layer::over(dir, seed);
        let last = account.events.last_key_value().map_or(0, |(id, _)| id.as_u128());
        Self { layer, account, dir: dir.to_path_buf(), queue: None, last }
    }

    /// Closes the queue, if it is open, and opens it.
    pub(crate) fn reopen(&mut self) -> Result<(), OpenError> {
        self.close();
        self.queue = Some(open(&self.dir)?);
        Ok(())
    }

    pub(crate) fn close(&mut self) {
        if let Some(queue) = self.queue.take() {
            queue.close();
        }
    }

    pub(crate) fn queue(&self) -> &Queue {
        self.queue.as_ref().expect("open")
    }

    /// Hands over groups of `count` events of `size` bytes, all before the first answer is awaited.
    pub(crate) async fn append(&mut self, groups: &[(Lane, usize, usize)]) -> Result<Vec<Uuid>, AppendError> {
        let (asked, mut tickets) = (self.layer.syncs(), Vec::new());
        for &(lane, count, size) in groups {
            let ids: Vec<Uuid> = (1..=count).map(|nth| Uuid::from_u128(self.last + nth as u128)).collect();
            self.last += count as u128;
            let events: Vec<Envelope> = ids.iter().map(|id| event(*id, lane, size)).collect();
            for event in &events {
                let told = Told::asked(lane, event.body.clone(), asked);
                self.account.events.insert(event.event_id, told);
            }
            tickets.push((ids, self.queue().writer().submit(events)));
        }
        let (mut stored, mut refusal) = (Vec::new(), Ok(()));
        for (ids, ticket) in tickets {
            for (id, answer) in ids.iter().zip(ticket.await) {
                let at = self.layer.syncs();
                let told = self.account.events.get_mut(id).unwrap();
                match answer {
                    Ok(Appended::Stored(seq)) => {
                        told.stored = Some((at, seq));
                        stored.push(*id);
                    }
                    Ok(Appended::Duplicate) => panic!("{id} is no duplicate"),
                    Err(error) => {
                        told.refused = Some(at);
                        refusal = Err(error);
                    }
                }
            }
        }
        refusal.map(|()| stored)
    }

    /// Events of `lane` that are stored and that nobody asked to settle, in order.
    pub(crate) fn unsettled(&self, lane: Lane) -> Vec<Uuid> {
        let now = self.layer.syncs();
        let is_waiting = |told: &Told| told.lane == lane && told.was_stored(now) && told.settling.is_none();
        self.account.events.iter().filter(|(_, told)| is_waiting(told)).map(|(id, _)| *id).collect()
    }

    /// Returns when nothing more is done in the background, which the queue does not tell.
    pub(crate) async fn settle_down(&self) {
        let (mut before, mut now) = (usize::MAX, self.layer.syncs());
        while now != before {
            tokio::time::sleep(QUIET).await;
            (before, now) = (now, self.layer.syncs());
        }
    }

    /// Settles stored events; again if it must be.
    pub(crate) async fn settle(&mut self, ids: &[Uuid], outcome: Outcome) -> Result<(), QueueError> {
        let asked = self.layer.syncs();
        let mut settlements = Vec::new();
        for id in ids {
            let told = self.account.events.get_mut(id).unwrap();
            told.settling.get_or_insert(asked);
            told.is_dead = matches!(outcome, Outcome::Dead { .. });
            let event = Envelope { body: told.body.clone(), ..event(*id, told.lane, 0) };
            settlements.push(Settlement {
                stored: Stored { seq: told.stored.unwrap().1, event },
                outcome: outcome.clone(),
                attempts: 1,
                status: Some(200),
                correlation_id: None,
            });
        }
        self.queue().reader().settle(settlements).await?;
        let at = self.layer.syncs();
        for id in ids {
            self.account.events.get_mut(id).unwrap().settled.get_or_insert(at);
        }
        Ok(())
    }

    /// Discards the event's dead letter.
    pub(crate) fn discard(&mut self, id: Uuid) -> Result<(), QueueError> {
        let asked = self.layer.syncs();
        let told = self.account.events.get_mut(&id).unwrap();
        told.discarding.get_or_insert(asked);
        let mut letters = letters(self.queue());
        letters.retain(|letter| letter.stored.event.event_id == id);
        self.queue().dead_letters().discard(letters)?;
        let at = self.layer.syncs();
        self.account.events.get_mut(&id).unwrap().discarded = Some(at);
        Ok(())
    }
}
