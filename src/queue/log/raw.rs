//! A database's file, read by magic and checksum, without the store and without changing a byte.
//!
//! Chunks stand in sled's file one piece each, as they were given. A chunk that is whole can be read
//! whatever the file around it looks like; sled itself could give no chunk that is not.

use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::queue::format::chunk::{self, Chunk, MAGIC};
use crate::queue::types::Seq;

/// Step in which a file is read that cannot be read in one go: what fails is a hole, not the end.
const BLOCK: usize = 4096;

/// The whole chunks of one file, found once.
#[derive(Debug)]
pub(crate) struct RawFile {
    file: File,
    places: Vec<Place>,
    is_readable: bool,
    torn_end: Option<Seq>,
}

/// Where a chunk stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) first: Seq,
    pub(crate) end: Seq,
    /// Time of its first record: the first field of events, letters and entries.
    pub(crate) at_ms: i64,
    offset: u64,
    length: usize,
}

impl Place {
    /// Bytes of the chunk.
    pub(crate) fn length(&self) -> usize {
        self.length
    }
}

impl RawFile {
    /// Finds the chunks of `dir`'s database that `wanted` takes. No file is a file without chunks.
    pub(crate) fn scan(dir: &Path, wanted: impl Fn(&Chunk<'_>) -> bool) -> io::Result<Option<Self>> {
        let file = match File::open(dir.join("db")) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let (raw, is_readable) = read_what_can_be_read(&file, dir)?;
        let (mut places, mut torn_end) = (Vec::new(), None);
        for at in memchr::memmem::find_iter(&raw, &MAGIC) {
            let Ok(chunk) = chunk::decode(&raw[at..]) else {
                let torn = chunk::head(&raw[at..]).filter(&wanted);
                torn_end = torn_end.max(torn.map(|chunk| chunk.end()));
                continue;
            };
            if wanted(&chunk) {
                let length = chunk::HEAD + chunk.records.len();
                let at_ms = chunk.records.first_chunk().map_or(0, |time| i64::from_le_bytes(*time));
                let (first, end, offset) = (chunk.first, chunk.end(), at as u64);
                places.push(Place { first, end, at_ms, offset, length });
            }
        }
        // sled leaves older copies of a chunk behind; they are the same bytes.
        places.sort_by_key(|place| (place.first, place.offset));
        places.dedup_by_key(|place| place.first);
        Ok(Some(Self { file, places, is_readable, torn_end }))
    }

    /// Whether the disk gave every byte of it.
    pub(crate) fn is_readable(&self) -> bool {
        self.is_readable
    }

    /// Places in rising order.
    pub(crate) fn places(&self) -> &[Place] {
        &self.places
    }

    /// The first chunk that ends after `seq`.
    pub(crate) fn reaching(&self, seq: Seq) -> Option<Place> {
        self.places.get(self.places.partition_point(|place| place.end <= seq)).copied()
    }

    /// Time of the first record of the chunk that holds `seq`.
    pub(crate) fn time_at(&self, seq: Seq) -> Option<i64> {
        self.reaching(seq).filter(|place| place.first <= seq).map(|place| place.at_ms)
    }

    /// One past the last number found.
    pub(crate) fn end(&self) -> Option<Seq> {
        self.places.last().map(|place| place.end)
    }

    /// One past the last number of a chunk that begins after all whole ones and is not whole: it was
    /// never answered for, or it is damaged.
    pub(crate) fn torn_end(&self) -> Option<Seq> {
        self.torn_end.filter(|torn| self.end().is_none_or(|end| *torn > end))
    }

    /// Ranges of `within` that no chunk holds.
    pub(crate) fn gaps(&self, within: Range<Seq>) -> Vec<Range<Seq>> {
        let (mut gaps, mut at) = (Vec::new(), within.start);
        for place in &self.places {
            if place.first >= within.end {
                break;
            }
            if place.first > at {
                gaps.push(at..place.first);
            }
            at = at.max(place.end);
        }
        if at < within.end {
            gaps.push(at..within.end);
        }
        gaps
    }

    /// The bytes at `place`.
    pub(crate) fn read(&self, place: Place) -> io::Result<Vec<u8>> {
        let mut raw = vec![0; place.length];
        self.file.read_exact_at(&mut raw, place.offset)?;
        Ok(raw)
    }
}

/// All of the file; parts that the disk does not give are zeros, and `false`.
fn read_what_can_be_read(file: &File, dir: &Path) -> io::Result<(Vec<u8>, bool)> {
    let length = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
    let mut raw = vec![0; length];
    if file.read_exact_at(&mut raw, 0).is_ok() {
        return Ok((raw, true));
    }
    let mut lost = 0;
    for at in (0..length).step_by(BLOCK) {
        let end = (at + BLOCK).min(length);
        if let Err(error) = file.read_exact_at(&mut raw[at..end], at as u64) {
            lost += end - at;
            raw[at..end].fill(0);
            tracing::debug!(at, %error, "a block cannot be read");
        }
    }
    tracing::error!(segment = %dir.display(), lost, "the disk does not give all bytes of a segment; look after the disk");
    Ok((raw, false))
}

/// Whether the directory's database holds any chunk that is `wanted`, or may: the disk does not give it.
pub(crate) fn may_hold(dir: &Path, wanted: impl Fn(&Chunk<'_>) -> bool) -> bool {
    match RawFile::scan(dir, wanted) {
        Ok(Some(raw)) => !raw.places.is_empty() || !raw.is_readable,
        Ok(None) => false,
        Err(_) => true,
    }
}

/// Bytes that `dir` and all below it take on disk.
pub(crate) fn allocated(dir: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let Ok(entries) = fs::read_dir(dir) else { return 0 };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(meta) if meta.is_dir() => allocated(&entry.path()),
            Ok(meta) => meta.blocks() * 512,
            Err(_) => 0,
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::format::chunk::Kind;

    #[test]
    fn whole_chunks_are_found_in_any_rubbish_and_gaps_are_known() {
        let dir = tempfile::tempdir().unwrap();
        let part = |first, count| chunk::encode(Kind::Letters, first, count, b"some records");
        let mut broken = part(20, 5);
        broken[40] ^= 1;
        let raw =
            [b"rubbish".to_vec(), part(30, 2), broken, part(10, 10), MAGIC.to_vec(), part(30, 2)].concat();
        fs::write(dir.path().join("db"), &raw).unwrap();

        let found = RawFile::scan(dir.path(), |chunk| chunk.kind == Kind::Letters).unwrap().unwrap();

        assert_eq!(
            found.places().iter().map(|place| (place.first, place.end)).collect::<Vec<_>>(),
            [(10, 20), (30, 32)]
        );
        assert_eq!(found.gaps(8..40), [8..10, 20..30, 32..40]);
        assert_eq!(found.read(found.reaching(15).unwrap()).unwrap(), part(10, 10));
        assert!(found.reaching(32).is_none());
    }
}
