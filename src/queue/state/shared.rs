//! The logs, shared between the thread that writes, the one that reads, and the operator's commands.
//!
//! No lock is held over the sync of an append; a lane's is while its next segment begins, some
//! milliseconds. Where two locks are held, the ledger's is taken first.

use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::watch;

use crate::clock::Clock;
use crate::event::{Envelope, Lane};

use super::dead::{Counts, Dead};
use super::lane::LaneLog;
use super::ledger::Ledger;
use super::lost::LostEvents;
use crate::queue::error::{QueueError, StoreError};
use crate::queue::file_system;
use crate::queue::format::entry::{Fate, LedgerEntry};
use crate::queue::format::letter::DeadLetter;
use crate::queue::format::snapshot::SegmentSnapshot;
use crate::queue::log::ids;
use crate::queue::log::maintenance::{Chore, Maintenance};
use crate::queue::log::quarantine::{Quarantine, RESERVE};
use crate::queue::log::raw::allocated;
use crate::queue::log::source::{Chunks, Source, read_chunks};
use crate::queue::types::{LaneDepth, Page, PageLimit, Seq};

/// Space kept for settling when the disk is full.
pub(crate) const RESERVE_BYTES: u64 = 16 * 1024 * 1024;

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) dir: PathBuf,
    logs: [Mutex<LaneLog>; Lane::ALL.len()],
    dead: Mutex<Dead>,
    /// Of `dead`, without its lock.
    pub(crate) dead_counts: Counts,
    ledger: Mutex<Ledger>,
    pub(crate) quarantine: Arc<Quarantine>,
    pub(crate) maintenance: Maintenance,
    depths: [Mutex<LaneDepth>; Lane::ALL.len()],
    ends: [watch::Sender<Seq>; Lane::ALL.len()],
    clock: Clock,
    /// Found and not written down yet.
    lost: Mutex<Vec<LostEvents>>,
}

impl Shared {
    pub(crate) fn new(
        dir: PathBuf,
        logs: [LaneLog; Lane::ALL.len()],
        dead: Dead,
        ledger: Ledger,
        quarantine: Arc<Quarantine>,
        maintenance: Maintenance,
        clock: Clock,
    ) -> Self {
        let ends = std::array::from_fn(|at| watch::Sender::new(logs[at].log.index.visible_end()));
        let shared = Self {
            dir,
            logs: logs.map(Mutex::new),
            dead_counts: dead.counts(),
            dead: Mutex::new(dead),
            ledger: Mutex::new(ledger),
            quarantine,
            maintenance,
            depths: Default::default(),
            ends,
            clock,
            lost: Mutex::default(),
        };
        for lane in Lane::ALL {
            shared.publish(lane, &mut shared.log(lane));
        }
        shared.note_lost_at_start();
        shared
    }

    pub(crate) fn log(&self, lane: Lane) -> MutexGuard<'_, LaneLog> {
        self.logs[lane.index()].lock()
    }

    pub(crate) fn dead(&self) -> MutexGuard<'_, Dead> {
        self.dead.lock()
    }

    pub(crate) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock()
    }

    /// One past the last visible event, as it moves.
    pub(crate) fn end(&self, lane: Lane) -> watch::Receiver<Seq> {
        self.ends[lane.index()].subscribe()
    }

    /// As of the last change; never waits.
    pub(crate) fn depth(&self, lane: Lane) -> LaneDepth {
        *self.depths[lane.index()].lock()
    }

    fn publish(&self, lane: Lane, log: &mut LaneLog) {
        *self.depths[lane.index()].lock() = log.depth();
        let end = log.log.index.visible_end();
        self.ends[lane.index()].send_if_modified(|before| std::mem::replace(before, end) != end);
    }

    /// Stores events on stable storage and gives the first one's number.
    pub(crate) fn append(&self, lane: Lane, events: &[Envelope]) -> Result<Seq, StoreError> {
        let put = self.log(lane).append(events);
        let result = put.and_then(|(pending, store)| store.flush().map(|()| pending));
        let mut log = self.log(lane);
        let result = match result {
            Ok(pending) => {
                let first = pending.first;
                log.log.committed(pending);
                log.last_accepted_ms = events.iter().map(|event| event.accepted_at_ms).max();
                Ok(first)
            }
            Err(error) => {
                log.log.seal();
                Err(error)
            }
        };
        self.publish(lane, &mut log);
        result
    }

    /// Writes entries to the ledger and syncs. At a fault what gives way for settling does, and it is tried
    /// again.
    pub(crate) fn record(&self, entries: &[LedgerEntry]) -> Result<(), StoreError> {
        let ages = self.clock.ages();
        let record = || self.ledger().record(entries, &ages, || self.settled());
        match record() {
            Err(error) if self.frees_space(&error) => record(),
            result => result,
        }
    }

    /// Frees what is kept for settling after `error`; `true` if it is worth trying again.
    pub(crate) fn frees_space(&self, error: &StoreError) -> bool {
        if self.release_reserve() {
            tracing::warn!(%error, "using the disk reserve to settle events");
            return true;
        }
        self.makes_space(error)
    }

    /// As [`Shared::make_space`], if `error` came of a lack of it. sled's panics do not say so themselves.
    pub(crate) fn makes_space(&self, error: &StoreError) -> bool {
        (error.is_full || file_system::is_full(&self.dir)) && self.make_space()
    }

    /// The disk takes no more: the ledger's past gives way, and what is remembered of deleted segments for
    /// a restart. Waits for the deletions. `true` if there was something.
    fn make_space(&self) -> bool {
        let gave_way = self.ledger_gives_way();
        let ids = ids::prune(&self.dir.join("dedupe"), |_| true);
        let is_leaving = |lane: Lane| self.log(lane).log.index.awaits_deletion();
        let is_worth_it = gave_way || ids > 0 || Lane::ALL.into_iter().any(is_leaving);
        if is_worth_it {
            self.maintenance.finish();
        }
        is_worth_it
    }

    /// Gives the space of all but the newest part of the ledger back. `true` if there was any.
    pub(crate) fn ledger_gives_way(&self) -> bool {
        let (now_ms, ages) = (self.clock.unix_ms(), self.clock.ages());
        let gave_way = self.ledger().give_way(now_ms, &ages, || self.settled());
        if gave_way {
            tracing::warn!("shrank the ledger to make room for events");
        }
        gave_way
    }

    /// Ends dead letters: the ledger first, then they are forgotten.
    pub(crate) fn end_letters(
        &self,
        letters: &[DeadLetter],
        fate: Fate,
        now_ms: i64,
    ) -> Result<(), QueueError> {
        let entry = |letter: &DeadLetter| LedgerEntry {
            attempts: letter.attempts,
            status: letter.status,
            correlation_id: letter.correlation_id.clone(),
            ..LedgerEntry::of(&letter.stored.event, letter.number, fate, now_ms)
        };
        let entries: Vec<LedgerEntry> = letters.iter().map(entry).collect();
        self.record(&entries)?;
        self.dead().settle(letters);
        Ok(())
    }

    /// Has each lane's next segment made before it is needed.
    pub(crate) fn begin(&self) {
        for lane in Lane::ALL {
            let mut log = self.log(lane);
            log.delete_settled();
            log.log.prepare();
        }
        self.restore_reserve();
    }

    fn settled(&self) -> Vec<SegmentSnapshot> {
        let mut settled = Vec::new();
        for lane in Lane::ALL {
            settled.extend(self.log(lane).log.index.snapshots());
        }
        settled.extend(self.dead().log.index.snapshots());
        settled
    }

    /// Whether the number is settled, or lies where nothing is any more. One that could not be read does
    /// not count: whoever has it in hand may still end it.
    pub(crate) fn is_settled(&self, lane: Lane, seq: Seq) -> bool {
        let log = self.log(lane);
        log.log.index.is_settled(seq) && !log.log.index.is_lost(seq)
    }

    /// Notes in memory that these are settled; their segments may go.
    pub(crate) fn mark_settled(&self, lane: Lane, seqs: &[Seq]) {
        let mut log = self.log(lane);
        log.log.index.mark_settled(seqs);
        log.delete_settled();
        self.publish(lane, &mut log);
    }

    /// Lets settled bodies leave the disk; `is_quiet` says that nothing came for a while.
    pub(crate) fn rest(&self, is_quiet: bool) {
        let (now_ms, ages) = (self.clock.unix_ms(), self.clock.ages());
        if let Err(error) = self.ledger().renew(now_ms, &ages, || self.settled()) {
            tracing::debug!(%error, "cannot begin a new segment of the ledger");
        }
        if let Err(error) = self.dead().rest(is_quiet) {
            tracing::debug!(%error, "cannot begin a new segment of dead letters");
        }
        for lane in Lane::ALL {
            let mut log = self.log(lane);
            if let Err(error) = log.rest(is_quiet, &ages) {
                tracing::debug!(%lane, %error, "cannot begin a new segment");
            }
            self.publish(lane, &mut log);
        }
    }

    /// Reads a page of unsettled events: all of them up to where it ends.
    ///
    /// # Errors
    /// If the first of them cannot be read, or it is not known whether there is one. That may pass: the
    /// same call again is harmless, and looks again when it is time.
    pub(crate) fn read(&self, lane: Lane, from: Seq, limit: PageLimit) -> Result<Page, StoreError> {
        let mut page = Page { next: from.max(1), ..Page::default() };
        let mut looked = None;
        loop {
            let log = self.log(lane);
            let Some(source) = log.log.index.source_for(page.next) else {
                // Under the same lock: what is committed from now on lies behind this end.
                page.at_end = true;
                page.next = page.next.max(log.log.index.visible_end());
                return Ok(page);
            };
            drop(log);
            let read = if source.is_unread() { None } else { Some(read_chunks(&source, limit, &mut page)) };
            let is_again = looked.replace(source.first) == Some(source.first);
            match read {
                Some(Ok(())) if page.next < source.end || page.events.len() >= limit.events => {
                    return Ok(page);
                }
                Some(Ok(())) => {}
                // What comes before goes first.
                _ if !page.events.is_empty() => return Ok(page),
                Some(Err(error)) if is_again => return Err(error),
                Some(Err(error)) if matches!(source.chunks, Chunks::Live(_)) => {
                    self.read_live(lane, &source, limit, &mut page, error)?;
                }
                Some(Err(_)) | None => self.look_into(lane, &source)?,
            }
        }
    }

    /// Reads a segment that is being written from its file, since the store gave an `error`. Where that
    /// fails too, the committer leaves the segment: from then on its file counts.
    fn read_live(
        &self,
        lane: Lane,
        source: &Source,
        limit: PageLimit,
        page: &mut Page,
        error: StoreError,
    ) -> Result<(), StoreError> {
        let from_file = source.read_from_file().and_then(|source| read_chunks(&source, limit, page));
        if from_file.is_ok() || !page.events.is_empty() {
            return Ok(());
        }
        self.log(lane).log.leave(source.first);
        Err(error)
    }

    /// Looks at a segment, without a lock, and keeps what was found.
    fn look_into(&self, lane: Lane, source: &Source) -> Result<(), StoreError> {
        let now = self.clock.mono();
        source.holds(now)?;
        let looked = source.look(&self.quarantine);
        let mut log = self.log(lane);
        if !log.log.index.looked(source.first, looked, now)?.is_empty() {
            self.lost.lock().extend(LostEvents::of(lane, &log.log, source.first));
        }
        log.delete_settled();
        self.publish(lane, &mut log);
        Ok(())
    }

    /// Events that were found to be lost since this was last asked; also those of the start.
    pub(crate) fn take_lost(&self) -> Vec<LostEvents> {
        std::mem::take(&mut self.lost.lock())
    }

    /// They are to be asked for again.
    pub(crate) fn put_back_lost(&self, lost: Vec<LostEvents>) {
        self.lost.lock().extend(lost);
    }

    /// The ledger has them: their segments may go.
    pub(crate) fn lost_recorded(&self, lost: &[LostEvents]) {
        for LostEvents { lane, first, events, .. } in lost {
            let mut log = self.log(*lane);
            log.log.index.loss_recorded(*first, events.len() as u64);
            log.delete_settled();
        }
    }

    /// Notes what the segments that were read at the start lack.
    fn note_lost_at_start(&self) {
        for lane in Lane::ALL {
            let log = self.log(lane);
            let firsts = log.log.index.segments().iter().filter(|segment| segment.lost.count() > 0);
            let lost = firsts.filter_map(|segment| LostEvents::of(lane, &log.log, segment.first));
            self.lost.lock().extend(lost);
        }
    }

    /// Whether it is not known how much is queued: a segment could not be read yet.
    pub(crate) fn has_unknown(&self) -> bool {
        Lane::ALL.into_iter().any(|lane| self.log(lane).log.index.has_unknown())
    }

    /// Bytes under the directory that are not a lane's.
    pub(crate) fn disk_beside_lanes(&self) -> u64 {
        let reserve = std::fs::metadata(self.reserve()).map_or(0, |_| RESERVE_BYTES);
        let others = allocated(&self.dir.join("dedupe")) + allocated(&self.dir.join("quarantine"));
        let ledger = self.ledger().log.index.disk();
        let dead = self.dead().log.index.disk();
        reserve + others + ledger + dead
    }

    fn reserve(&self) -> PathBuf {
        self.dir.join(RESERVE)
    }

    /// `true` if there was a reserve to give up.
    pub(crate) fn release_reserve(&self) -> bool {
        std::fs::remove_file(self.reserve()).is_ok()
    }

    /// Has the reserve allocated again if it is gone.
    pub(crate) fn restore_reserve(&self) {
        if !self.reserve().exists() {
            self.maintenance.ask(Chore::Reserve(self.reserve(), RESERVE_BYTES));
        }
    }

    /// Gives all handles back; what the segments held is written down.
    pub(crate) fn close(&self) {
        for lane in Lane::ALL {
            self.log(lane).log.close_newest();
        }
        self.dead().log.close_newest();
        self.ledger().log.close_newest();
    }
}
