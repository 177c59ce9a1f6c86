//! Accepted events whose data is known to be damaged.

use crate::event::Lane;
use crate::event::catalogue::{Array, KnownArray, types};
use crate::event::{Door, EventIds};
use crate::queue::format::entry::{Fate, LedgerEntry};
use crate::queue::log::append::SegmentedLog;
use crate::queue::log::header::TimeRange;
use crate::queue::log::ids::{self, IdEntry};
use crate::queue::types::Seq;
use uuid::Uuid;

/// What was lost of one segment.
#[derive(Debug)]
pub(crate) struct LostEvents {
    pub(crate) lane: Lane,
    /// The segment's first number.
    pub(crate) first: Seq,
    /// Of the segment's events.
    pub(crate) times: TimeRange,
    pub(crate) events: Vec<LostEvent>,
}

/// One of them. Its body is gone; who it was stands in the segment's `ids`, if that file is whole.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LostEvent {
    seq: Seq,
    pub(crate) id: Option<IdEntry>,
}

impl LostEvents {
    /// What is marked as lost in the segment of `log` that begins at `first`; `None` if nothing is.
    pub(crate) fn of(lane: Lane, log: &SegmentedLog, first: Seq) -> Option<Self> {
        let segment = log.index.segments().iter().find(|segment| segment.first == first)?;
        let lost = (segment.first..segment.end).filter(|seq| segment.lost.contains(*seq));
        let seqs: Vec<Seq> = lost.collect();
        if seqs.is_empty() {
            return None;
        }
        let file = ids::read(&segment.dir.join(ids::FILE)).filter(|file| file.first == segment.first);
        let id_of = |seq: Seq| {
            let at = usize::try_from(seq - segment.first).ok()?;
            file.as_ref()?.ids.get(at).copied()
        };
        let events = seqs.into_iter().map(|seq| LostEvent { seq, id: id_of(seq) }).collect();
        Some(Self { lane, first, times: segment.times, events })
    }

    /// Lines for the ledger. Where nobody knows who it was, the line ends the number all the same.
    pub(crate) fn entries(&self, now_ms: i64) -> Vec<LedgerEntry> {
        let entry = |event: &LostEvent| LedgerEntry {
            settled_at_ms: now_ms,
            accepted_at_ms: event.id.map_or(self.times.oldest_ms, |id| id.at_ms),
            lane: self.lane,
            seq: event.seq,
            event_id: event.id.map_or(Uuid::nil(), |id| id.identity.event_id),
            array: event.id.map_or(Array::Extra("unknown".into()), |id| array_of(id.identity.array)),
            door: Door::Stream,
            uid: u32::MAX,
            fate: Fate::Lost,
            attempts: 0,
            status: None,
            correlation_id: None,
            ids: EventIds::default(),
        };
        self.events.iter().map(entry).collect()
    }
}

/// The array whose name has this sum; the names of extra arrays are not known here.
fn array_of(crc: u32) -> Array {
    let known = types().iter().find(|known| crc32c::crc32c(known.array.as_bytes()) == crc);
    known.map_or_else(|| Array::Extra("unknown".into()), |known| Array::Known(KnownArray(known)))
}
