//! A segment's `header` file: what the segment is, and, once it is closed, what it holds.
//!
//! ```text
//!   0  magic 8 · version u32 · log u8 · 0 0 0 · first u64 · previous_end u64 · crc32c u32
//! 512  magic 8 · first u64 · end u64 · bytes u64 · oldest i64 · newest i64 · disk u64 · crc32c u32
//! ```
//! The file has its full size from the start: closing a segment needs no space, and a write that tears
//! hits one of the two halves only.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::files;
use crate::queue::format::chunk::Cursor;
use crate::queue::types::Seq;

/// Name of the file.
pub(crate) const FILE: &str = "header";

const MAGIC: [u8; 8] = *b"TRKSEGM\x01";
const CLOSING_MAGIC: [u8; 8] = *b"TRKDONE\x01";
/// Format of everything under a segment. A newer one is refused.
pub(crate) const VERSION: u32 = 1;
const SIZE: usize = 1024;
const CLOSING_AT: usize = 512;

/// `previous_end` of a header that was written again, or after a segment that could not be read whole: the
/// segment before counts as far as it reaches.
pub(crate) const UNKNOWN_END: Seq = Seq::MAX;

/// What a header file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Header {
    /// The segment's first number, the last one synced in the segment before, and what it holds if it is
    /// closed.
    Valid { first: Seq, previous_end: Seq, closing: Option<Closing> },
    /// Written by a newer build.
    Newer(u32),
    /// Read whole, and no header.
    Damaged,
    /// There is no file.
    Missing,
}

/// When the records of a segment were accepted, died or were settled: milliseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TimeRange {
    pub(crate) oldest_ms: i64,
    pub(crate) newest_ms: i64,
}

impl TimeRange {
    /// Of no records.
    pub(crate) const NONE: TimeRange = TimeRange { oldest_ms: i64::MAX, newest_ms: i64::MIN };

    /// Of records with these times.
    pub(crate) fn of(times_ms: impl Iterator<Item = i64>) -> Self {
        times_ms.fold(Self::NONE, |range, at| Self {
            oldest_ms: range.oldest_ms.min(at),
            newest_ms: range.newest_ms.max(at),
        })
    }

    pub(crate) fn include(&mut self, other: TimeRange) {
        self.oldest_ms = self.oldest_ms.min(other.oldest_ms);
        self.newest_ms = self.newest_ms.max(other.newest_ms);
    }
}

/// What a closed segment holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Closing {
    /// One past the last number that was synced.
    pub(crate) end: Seq,
    /// Bytes of chunks.
    pub(crate) bytes: u64,
    /// Of its records.
    pub(crate) times: TimeRange,
    /// Bytes that the directory takes on disk.
    pub(crate) disk: u64,
}

/// Writes a fresh header, durable with its name when this returns.
pub(crate) fn write(dir: &Path, log: u8, first: Seq, previous_end: Seq) -> io::Result<()> {
    let mut out = Vec::with_capacity(SIZE);
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&[log, 0, 0, 0]);
    out.extend_from_slice(&first.to_le_bytes());
    out.extend_from_slice(&previous_end.to_le_bytes());
    seal(&mut out);
    out.resize(SIZE, 0);
    files::replace(dir, FILE, &out)
}

/// Writes what the closed segment holds, in place, and syncs it.
pub(crate) fn close(dir: &Path, first: Seq, closing: &Closing) -> io::Result<()> {
    let mut out = CLOSING_MAGIC.to_vec();
    for number in [first, closing.end, closing.bytes] {
        out.extend_from_slice(&number.to_le_bytes());
    }
    out.extend_from_slice(&closing.times.oldest_ms.to_le_bytes());
    out.extend_from_slice(&closing.times.newest_ms.to_le_bytes());
    out.extend_from_slice(&closing.disk.to_le_bytes());
    seal(&mut out);
    let file = File::options().write(true).open(dir.join(FILE))?;
    file.write_all_at(&out, CLOSING_AT as u64)?;
    file.sync_data()
}

fn seal(out: &mut Vec<u8>) {
    let crc = crc32c::crc32c(out);
    out.extend_from_slice(&crc.to_le_bytes());
}

/// Reads the header of a segment of the log `log`, and its closing if there is a whole one.
///
/// # Errors
/// If the file cannot be read: what it says is not known then, and may be known later.
pub(crate) fn read(dir: &Path, log: u8) -> io::Result<Header> {
    let Some(raw) = files::read_if_there(dir, FILE)? else { return Ok(Header::Missing) };
    let header = raw.get(..36).map_or(Header::Damaged, |part| read_header(part, log));
    Ok(match header {
        Header::Valid { first, previous_end, .. } => {
            let closing = raw.get(CLOSING_AT..CLOSING_AT + 60).and_then(|part| read_closing(part, first));
            Header::Valid { first, previous_end, closing }
        }
        other => other,
    })
}

fn checked<'a>(raw: &'a [u8], magic: &[u8; 8]) -> Option<Cursor<'a>> {
    let (part, crc) = raw.split_at_checked(raw.len() - 4)?;
    let is_ours = part.starts_with(magic) && crc32c::crc32c(part).to_le_bytes() == crc;
    is_ours.then(|| Cursor(&part[magic.len()..]))
}

fn read_header(raw: &[u8], log: u8) -> Header {
    // Damage is looked for first: a flipped bit is not a newer version. Later formats keep these fields.
    let parsed = checked(raw, &MAGIC).and_then(|mut cursor| {
        let version = u32::from_le_bytes(cursor.array().ok()?);
        let [found, ..]: [u8; 4] = cursor.array().ok()?;
        let first = u64::from_le_bytes(cursor.array().ok()?);
        let previous_end = u64::from_le_bytes(cursor.array().ok()?);
        (found == log).then_some((version, first, previous_end))
    });
    match parsed {
        None => Header::Damaged,
        Some((version, ..)) if version > VERSION => Header::Newer(version),
        Some((_, first, previous_end)) => Header::Valid { first, previous_end, closing: None },
    }
}

fn read_closing(raw: &[u8], first: Seq) -> Option<Closing> {
    let mut cursor = checked(raw, &CLOSING_MAGIC)?;
    let mut number = || Some(u64::from_le_bytes(cursor.array().ok()?));
    let (same_first, end, bytes) = (number()?, number()?, number()?);
    let (oldest, newest, disk) = (number()?, number()?, number()?);
    let times = TimeRange { oldest_ms: oldest.cast_signed(), newest_ms: newest.cast_signed() };
    let closing = Closing { end, bytes, times, disk };
    (same_first == first && end >= first).then_some(closing)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const CLOSING: Closing =
        Closing { end: 130, bytes: 9, times: TimeRange { oldest_ms: -5, newest_ms: 6 }, disk: 4096 };

    #[test]
    fn a_header_is_read_as_it_was_written_and_closing_it_needs_no_space() {
        let dir = tempfile::tempdir().unwrap();

        write(dir.path(), 2, 100, 99).unwrap();
        let before = read(dir.path(), 2).unwrap();
        close(dir.path(), 100, &CLOSING).unwrap();

        let header = |closing| Header::Valid { first: 100, previous_end: 99, closing };
        assert_eq!(before, header(None));
        assert_eq!(read(dir.path(), 2).unwrap(), header(Some(CLOSING)));
        assert_eq!(read(dir.path(), 1).unwrap(), Header::Damaged);
        assert_eq!(fs::metadata(dir.path().join("header")).unwrap().len(), 1024);
    }

    #[test]
    fn no_flipped_bit_goes_unseen() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), 2, 100, 99).unwrap();
        close(dir.path(), 100, &CLOSING).unwrap();
        let whole = fs::read(dir.path().join("header")).unwrap();

        for bit in (0..36 * 8).chain(512 * 8..572 * 8) {
            let mut raw = whole.clone();
            raw[bit / 8] ^= 1 << (bit % 8);
            fs::write(dir.path().join("header"), &raw).unwrap();
            let header = read(dir.path(), 2).unwrap();
            let is_seen = matches!(header, Header::Damaged | Header::Valid { closing: None, .. });
            assert!(is_seen, "bit {bit}");
        }
    }
}
