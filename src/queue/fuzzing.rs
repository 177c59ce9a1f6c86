//! The codecs of what stands on disk, opened for `fuzz/`: bytes in, values out. Not part of a build.

use std::io;
use std::ops::Range;
use std::path::Path;

use crate::event::Lane;

use super::types::{Outcome, Seq, Settlement, Stored};
use crate::queue::format::bitmap::Bitmap;
use crate::queue::format::chunk::{self, Kind};
use crate::queue::format::entry::{self, LedgerEntry};
use crate::queue::format::event;
use crate::queue::format::letter::{self, DeadLetter};
use crate::queue::format::snapshot::{self, SegmentSnapshot};
use crate::queue::log::header::{self, Header};
use crate::queue::log::ids;
use crate::queue::log::raw::{OnFault, RawFile};

/// What a chunk holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Records {
    /// Events of a lane.
    Events(Lane, Vec<Stored>),
    /// Dead letters.
    Letters(Vec<DeadLetter>),
    /// What became of events.
    Entries(Vec<LedgerEntry>),
    /// What was settled in segments: log, first, end and bitmap of each.
    Snapshot(Vec<(u8, Seq, Seq, Vec<u8>)>),
}

/// Numbers and records of the chunk at the start of `raw`; no records where the sum is right and they
/// do not fit the format.
pub fn decode(raw: &[u8]) -> Option<(Range<Seq>, Option<Records>)> {
    let chunk = chunk::decode(raw).ok()?;
    let plain = |segments: Vec<SegmentSnapshot>| {
        segments.into_iter().map(|of| (of.log, of.first, of.end, of.bitmap)).collect()
    };
    let records = match chunk.kind {
        Kind::Events(lane) => event::decode(&chunk).map(|events| Records::Events(lane, events)),
        Kind::Letters => letter::decode(&chunk).map(Records::Letters),
        Kind::Entries => entry::decode(&chunk).map(Records::Entries),
        Kind::Snapshot => snapshot::decode(&chunk).map(plain).map(Records::Snapshot),
    };
    Some((chunk.first..chunk.end(), records.ok()))
}

/// The numbers that the head of a chunk names whose sum is not right.
pub fn head(raw: &[u8]) -> Option<Range<Seq>> {
    chunk::head(raw).map(|chunk| chunk.first..chunk.end())
}

/// The chunk of `records` with numbers from `first` on.
pub fn encode(first: Seq, records: Records) -> Vec<u8> {
    match records {
        Records::Events(lane, events) => {
            let events: Vec<_> = events.into_iter().map(|stored| stored.event).collect();
            let mut records = Vec::new();
            events.iter().for_each(|event| event::encode_record(event, &mut records));
            chunk::encode(Kind::Events(lane), first, events.len(), &records)
        }
        Records::Letters(letters) => {
            let count = letters.len();
            let records: Vec<_> = letters.into_iter().filter_map(encode_letter).collect();
            chunk::encode(Kind::Letters, first, count, &records.concat())
        }
        Records::Entries(entries) => {
            chunk::encode(Kind::Entries, first, entries.len(), &entry::encode_records(&entries))
        }
        Records::Snapshot(segments) => {
            let count = segments.len();
            let record = |(log, first, end, bitmap)| {
                snapshot::encode_record(&SegmentSnapshot { log, first, end, bitmap })
            };
            let records: Vec<_> = segments.into_iter().map(record).collect();
            chunk::encode(Kind::Snapshot, first, count, &records.concat())
        }
    }
}

fn encode_letter(letter: DeadLetter) -> Option<Vec<u8>> {
    let DeadLetter { stored, reason, message, attempts, status, correlation_id, died_at_ms, .. } = letter;
    let outcome = Outcome::Dead { reason, message };
    letter::encode(&Settlement { stored, outcome, attempts, status, correlation_id }, died_at_ms)
}

/// The whole chunks in the file `db` of `dir`, each with its numbers, and the ranges of `within` that
/// none of them holds.
///
/// # Errors
/// If the file cannot be read.
#[expect(clippy::type_complexity, reason = "read once, by a fuzz target")]
pub fn chunks(dir: &Path, within: Range<Seq>) -> io::Result<(Vec<(Range<Seq>, Vec<u8>)>, Vec<Range<Seq>>)> {
    let Some(raw) = RawFile::scan(dir, OnFault::Stop, |_| true)? else { return Ok((Vec::new(), Vec::new())) };
    let chunks = raw.places().iter().map(|place| Ok((place.first..place.end, raw.read(*place)?)));
    Ok((chunks.collect::<io::Result<_>>()?, raw.gaps(within)))
}

/// First number and, if it is closed, the end of the segment of log `log` in `dir`, by its header.
pub fn header(dir: &Path, log: u8) -> Option<(Seq, Option<Seq>)> {
    match header::read(dir, log) {
        Ok(Header::Valid { first, closing, .. }) => Some((first, closing.map(|closing| closing.end))),
        _ => None,
    }
}

/// First number and count of what the file `ids` in `dir` lists.
pub fn ids(dir: &Path) -> Option<(Seq, usize)> {
    ids::read(&dir.join(ids::FILE)).map(|file| (file.first, file.ids.len()))
}

/// The bitmap of a segment at `first` that takes over what `bitmap` says of numbers before `end`.
pub fn merged(first: Seq, end: Seq, bitmap: &[u8]) -> Vec<u8> {
    let mut settled = Bitmap::new(first);
    settled.merge(bitmap, end);
    settled.to_bytes()
}
