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

/// Writes the file; durable when it returns.
pub(crate) fn write(dir: &Path, id: LogId, settled: &Bitmap) -> io::Result<()> {
    let (first, end) = (settled.first(), settled.end());
    let record = SegmentSnapshot { log: id.number(), first, end, bitmap: settled.to_bytes() };
    let chunk = chunk::encode(Kind::Snapshot, first, 1, &snapshot::encode_record(&record));
    files::replace(dir, FILE, &chunk)
}

/// What the file says of the segment that begins at `first`; nothing if there is none, or none that is
/// whole.
pub(crate) fn read(dir: &Path, id: LogId, first: Seq) -> io::Result<Bitmap> {
    let mut settled = Bitmap::new(first);
    let raw = files::read_if_there(dir, FILE)?.unwrap_or_default();
    let records = chunk::decode(&raw).and_then(|chunk| snapshot::decode(&chunk)).unwrap_or_default();
    for record in records.iter().filter(|record| record.log == id.number() && record.first == first) {
        settled.merge(&record.bitmap, record.end);
    }
    Ok(settled)
}
