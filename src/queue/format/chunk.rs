//! Chunks: runs of records as they lie on disk, whatever the records are. Pure.
//!
//! ```text
//! magic 8 · kind 1 · version 1 · into_append u16 · count u32 · first u64 · length u32 · crc32c u32 · records
//! ```
//! Numbers are little-endian. `into_append` counts the records that the same append wrote before this chunk. The
//! checksum covers everything before it and the records. Magic and checksum let a chunk be found in any file, whole or
//! damaged: that is how closed segments are read.

use std::ops::Range;

use crate::event::Lane;

use crate::queue::types::Seq;

/// Begins every chunk; chosen not to occur in JSON text.
pub(crate) const MAGIC: [u8; 8] = [0xF5, b'T', b'R', b'K', b'C', b'H', b'K', 0xF6];
/// Most bytes of a chunk unless one record alone is larger.
pub(crate) const MAX_CHUNK: usize = 48 * 1024;
/// Bytes before the records.
pub(crate) const HEAD: usize = 32;
/// Where the length of the records stands.
const LENGTH_AT: usize = 24;
/// Bytes of the largest chunk that there can be.
const MAX_LENGTH: usize = 4 * 1024 * 1024;
const VERSION: u8 = 1;
/// In place of an array's number: its name follows as text.
pub(crate) const INLINE_NAME: u16 = u16::MAX;

/// What a chunk's records are. Stands on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Events of a lane.
    Events(Lane),
    /// Dead letters.
    Letters,
    /// Ledger: what became of events.
    Entries,
    /// Ledger: what was settled when its segment began.
    Snapshot,
}

impl Kind {
    fn id(self) -> u8 {
        match self {
            Kind::Events(lane) => lane as u8,
            Kind::Letters => 16,
            Kind::Entries => 17,
            Kind::Snapshot => 18,
        }
    }

    fn from_id(id: u8) -> Option<Kind> {
        match id {
            16 => Some(Kind::Letters),
            17 => Some(Kind::Entries),
            18 => Some(Kind::Snapshot),
            lane => Lane::from_id(lane).map(Kind::Events),
        }
    }
}

/// Why bytes are not a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ChunkError {
    #[error("chunk is cut short")]
    Short,
    #[error("no chunk magic")]
    Magic,
    #[error("chunk version {0} is not supported; this build supports {VERSION}")]
    Version(u8),
    #[error("chunk's checksum does not match")]
    Checksum,
    #[error("malformed record in chunk")]
    Record,
}

/// A chunk whose checksum was right. Its numbers are numbers, the end included.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chunk<'a> {
    pub(crate) kind: Kind,
    pub(crate) first: Seq,
    pub(crate) count: u32,
    /// Records of the same append before it; 0 too where that is not known.
    pub(crate) into_append: u16,
    pub(crate) records: &'a [u8],
}

impl Chunk<'_> {
    /// First number of the append that wrote it, as far as that is known.
    pub(crate) fn append_first(&self) -> Seq {
        self.first.saturating_sub(Seq::from(self.into_append))
    }

    /// One past its last number.
    pub(crate) fn end(&self) -> Seq {
        self.first + Seq::from(self.count)
    }
}

/// A whole chunk with its bytes.
#[derive(Clone, Debug)]
pub(crate) struct ChunkBuf {
    kind: Kind,
    first: Seq,
    count: u32,
    into_append: u16,
    bytes: Vec<u8>,
}

impl ChunkBuf {
    /// Checks the chunk that `bytes` are, as [`decode`] does.
    pub(crate) fn new(bytes: Vec<u8>) -> Result<Self, ChunkError> {
        let Chunk { kind, first, count, into_append, .. } = decode(&bytes)?;
        Ok(Self { kind, first, count, into_append, bytes })
    }

    /// Its numbers.
    pub(crate) fn numbers(&self) -> Range<Seq> {
        self.first..self.chunk().end()
    }

    pub(crate) fn chunk(&self) -> Chunk<'_> {
        let Self { kind, first, count, into_append, .. } = *self;
        Chunk { kind, first, count, into_append, records: &self.bytes[HEAD..] }
    }
}

/// Wraps records with consecutive numbers from `first` on.
pub(crate) fn encode(kind: Kind, first: Seq, count: usize, records: &[u8]) -> Vec<u8> {
    encode_within(kind, first, count, 0, records)
}

/// As [`encode`], of a chunk that follows `into_append` records of the same append.
fn encode_within(kind: Kind, first: Seq, count: usize, into_append: usize, records: &[u8]) -> Vec<u8> {
    let into_append = u16::try_from(into_append).unwrap_or_default();
    let mut out = Vec::with_capacity(HEAD + records.len());
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&[kind.id(), VERSION]);
    out.extend_from_slice(&into_append.to_le_bytes());
    out.extend_from_slice(&u32_of(count).to_le_bytes());
    out.extend_from_slice(&first.to_le_bytes());
    out.extend_from_slice(&u32_of(records.len()).to_le_bytes());
    let crc = crc32c::crc32c_append(crc32c::crc32c(&out), records);
    out.extend_from_slice(&crc.to_le_bytes());
    out.extend_from_slice(records);
    out
}

pub(crate) fn u32_of(length: usize) -> u32 {
    u32::try_from(length).expect("a chunk is far below 4 GiB")
}

/// Checks the chunk at the start of `raw`; what follows it does not matter.
pub(crate) fn decode(raw: &[u8]) -> Result<Chunk<'_>, ChunkError> {
    let mut cursor = Cursor(raw);
    if cursor.take(8)? != MAGIC {
        return Err(ChunkError::Magic);
    }
    let [kind, version] = cursor.array()?;
    let into_append = u16::from_le_bytes(cursor.array()?);
    let count = u32::from_le_bytes(cursor.array()?);
    let first = u64::from_le_bytes(cursor.array()?);
    let length = u32::from_le_bytes(cursor.array()?) as usize;
    let crc = u32::from_le_bytes(cursor.array()?);
    let records = cursor.take(length)?;
    if crc32c::crc32c_append(crc32c::crc32c(&raw[..HEAD - 4]), records) != crc {
        return Err(ChunkError::Checksum);
    }
    if version != VERSION {
        return Err(ChunkError::Version(version));
    }
    let kind = Kind::from_id(kind).filter(|_| has_end(first, count)).ok_or(ChunkError::Record)?;
    Ok(Chunk { kind, first, count, into_append, records })
}

/// What the head of a chunk says whose records or sum do not fit.
pub(crate) fn head(raw: &[u8]) -> Option<Chunk<'_>> {
    let mut cursor = Cursor(raw.strip_prefix(&MAGIC)?);
    let [kind, version] = cursor.array().ok()?;
    let into_append = u16::from_le_bytes(cursor.array().ok()?);
    let count = u32::from_le_bytes(cursor.array().ok()?);
    let first = u64::from_le_bytes(cursor.array().ok()?);
    let is_likely = version == VERSION && count < MAX_CHUNK as u32 && has_end(first, count);
    let kind = Kind::from_id(kind).filter(|_| is_likely)?;
    Some(Chunk { kind, first, count, into_append, records: &[] })
}

/// How long the chunk at the start of `raw` is by its head, if that can be.
pub(crate) fn length(raw: &[u8]) -> Option<usize> {
    let length = raw.get(LENGTH_AT..)?.first_chunk().map(|length| u32::from_le_bytes(*length) as usize)?;
    length.checked_add(HEAD).filter(|length| *length <= MAX_LENGTH)
}

fn has_end(first: Seq, count: u32) -> bool {
    first.checked_add(Seq::from(count)).is_some()
}

/// Takes numbers, texts and bytes off a record.
pub(crate) struct Cursor<'a>(pub(crate) &'a [u8]);

impl<'a> Cursor<'a> {
    pub(crate) fn take(&mut self, length: usize) -> Result<&'a [u8], ChunkError> {
        let (head, rest) = self.0.split_at_checked(length).ok_or(ChunkError::Short)?;
        self.0 = rest;
        Ok(head)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], ChunkError> {
        Ok(self.take(N)?.try_into().expect("take gives as many as asked"))
    }

    /// A text behind its length, u16.
    pub(crate) fn text(&mut self) -> Result<&'a str, ChunkError> {
        let length = usize::from(u16::from_le_bytes(self.array()?));
        std::str::from_utf8(self.take(length)?).map_err(|_| ChunkError::Record)
    }
}

/// A text behind its length, u16; cut at `max` bytes.
pub(crate) fn put_text(text: &str, max: u16, out: &mut Vec<u8>) {
    let text = &text[..text.floor_char_boundary(usize::from(max))];
    out.extend_from_slice(&u16::try_from(text.len()).expect("at most max").to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

/// A chunk to be stored.
#[derive(Clone, Debug)]
pub(crate) struct EncodedChunk {
    pub(crate) first: Seq,
    pub(crate) count: usize,
    pub(crate) bytes: Vec<u8>,
}

impl EncodedChunk {
    /// One past its last number.
    pub(crate) fn end(&self) -> Seq {
        self.first + Seq::from(u32_of(self.count))
    }
}

/// Packs records, given by their sizes, into chunks that are numbered from `first` on. `encode` gives
/// the bytes of a range of the records.
pub(crate) fn pack(
    kind: Kind,
    first: Seq,
    sizes: impl Iterator<Item = usize>,
    encode: impl Fn(Range<usize>) -> Vec<u8>,
) -> Vec<EncodedChunk> {
    let (mut chunks, mut at) = (Vec::new(), 0);
    for count in runs_that_fit(sizes) {
        let first = first + at as Seq;
        let bytes = encode_within(kind, first, count, at, &encode(at..at + count));
        chunks.push(EncodedChunk { first, count, bytes });
        at += count;
    }
    chunks
}

/// Groups records, given by their size, into runs that each fit a chunk. A record that is larger alone
/// gets a chunk of its own.
fn runs_that_fit(sizes: impl Iterator<Item = usize>) -> Vec<usize> {
    let (mut runs, mut length, mut bytes) = (Vec::new(), 0, 0);
    for size in sizes {
        if length > 0 && bytes + size > MAX_CHUNK {
            runs.push(length);
            (length, bytes) = (0, 0);
        }
        length += 1;
        bytes += size;
    }
    if length > 0 {
        runs.push(length);
    }
    runs
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

    use super::*;

    #[test]
    fn numbers_beyond_the_last_make_no_chunk() {
        let last = encode(Kind::Letters, Seq::MAX - 1, 1, b"");
        let beyond = encode(Kind::Letters, Seq::MAX, 1, b"");

        assert_eq!(decode(&last).map(|chunk| chunk.end()), Ok(Seq::MAX));
        assert_eq!(decode(&beyond).map(|chunk| chunk.end()), Err(ChunkError::Record));
        assert!(head(&last).is_some() && head(&beyond).is_none());
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_chunk_or_an_error(raw in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&raw);
        }

        #[test]
        fn a_flipped_bit_is_found(records in proptest::collection::vec(any::<u8>(), 0..80), at in any::<usize>()) {
            let whole = encode(Kind::Letters, 7, 3, &records);
            let mut damaged = whole.clone();
            let at = at % (damaged.len() * 8);
            damaged[at / 8] ^= 1 << (at % 8);

            prop_assert!(decode(&damaged).is_err());

            prop_assert_eq!(decode(&whole).map(|chunk| chunk.end()), Ok(10));
        }

        #[test]
        fn a_chunk_says_how_long_it_is_and_where_its_append_began(sizes in proptest::collection::vec(1_usize..60_000, 1..20)) {
            let chunks = pack(Kind::Letters, 50, sizes.iter().copied(), |range| {
                vec![7; sizes[range].iter().sum()]
            });

            for chunk in &chunks {
                prop_assert_eq!(length(&chunk.bytes), Some(chunk.bytes.len()));
                prop_assert_eq!(decode(&chunk.bytes).map(|chunk| chunk.append_first()), Ok(50));
            }
        }

        #[test]
        fn runs_hold_all_records_and_fit(sizes in proptest::collection::vec(1_usize..60_000, 0..60)) {
            let runs = runs_that_fit(sizes.iter().copied());

            prop_assert_eq!(runs.iter().sum::<usize>(), sizes.len());
            let mut at = 0;
            for run in runs {
                let bytes: usize = sizes[at..at + run].iter().sum();
                prop_assert!(run == 1 || bytes <= MAX_CHUNK);
                at += run;
            }
        }
    }
}
