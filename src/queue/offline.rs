//! A stopped daemon's directory, looked at from outside: every chunk is read, not a byte is changed.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::channel;

use crate::event::Lane;

use super::dir_lock::DirLock;
use super::types::{OpenError, Seq, Stored};
use crate::queue::format::chunk::Chunk;
use crate::queue::format::event;
use crate::queue::format::letter::{self, DeadLetter};
use crate::queue::log::append::SegmentedLog;
use crate::queue::log::index::SegmentIndex;
use crate::queue::log::maintenance::Maintenance;
use crate::queue::log::raw::RawFile;
use crate::queue::log::segment::{LogId, Segment};
use crate::queue::log::source::Source;
use crate::queue::log::survey::{Found, cut, measure, scan, survey};
use crate::queue::state::ledger::Ledger;

/// A directory as it was found.
#[derive(Debug)]
pub struct Inspection {
    /// Lanes in their order, then the dead letters.
    logs: Vec<SegmentedLog>,
    faults: Vec<String>,
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
    /// error: it stands in [`Inspection::faults`].
    pub fn of(dir: &Path) -> Result<Self, OpenError> {
        if !dir.join("lanes").is_dir() {
            let reason = "is no queue directory of trunkline: it has no `lanes`".to_owned();
            return Err(OpenError::CannotMake { path: dir.to_path_buf(), reason });
        }
        let lock = DirLock::take_to_read(dir)?;
        let (mut faults, mut reports, mut logs) = (Vec::new(), Vec::new(), Vec::new());
        for id in Lane::ALL.map(LogId::Lane).into_iter().chain([LogId::Dead, LogId::Ledger]) {
            let (log, report) = inspect(dir, id, &mut faults)?;
            logs.push(log);
            reports.push(report);
        }
        let ledger = Ledger::new(logs.pop().expect("the last one pushed"));
        faults.extend(ledger.recover().apply(&mut logs));
        for (log, report) in logs.iter().zip(&mut reports) {
            report.unsettled = log.index.segments().iter().map(Segment::unsettled).sum();
        }
        Ok(Self { logs, faults, reports, _lock: lock })
    }

    /// What does not fit, a line each.
    pub fn faults(&self) -> &[String] {
        &self.faults
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

/// One segment in memory at a time.
fn each_chunk<E>(
    log: &SegmentedLog,
    mut take: impl FnMut(&Segment, Chunk<'_>) -> Result<(), E>,
) -> Result<(), E> {
    for segment in log.index.segments().iter().filter(|segment| segment.unsettled() > 0) {
        let Ok(source) = Source::of(log.id, segment).ready() else { continue };
        for chunk in source.chunks_from(source.first).filter_map(Result::ok) {
            take(segment, chunk.chunk())?;
        }
    }
    Ok(())
}

fn inspect(
    queue: &Path,
    id: LogId,
    faults: &mut Vec<String>,
) -> Result<(SegmentedLog, LogReport), OpenError> {
    let dir = id.dir(queue);
    let mut report =
        LogReport { name: id.name(), segments: 0, chunks: 0, records: 0, unsettled: 0, bytes: 0 };
    let mut segments = Vec::new();
    let found = if dir.is_dir() { survey(&dir, id)? } else { Vec::new() };
    for found in found {
        match found {
            Found::Segment(segment, is_closed) => segments.push((segment, is_closed)),
            Found::Headless(segment, why) => {
                faults.push(format!("{}: {why}; its chunks can be read", segment.dir.display()));
                segments.push((segment, false));
            }
            Found::Unreadable(path, why) => {
                faults.push(format!("{}: {why} and no chunk can be read", path.display()));
            }
            Found::Foreign(path) => faults.push(format!("{}: an unknown entry", path.display())),
            Found::Unused(_) => {}
        }
    }
    let limits: Vec<Option<Seq>> = (0..segments.len())
        .map(|at| segments.get(at + 1).and_then(|(after, _)| cut(&segments[at].0, after)))
        .collect();
    let mut kept = Vec::new();
    for ((mut segment, is_closed), limit) in segments.into_iter().zip(limits) {
        report.segments += 1;
        report.bytes += crate::queue::log::raw::allocated(&segment.dir);
        match read_segment(id, &mut segment, is_closed, limit) {
            Ok(raw) => {
                report.chunks += raw.places().len();
                report.records += segment.count();
                if !raw.is_readable() {
                    faults.push(format!("{}: the disk does not give all of it", segment.dir.display()));
                }
                if let Some(torn) = raw.torn_end().filter(|_| !is_closed && limit.is_none()) {
                    faults.push(format!(
                        "{}: numbers {} to {} are not whole: never answered for, or damaged",
                        segment.dir.display(),
                        segment.end,
                        torn - 1
                    ));
                }
                for gap in raw.gaps(segment.first..segment.end) {
                    report.records -= gap.end - gap.start;
                    faults.push(format!(
                        "{}: numbers {} to {} cannot be read",
                        segment.dir.display(),
                        gap.start,
                        gap.end - 1
                    ));
                }
            }
            Err(error) => faults.push(format!("{}: {error}", segment.dir.display())),
        }
        if segment.dir.join("blobs").read_dir().is_ok_and(|mut blobs| blobs.next().is_some()) {
            faults.push(format!("{}: the store made blobs, which are not synced", segment.dir.display()));
        }
        kept.push(segment);
    }
    let (chores, _) = channel();
    let index = SegmentIndex::new(id, kept);
    Ok((SegmentedLog::new(index, id, dir, 0, u64::MAX, Maintenance::new(chores)), report))
}

fn read_segment(
    id: LogId,
    segment: &mut Segment,
    is_closed: bool,
    limit: Option<Seq>,
) -> io::Result<Arc<RawFile>> {
    let no_data = || io::Error::new(io::ErrorKind::NotFound, "its database is missing");
    let raw = if is_closed {
        segment.end = segment.end.min(limit.unwrap_or(Seq::MAX)).max(segment.first);
        scan(id, segment.first, &segment.dir)?.ok_or_else(no_data)?
    } else {
        measure(id, segment, limit)?.ok_or_else(no_data)?.raw
    };
    Ok(Arc::new(raw))
}
