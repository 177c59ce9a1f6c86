//! Brings back from the quarantine what can be read again, into a stopped daemon's directory.
//!
//! A part goes back to its place as a segment if something in it was never read: its `why.txt` says so. The
//! rest is noted as settled in it, and what the ledger calls settled, as far as the ledger goes back. Evidence
//! of damage stays: what could be read was delivered from the segment itself.

use std::fs;
use std::io;
use std::ops::RangeInclusive;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::channel;

use crate::event::Lane;
use crate::files::{self, make_dir, sync_dir};

use super::dir_lock::DirLock;
use super::error::OpenError;
use super::types::Seq;
use crate::queue::format::bitmap::Bitmap;
use crate::queue::log::append::{SegmentedLog, name_of};
use crate::queue::log::header::{self, Header, UNKNOWN_END};
use crate::queue::log::index::SegmentIndex;
use crate::queue::log::maintenance::Maintenance;
use crate::queue::log::quarantine;
use crate::queue::log::raw::{OnFault, RawFile};
use crate::queue::log::segment::{LogId, SLOT};
use crate::queue::log::settled_file;
use crate::queue::log::survey::{Found, LogDirEntry, list, look_at, scan};
use crate::queue::state::ledger::Ledger;

/// A part of the quarantine, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestoredPart {
    /// Its directory in the quarantine.
    pub part: PathBuf,
    /// What became of it.
    pub outcome: RestoreOutcome,
}

/// What became of a part of the quarantine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RestoreOutcome {
    /// It is a segment again.
    Restored {
        /// Its records that wait; of the ledger, all.
        records: u64,
    },
    /// It still cannot be read; it stays.
    Unread(String),
    /// Nothing in it waits: it is evidence, and stays.
    Nothing(&'static str),
}

/// Brings back from `dir/quarantine` what can be read again.
///
/// # Errors
/// If a daemon uses the directory, or ledger or quarantine cannot be read: then nothing was changed.
pub fn restore(dir: &Path) -> Result<Vec<RestoredPart>, OpenError> {
    let _lock = DirLock::take(dir)?;
    let ledger = open_ledger(dir)?;
    let mut parts = Vec::new();
    for QuarantinedPart { part, id, first } in named_parts(&dir.join("quarantine"))? {
        let settled = ledger.settled_in(id, first..first + SLOT);
        let settled = settled.map_err(|error| OpenError::Storage(error.words))?;
        let outcome = match restore_part(dir, &part, id, first, settled) {
            Ok(outcome) => outcome,
            Err(error) => RestoreOutcome::Unread(error.to_string()),
        };
        parts.push(RestoredPart { part, outcome });
    }
    Ok(parts)
}

/// All of the ledger that there is.
fn open_ledger(dir: &Path) -> Result<Ledger, OpenError> {
    let path = LogId::Ledger.dir(dir);
    let mut segments = Vec::new();
    for entry in list(&path).map_err(|error| OpenError::reading(&path, &error))? {
        let LogDirEntry::Segment(segment) = entry else { continue };
        match look_at(LogId::Ledger, &segment, None, OnFault::Stop, |_| true)? {
            Found::Closed(segment) => segments.push(*segment),
            Found::Measured(measured) => segments.push(measured.segment),
            Found::Unused | Found::Empty(_) => {}
        }
    }
    let (chores, _) = channel();
    let index = SegmentIndex::new(LogId::Ledger, segments);
    let log = SegmentedLog::new(index, LogId::Ledger, path, 0, u64::MAX, Maintenance::new(chores));
    Ok(Ledger::new(log))
}

/// A part whose name says where it comes from.
struct QuarantinedPart {
    part: PathBuf,
    id: LogId,
    first: Seq,
}

/// All of them, in order.
fn named_parts(quarantine: &Path) -> Result<Vec<QuarantinedPart>, OpenError> {
    let ids: Vec<LogId> =
        Lane::ALL.into_iter().map(LogId::Lane).chain([LogId::Dead, LogId::Ledger]).collect();
    let entries = match fs::read_dir(quarantine) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.and_then(Iterator::collect::<io::Result<Vec<_>>>),
    };
    let mut parts = Vec::new();
    for entry in entries.map_err(|error| OpenError::reading(quarantine, &error))? {
        let name = entry.file_name();
        let of = |id: &LogId| {
            let first = quarantine::number_in(name.to_str()?, id.name())?;
            Some(QuarantinedPart { part: entry.path(), id: *id, first })
        };
        parts.extend(ids.iter().find_map(of));
    }
    parts.sort_by(|one, other| one.part.cmp(&other.part));
    Ok(parts)
}

fn restore_part(
    dir: &Path,
    part: &Path,
    id: LogId,
    first: Seq,
    mut settled: Bitmap,
) -> io::Result<RestoreOutcome> {
    let Some(raw) = scan(id, first, part, OnFault::Stop)? else {
        return Ok(RestoreOutcome::Nothing("it has no database"));
    };
    if let Some(fault) = raw.fault() {
        return Ok(RestoreOutcome::Unread(fault));
    }
    let Some(end) = end_of(id, part, first, &raw)? else {
        return Ok(RestoreOutcome::Nothing("it has no intact chunk"));
    };
    let target = id.dir(dir).join(name_of(first));
    if target.exists() {
        return Ok(in_place(part, &target));
    }
    let unread = Unread::of(&files::read_if_there(part, quarantine::WHY)?.unwrap_or_default());
    if unread == Unread::Only(Vec::new()) {
        return Ok(RestoreOutcome::Nothing("evidence of a segment that was settled"));
    }
    for seq in (first..end).filter(|seq| !unread.contains(*seq)) {
        settled.insert(seq);
    }
    let note = settled_file::read(part, id, first)?;
    if note.is_damaged {
        let words = "its file settled is damaged; remove it to restore all that the ledger does not know";
        return Ok(RestoreOutcome::Unread(words.to_owned()));
    }
    settled.extend(&note.settled);
    // What is missing was reported when it was set aside.
    for seq in raw.gaps(first..end).into_iter().flatten() {
        settled.insert(seq);
    }
    let records = (first..end).filter(|seq| !settled.contains(*seq)).count() as u64;
    if records == 0 {
        return Ok(RestoreOutcome::Nothing("all of it is settled"));
    }
    if id != LogId::Ledger {
        settled_file::write(part, id, &settled)?;
    }
    if !matches!(header::read(part, id.number())?, Header::Valid { first: named, .. } if named == first) {
        header::write(part, id.number(), first, UNKNOWN_END)?;
    }
    make_dir(&id.dir(dir))?;
    fs::rename(part, &target)?;
    sync_dir(&id.dir(dir))?;
    sync_dir(&dir.join("quarantine"))?;
    Ok(RestoreOutcome::Restored { records })
}

/// What of a part was given up since it could not be read.
#[derive(Debug, PartialEq, Eq)]
enum Unread {
    /// The segment was moved away as it was.
    All,
    /// Only these numbers; the segment went on with the rest.
    Only(Vec<RangeInclusive<Seq>>),
}

impl Unread {
    /// As the part's `why.txt` says. Whoever links evidence writes a reason; a move may have come without.
    fn of(why: &[u8]) -> Self {
        let why = String::from_utf8_lossy(why);
        let mut numbers = Vec::new();
        for line in why.lines() {
            if line.starts_with("it cannot be read")
                || line.contains("chunk is in it")
                || line.contains("no chunk can be read")
            {
                return Unread::All;
            }
            // Of builds that took read errors for damage.
            if let Some((_, lost)) = line.split_once(" records cannot be read: numbers ") {
                numbers.extend(lost.split(", ").filter_map(range));
            }
        }
        if why.trim().is_empty() { Unread::All } else { Unread::Only(numbers) }
    }

    fn contains(&self, seq: Seq) -> bool {
        match self {
            Unread::All => true,
            Unread::Only(numbers) => numbers.iter().any(|range| range.contains(&seq)),
        }
    }
}

/// `5 to 7`.
fn range(words: &str) -> Option<RangeInclusive<Seq>> {
    let (first, last) = words.trim().split_once(" to ")?;
    Some(first.parse().ok()?..=last.parse().ok()?)
}

/// How far a part goes, as its header or its chunks say; `None` if there is no whole chunk.
fn end_of(id: LogId, part: &Path, first: Seq, raw: &RawFile) -> io::Result<Option<Seq>> {
    let closing = match header::read(part, id.number())? {
        Header::Valid { first: named, closing, .. } if named == first => closing,
        _ => None,
    };
    Ok(raw.end().map(|end| closing.map_or(end, |closing| closing.end)))
}

/// Why a part stays whose segment is there.
fn in_place(part: &Path, target: &Path) -> RestoreOutcome {
    let inode = |dir: &Path| fs::metadata(dir.join("db")).map(|meta| (meta.dev(), meta.ino()));
    match (inode(part), inode(target)) {
        (Ok(one), Ok(other)) if one == other => RestoreOutcome::Nothing("its segment already exists"),
        (Ok(_), Ok(_)) => RestoreOutcome::Nothing("another copy of its segment already exists"),
        (Err(error), _) | (_, Err(error)) => RestoreOutcome::Unread(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_says_what_was_never_read() {
        let only = |numbers: &[RangeInclusive<Seq>]| Unread::Only(numbers.to_vec());
        let table = [
            ("", Unread::All),
            ("it cannot be read: Input/output error (os error 5)\n", Unread::All),
            ("its header is damaged and no chunk can be read\n", Unread::All),
            ("its header is missing and no whole chunk is in it\n", Unread::All),
            ("3 unsettled records are damaged: numbers 5 to 7\n", only(&[])),
            ("numbers 8 to 9 are not whole: never answered for, or damaged\n", only(&[])),
            ("numbers 8 to 9 are incomplete: never acknowledged, or damaged\n", only(&[])),
            (settled_file::DAMAGED, only(&[])),
            ("its header is damaged; the segment goes on with a new one\n", only(&[])),
            ("4 unsettled records cannot be read: numbers 5 to 7, 9 to 9\n", only(&[5..=7, 9..=9])),
            (
                "1 unsettled records are damaged: numbers 1 to 1\n1 unsettled records cannot be read: numbers 3 to 3\n",
                only(&[3..=3]),
            ),
        ];
        for (why, unread) in table {
            assert_eq!(Unread::of(why.as_bytes()), unread, "{why}");
        }
    }
}
