//! The lanes' logs, shared between the thread that writes and the one that reads.
//!
//! A lock is held for memory and for opening a store; a sync of appends runs under it too, so a read of
//! that lane waits for at most one commit.

use std::sync::{Mutex, MutexGuard};

use tokio::sync::watch;

use crate::event::{Envelope, Lane};

use super::log::Log;
use super::page::read_chunks;
use super::store::StoreError;
use super::types::{LaneDepth, Page, Seq};

#[derive(Debug)]
pub(super) struct Shared {
    logs: [Mutex<Log>; Lane::ALL.len()],
    ends: [watch::Sender<Seq>; Lane::ALL.len()],
}

impl Shared {
    pub(super) fn new(logs: [Log; Lane::ALL.len()]) -> Self {
        let ends = std::array::from_fn(|at| watch::Sender::new(logs[at].visible_end()));
        Self { logs: logs.map(Mutex::new), ends }
    }

    fn log(&self, lane: Lane) -> MutexGuard<'_, Log> {
        self.logs[lane.index()].lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// One past the last visible event, as it moves.
    pub(super) fn end(&self, lane: Lane) -> watch::Receiver<Seq> {
        self.ends[lane.index()].subscribe()
    }

    pub(super) fn depth(&self, lane: Lane) -> LaneDepth {
        self.log(lane).depth()
    }

    /// Stores events on stable storage and gives the first one's number.
    pub(super) fn append(&self, lane: Lane, events: &[Envelope]) -> Result<Seq, StoreError> {
        let mut log = self.log(lane);
        let result = log.append(events).and_then(|pending| log.commit(&[pending]).map(|()| pending.first));
        if result.is_err() {
            log.seal();
        }
        let end = log.visible_end();
        drop(log);
        self.ends[lane.index()].send_replace(end);
        result
    }

    pub(super) fn settle(&self, lane: Lane, seqs: &[Seq]) -> Result<(), StoreError> {
        self.log(lane).settle(seqs)
    }

    /// Lets settled bodies leave the disk.
    pub(super) fn rest(&self) {
        for lane in Lane::ALL {
            if let Err(error) = self.log(lane).rest() {
                tracing::warn!(%lane, %error, "cannot begin a new segment");
            }
        }
    }

    /// Reads a page of unsettled events.
    pub(super) fn read(&self, lane: Lane, from: Seq, max: (usize, usize)) -> Result<Page, StoreError> {
        let mut page = Page { next: from.max(1), ..Page::default() };
        loop {
            let Some(source) = self.log(lane).source_for(page.next)? else {
                page.at_end = true;
                break;
            };
            read_chunks(&source, max, |seq| self.log(lane).is_settled(seq), &mut page);
            if page.next < source.end || page.events.len() >= max.0 {
                break;
            }
        }
        let mut log = self.log(lane);
        if let Some(first) = page.events.first() {
            log.note_oldest(first);
        }
        page.at_end |= page.next >= log.visible_end();
        Ok(page)
    }
}
