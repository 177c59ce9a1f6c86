//! A stopped daemon's directory, looked at from outside: every chunk is read, not a byte is changed.

use std::ops::Range;
use std::path::Path;
use std::sync::mpsc::channel;

use crate::event::Lane;

use super::dir_lock::DirLock;
use super::error::OpenError;
use super::types::{Seq, Stored};
use crate::queue::format::chunk::Chunk;
use crate::queue::format::event;
use crate::queue::format::letter::{self, DeadLetter};
use crate::queue::log::append::SegmentedLog;
use crate::queue::log::index::SegmentIndex;
use crate::queue::log::maintenance::Maintenance;
use crate::queue::log::raw::{OnFault, allocated};
use crate::queue::log::segment::{LogId, Segment};
use crate::queue::log::settled_file;
use crate::queue::log::survey::{Found, LogDirEntry, Measured, SegmentDir, list, look_at, scan};
use crate::queue::state::ledger::Ledger;

/// A directory as it was found.
#[derive(Debug)]
pub struct Inspection {
    /// Lanes in their order, then the dead letters.
    logs: Vec<SegmentedLog>,
    faults: Findings,
    reports: Vec<LogReport>,
    _lock: DirLock,
}

/// What a log holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogReport {
    /// A lane's name, `dead` or `ledger`.
    pub name: &'static str,
    /// Segments.
    pub segments: usize,
    /// Chunks whose checksum is right.
    pub chunks: usize,
    /// Records in them: events, letters, or lines of the ledger.
    pub records: u64,
    /// Records that nothing has become of yet.
    pub unsettled: u64,
    /// Bytes on disk.
    pub bytes: u64,
}

impl Inspection {
    /// Reads all of `dir`.
    ///
    /// # Errors
    /// If a daemon uses the directory, it cannot be read, or it is of a newer format. Damage is no
    /// error: it is in [`Inspection::damaged`].
    pub fn of(dir: &Path) -> Result<Self, OpenError> {
        if !dir.join("lanes").is_dir() {
            let reason = "is no queue directory of trunkline: it has no `lanes`".to_owned();
            return Err(OpenError::CannotMake { path: dir.to_path_buf(), reason });
        }
        let lock = DirLock::take_to_read(dir)?;
        let (mut faults, mut reports, mut logs) = (Findings::default(), Vec::new(), Vec::new());
        for id in Lane::ALL.map(LogId::Lane).into_iter().chain([LogId::Dead, LogId::Ledger]) {
            let InspectedLog { log, report } = inspect(dir, id, &mut faults)?;
            logs.push(log);
            reports.push(report);
        }
        let ledger = Ledger::new(logs.pop().expect("the last one pushed"));
        match ledger.recover() {
            Ok(recovered) => faults.damaged.extend(recovered.apply(&mut logs)),
            Err(error) => {
                faults
                    .unread
                    .push(format!("{error}; what was settled is not known, and counts as unsettled"));
            }
        }
        for (log, report) in logs.iter().zip(&mut reports) {
            report.unsettled = log.index.segments().iter().map(Segment::unsettled).sum();
        }
        Ok(Self { logs, faults, reports, _lock: lock })
    }

    /// What is damaged, a line each.
    pub fn damaged(&self) -> &[String] {
        &self.faults.damaged
    }

    /// What could not be read now, a line each: it may be readable later.
    pub fn unread(&self) -> &[String] {
        &self.faults.unread
    }

    /// By log: the lanes, the dead letters, the ledger.
    pub fn reports(&self) -> &[LogReport] {
        &self.reports
    }

    /// Gives each unsettled event of the lane to `take`, in order.
    ///
    /// # Errors
    /// What `take` says.
    pub fn events<E>(&self, lane: Lane, mut take: impl FnMut(Stored) -> Result<(), E>) -> Result<(), E> {
        each_chunk(&self.logs[lane.index()], |segment, chunk| {
            for stored in event::decode(&chunk).unwrap_or_default() {
                if is_held(segment, stored.seq) {
                    take(stored)?;
                }
            }
            Ok(())
        })
    }

    /// Gives each dead letter to `take`, in order of death.
    ///
    /// # Errors
    /// What `take` says.
    pub fn dead_letters<E>(&self, mut take: impl FnMut(DeadLetter) -> Result<(), E>) -> Result<(), E> {
        each_chunk(&self.logs[Lane::ALL.len()], |segment, chunk| {
            for letter in letter::decode(&chunk).unwrap_or_default() {
                if is_held(segment, letter.number) {
                    take(letter)?;
                }
            }
            Ok(())
        })
    }
}

fn is_held(segment: &Segment, seq: Seq) -> bool {
    (segment.first..segment.end).contains(&seq) && !segment.settled.contains(seq)
}

/// One chunk in memory at a time. What cannot be read was reported.
fn each_chunk<E>(
    log: &SegmentedLog,
    mut take: impl FnMut(&Segment, Chunk<'_>) -> Result<(), E>,
) -> Result<(), E> {
    for segment in log.index.segments().iter().filter(|segment| segment.unsettled() > 0) {
        let Ok(Some(raw)) = scan(log.id, segment.first, &segment.dir, OnFault::PassOver) else { continue };
        for chunk in raw.chunks().filter_map(Result::ok) {
            take(segment, chunk.chunk())?;
        }
    }
    Ok(())
}

/// What is wrong in a directory.
#[derive(Debug, Default)]
struct Findings {
    damaged: Vec<String>,
    unread: Vec<String>,
}

/// A log as it was found, and what it holds.
struct InspectedLog {
    log: SegmentedLog,
    report: LogReport,
}

fn inspect(queue: &Path, id: LogId, faults: &mut Findings) -> Result<InspectedLog, OpenError> {
    let dir = id.dir(queue);
    let mut report =
        LogReport { name: id.name(), segments: 0, chunks: 0, records: 0, unsettled: 0, bytes: 0 };
    let entries = if dir.is_dir() { list(&dir) } else { Ok(Vec::new()) };
    let mut dirs = Vec::new();
    for entry in entries.map_err(|error| OpenError::reading(&dir, &error))? {
        match entry {
            LogDirEntry::Segment(segment) => dirs.push(segment),
            LogDirEntry::Foreign(path) => {
                faults.damaged.push(format!("{}: an unknown entry", path.display()))
            }
            LogDirEntry::Deleted(_) => {}
        }
    }
    let mut segments = Vec::new();
    for (at, dir) in dirs.iter().enumerate() {
        let next = dirs.get(at + 1).map(|next| next.path.as_path());
        segments.extend(inspect_segment(id, dir, next, &mut report, faults)?);
    }
    let (chores, _) = channel();
    let index = SegmentIndex::new(id, segments);
    let log = SegmentedLog::new(index, id, dir, 0, u64::MAX, Maintenance::new(chores));
    Ok(InspectedLog { log, report })
}

fn inspect_segment(
    id: LogId,
    dir: &SegmentDir,
    next: Option<&Path>,
    report: &mut LogReport,
    faults: &mut Findings,
) -> Result<Option<Segment>, OpenError> {
    let path = dir.path.display();
    let (segment, raw) = match look_at(id, dir, next, OnFault::PassOver, |_| true) {
        Ok(Found::Unused) => return Ok(None),
        Ok(Found::Empty(fault)) => {
            faults.damaged.push(format!("{path}: {fault} and no whole chunk is in it"));
            return Ok(None);
        }
        Ok(Found::Closed(segment)) => {
            let raw = scan(id, dir.first, &dir.path, OnFault::PassOver);
            (*segment, raw.map_err(|error| error.to_string()))
        }
        Ok(Found::Measured(measured)) => {
            let Measured { segment, raw, header_fault, torn, .. } = *measured;
            let whole = |fault| format!("{path}: {fault}; its chunks can be read");
            faults.damaged.extend(header_fault.map(whole));
            let words = |range: &Range<Seq>| {
                let (first, last) = (range.start, range.end - 1);
                format!("{path}: numbers {first} to {last} are incomplete: never acknowledged, or damaged")
            };
            faults.damaged.extend(torn.iter().map(words));
            (segment, Ok(raw))
        }
        Err(OpenError::Storage(fault)) => {
            report.segments += 1;
            faults.unread.push(fault);
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    if segment.has_damaged_note {
        faults.damaged.push(format!("{path}: {}", settled_file::DAMAGED));
    }
    report.segments += 1;
    report.bytes += allocated(&segment.dir);
    match raw {
        Ok(Some(raw)) => {
            report.chunks += raw.places().len();
            let gaps = segment.unsettled_of(&raw.gaps(segment.first..segment.end));
            let missing: u64 = gaps.iter().map(|gap| gap.end - gap.start).sum();
            report.records += segment.count() - missing;
            match raw.fault() {
                Some(fault) => faults.unread.push(format!("{path}: {fault}")),
                None => faults.damaged.extend(
                    gaps.iter()
                        .map(|gap| format!("{path}: numbers {} to {} are damaged", gap.start, gap.end - 1)),
                ),
            }
        }
        Ok(None) => faults.unread.push(format!("{path}: its database is missing")),
        Err(fault) => faults.unread.push(format!("{path}: {fault}")),
    }
    if segment.dir.join("blobs").read_dir().is_ok_and(|mut blobs| blobs.next().is_some()) {
        faults.damaged.push(format!("{path}: the store made blobs, which are not synced"));
    }
    Ok(Some(segment))
}
