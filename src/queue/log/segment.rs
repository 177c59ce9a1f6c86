//! A segment: one small database in a directory named by its first number.
//!
//! ```text
//! created (spare) ──header──> live: written, read through the store ──> closed: read from its file ──> deleted
//! ```
//! A segment found at the start is closed, whatever state it was in.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::Mono;
use crate::event::Lane;

use super::header::{Closing, TimeRange, UNKNOWN_END};
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

/// Longest wait between two looks at a segment that cannot be read.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// Why a segment could not be read, and when it is looked at again: as often as it takes.
#[derive(Clone, Debug)]
pub(crate) struct FailedLook {
    pub(crate) fault: String,
    looks: u32,
    pub(crate) next_look: Mono,
}

impl FailedLook {
    /// After a look that failed at `now`; `before` is the one before it. The waits double.
    pub(crate) fn after(before: Option<&FailedLook>, fault: String, now: Mono) -> Self {
        let looks = before.map_or(0, |before| before.looks).saturating_add(1);
        let wait = Duration::from_secs(1 << looks.saturating_sub(1).min(6)).min(LOOK_EVERY);
        Self { fault, looks, next_look: now.plus(wait) }
    }
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
    /// The ledger does not have all of `lost` yet: until then the segment stays.
    is_loss_unrecorded: bool,
    /// What the ledger calls settled and what lies beyond the end that was found: carried on, since a part
    /// that was not read may be found again.
    beyond: Bitmap,
    /// Found at the start, and not known yet: its end is not, and nothing after it may be read. Its lane
    /// holds.
    pub(crate) is_unknown: bool,
    /// Why it could not be read when it was last looked at.
    pub(crate) unread: Option<FailedLook>,
    /// Its file `settled` is there and damaged.
    pub(crate) has_damaged_note: bool,
    /// Found at the start and not to be synced: what is in it may stand in memory only.
    pub(crate) is_unsynced: bool,
    pub(crate) live: Option<Live>,
    /// Kept while it is being read.
    pub(crate) raw: Option<Arc<RawFile>>,
    pub(crate) disk: Arc<AtomicU64>,
    /// This process gives its handle back at the moment: its file may still change.
    pub(crate) is_closing: Arc<AtomicBool>,
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
            is_loss_unrecorded: false,
            beyond: Bitmap::new(first),
            is_unknown: false,
            unread: None,
            has_damaged_note: false,
            is_unsynced: false,
            live,
            raw: None,
            disk: Arc::default(),
            is_closing: Arc::default(),
        }
    }

    /// One that is there and could not be looked at.
    pub(crate) fn unknown(dir: PathBuf, first: Seq, unread: FailedLook) -> Self {
        Self { is_unknown: true, unread: Some(unread), ..Self::new(dir, first, UNKNOWN_END, None) }
    }

    /// How many numbers count.
    pub(crate) fn count(&self) -> u64 {
        self.end - self.first
    }

    pub(crate) fn is_settled(&self) -> bool {
        !self.is_unknown && self.settled.count() >= self.count()
    }

    /// Whether a read must stop here: something in it is not settled, or that is not known.
    pub(crate) fn is_needed(&self) -> bool {
        self.is_unknown || self.unsettled() > 0
    }

    /// One past the last number that may lie in it.
    pub(crate) fn reach(&self) -> Seq {
        if self.is_unknown { self.first.saturating_add(SLOT) } else { self.end }
    }

    /// Notes that a record is settled.
    pub(crate) fn settle(&mut self, seq: Seq) {
        let part = if seq < self.end { &mut self.settled } else { &mut self.beyond };
        part.insert(seq);
    }

    /// Takes over what is known to be settled of the same segment.
    pub(crate) fn settle_all(&mut self, settled: &Bitmap) {
        settled.iter().for_each(|seq| self.settle(seq));
    }

    /// All that is known to be settled, whether it was found or not; without what is lost.
    pub(crate) fn known_settled(&self) -> Bitmap {
        let mut known = self.settled.without(&self.lost);
        known.extend(&self.beyond);
        known
    }

    /// The part of `gaps` that is not settled: nobody can send it.
    pub(crate) fn unsettled_of(&self, gaps: &[Range<Seq>]) -> Vec<Range<Seq>> {
        unsettled_of(&self.settled, gaps)
    }

    /// Counts as settled what cannot be read.
    pub(crate) fn lose(&mut self, lost: &[Range<Seq>]) {
        for seq in lost.iter().cloned().flatten() {
            if self.settled.insert(seq) {
                self.lost.insert(seq);
                self.is_loss_unrecorded = true;
            }
        }
    }

    /// The ledger has `count` of what is lost.
    pub(super) fn loss_recorded(&mut self, count: u64) {
        self.is_loss_unrecorded &= count < self.lost.count();
    }

    /// Whether nothing of it is needed any more.
    pub(crate) fn may_go(&self) -> bool {
        self.is_settled() && !self.is_loss_unrecorded
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

/// The part of `gaps` that is not in `settled`.
pub(crate) fn unsettled_of(settled: &Bitmap, gaps: &[Range<Seq>]) -> Vec<Range<Seq>> {
    let mut found: Vec<Range<Seq>> = Vec::new();
    for seq in gaps.iter().cloned().flatten().filter(|seq| !settled.contains(*seq)) {
        match found.last_mut() {
            Some(last) if last.end == seq => last.end += 1,
            _ => found.push(seq..seq + 1),
        }
    }
    found
}
