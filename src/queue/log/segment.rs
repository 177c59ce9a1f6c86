//! A segment: one small database in a directory named by its first number.
//!
//! ```text
//! made (spare) ──header──> live: written, read through the store ──> closed: read from its file ──> deleted
//! ```
//! A segment found at the start is closed, whatever state it was in.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::event::Lane;

use super::header::{Closing, TimeRange};
use super::ids::IdEntry;
use super::raw::RawFile;
use super::store::Store;
use crate::queue::format::bitmap::Bitmap;
use crate::queue::format::chunk::Kind;
use crate::queue::types::Seq;

/// Numbers that a segment may use: far more than its bytes allow.
pub(crate) const SLOT: Seq = 1 << 20;

/// Which log: a lane's, the dead letters, the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogId {
    Lane(Lane),
    Dead,
    Ledger,
}

impl LogId {
    /// Name in the quarantine and in logs.
    pub(crate) fn name(self) -> &'static str {
        match self {
            LogId::Lane(lane) => lane.name(),
            LogId::Dead => "dead",
            LogId::Ledger => "ledger",
        }
    }

    /// Number in headers and snapshots.
    pub(crate) fn number(self) -> u8 {
        match self {
            LogId::Lane(lane) => lane as u8,
            LogId::Dead => 16,
            LogId::Ledger => 17,
        }
    }

    /// Directory under `queue.dir`.
    pub(crate) fn dir(self, queue: &Path) -> PathBuf {
        match self {
            LogId::Lane(lane) => queue.join("lanes").join(lane.name()),
            LogId::Dead => queue.join("dead"),
            LogId::Ledger => queue.join("ledger"),
        }
    }

    /// Whether chunks of this kind belong here.
    pub(crate) fn holds(self, kind: Kind) -> bool {
        match self {
            LogId::Lane(lane) => kind == Kind::Events(lane),
            LogId::Dead => kind == Kind::Letters,
            LogId::Ledger => matches!(kind, Kind::Entries | Kind::Snapshot),
        }
    }
}

/// The part of a segment that is there only while this process writes it.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) store: Arc<Store>,
    /// For the `ids` file.
    pub(crate) ids: Vec<IdEntry>,
    /// First number of each append, and the time of its oldest record.
    pub(crate) appended_at: Vec<(Seq, i64)>,
}

/// One segment.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) first: Seq,
    /// Last number synced in the segment before, when this one was made.
    pub(crate) previous_end: Seq,
    /// One past the last synced number.
    pub(crate) end: Seq,
    /// Bytes of chunks in it.
    pub(crate) bytes: u64,
    /// Of its records.
    pub(crate) times: TimeRange,
    pub(crate) dir: PathBuf,
    pub(crate) settled: Bitmap,
    /// Of these, what could not be read.
    pub(crate) lost: Bitmap,
    /// Times that its file could not be read whole.
    pub(crate) tries: u32,
    /// Found at the start and not to be synced: what is in it may stand in memory only.
    pub(crate) is_unsynced: bool,
    /// Found at the start, when the disk did not give all of it: more may be in it. It stays, and the next
    /// start looks again.
    pub(crate) is_short: bool,
    pub(crate) live: Option<Live>,
    /// Kept while it is being read.
    pub(crate) raw: Option<Arc<RawFile>>,
    pub(crate) disk: Arc<AtomicU64>,
}

impl Segment {
    /// An empty one.
    pub(crate) fn new(dir: PathBuf, first: Seq, previous_end: Seq, live: Option<Live>) -> Self {
        Self {
            first,
            previous_end,
            end: first,
            bytes: 0,
            times: TimeRange::NONE,
            dir,
            settled: Bitmap::new(first),
            lost: Bitmap::new(first),
            tries: 0,
            is_unsynced: false,
            is_short: false,
            live,
            raw: None,
            disk: Arc::default(),
        }
    }

    /// How many numbers count.
    pub(crate) fn count(&self) -> u64 {
        self.end - self.first
    }

    pub(crate) fn is_settled(&self) -> bool {
        !self.is_short && self.settled.count() >= self.count()
    }

    pub(crate) fn unsettled(&self) -> u64 {
        self.count().saturating_sub(self.settled.count())
    }

    /// Bytes of chunks that are not settled, taking all as equally large.
    pub(crate) fn unsettled_bytes(&self) -> u64 {
        let count = self.count().max(1);
        u64::try_from(u128::from(self.bytes) * u128::from(self.unsettled()) / u128::from(count))
            .unwrap_or(u64::MAX)
    }

    /// About when `seq` was accepted: never later than it was.
    pub(crate) fn time_at(&self, seq: Seq) -> i64 {
        let known = match (&self.live, &self.raw) {
            (Some(live), _) => {
                let at = live.appended_at.partition_point(|(first, _)| *first <= seq);
                at.checked_sub(1).map(|at| live.appended_at[at].1)
            }
            (None, Some(raw)) => raw.time_at(seq),
            (None, None) => None,
        };
        known.unwrap_or(self.times.oldest_ms)
    }

    /// Takes over what a closing says.
    pub(crate) fn closed_with(&mut self, closing: &Closing) {
        self.end = closing.end;
        self.bytes = closing.bytes;
        self.times = closing.times;
        self.disk.store(closing.disk, Ordering::Relaxed);
    }

    /// What its closing must say now.
    pub(crate) fn closing(&self) -> Closing {
        Closing {
            end: self.end,
            bytes: self.bytes,
            times: self.times,
            disk: self.disk.load(Ordering::Relaxed),
        }
    }
}
