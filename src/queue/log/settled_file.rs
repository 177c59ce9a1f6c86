//! A segment's `settled` file: numbers that count as settled although the ledger does not say so.
//!
//! A chunk of kind snapshot with one record. There is one where the ledger cannot tell: in a segment
//! that was brought back from the quarantine, and of numbers that the last append before a crash left in
//! part.

use std::io;
use std::path::Path;

use super::segment::LogId;
use crate::files;
use crate::queue::format::bitmap::Bitmap;
use crate::queue::format::chunk::{self, Kind};
use crate::queue::format::snapshot::{self, SegmentSnapshot};
use crate::queue::types::Seq;

/// Name of the file.
pub(crate) const FILE: &str = "settled";

/// Why a damaged one is kept.
pub(crate) const DAMAGED: &str = "its file settled is damaged: records that it named may be sent again";

/// What the file says.
#[derive(Debug)]
pub(crate) struct SettledNote {
    /// Nothing if there is no file, or none that is whole.
    pub(crate) settled: Bitmap,
    /// There is a file, and it does not speak of its segment.
    pub(crate) is_damaged: bool,
}

/// Writes the file; durable when it returns.
pub(crate) fn write(dir: &Path, id: LogId, settled: &Bitmap) -> io::Result<()> {
    let (first, end) = (settled.first(), settled.end());
    let record = SegmentSnapshot { log: id.number(), first, end, bitmap: settled.to_bytes() };
    let chunk = chunk::encode(Kind::Snapshot, first, 1, &snapshot::encode_record(&record));
    files::replace(dir, FILE, &chunk)
}

/// What the file says of the segment that begins at `first`.
///
/// # Errors
/// If it cannot be read.
pub(crate) fn read(dir: &Path, id: LogId, first: Seq) -> io::Result<SettledNote> {
    let mut note = SettledNote { settled: Bitmap::new(first), is_damaged: false };
    let Some(raw) = files::read_if_there(dir, FILE)? else { return Ok(note) };
    let records = chunk::decode(&raw).and_then(|chunk| snapshot::decode(&chunk)).unwrap_or_default();
    note.is_damaged = true;
    for record in records.iter().filter(|record| record.log == id.number() && record.first == first) {
        note.settled.merge(&record.bitmap, record.end);
        note.is_damaged = false;
    }
    Ok(note)
}
