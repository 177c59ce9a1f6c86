//! A database's file, read by magic and checksum, without the store and without changing a byte.
//!
//! sled stores each chunk in one piece, so an intact chunk can be read whatever surrounds it.

use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::files;
use crate::queue::format::chunk::{self, Chunk, ChunkBuf, MAGIC};
use crate::queue::types::Seq;

/// Bytes of a file that are held in memory at a time: a sparse file may be far larger than the memory.
const WINDOW: usize = 1024 * 1024;
/// Step in which a window is read that cannot be read in one go: what fails is a hole, not the end.
const BLOCK: usize = 4096;
/// Name of the file.
const FILE: &str = "db";

/// What a scan does where the file cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnFault {
    /// It ends: whoever needs all of the file looks again later, and a dying disk may take minutes for each try.
    Stop,
    /// It tries every block, and passes over those that fail: for an inspection of what is left.
    PassOver,
}

/// The whole chunks of one file, found once.
#[derive(Debug)]
pub(crate) struct RawFile {
    file: File,
    places: Vec<ChunkPlace>,
    unread: MissingBytes,
    torn_end: Option<Seq>,
}

/// What could not be read of a file.
#[derive(Debug)]
struct MissingBytes {
    on_fault: OnFault,
    /// Where the first fault was.
    at: u64,
    bytes: u64,
    error: Option<io::Error>,
}

/// Where a chunk stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ChunkPlace {
    pub(crate) first: Seq,
    pub(crate) end: Seq,
    /// Time of its first record: the first field of events, letters and entries.
    pub(crate) at_ms: i64,
    /// First number of the append that wrote it.
    append_first: Seq,
    offset: u64,
    length: usize,
}

impl ChunkPlace {
    /// Bytes of the chunk.
    pub(crate) fn length(&self) -> usize {
        self.length
    }
}

impl RawFile {
    /// Finds the chunks of `dir`'s database that `wanted` takes; `None` if there is no database.
    ///
    /// # Errors
    /// If it cannot be opened. What could not be read of it is in [`RawFile::fault`].
    pub(crate) fn scan(
        dir: &Path,
        on_fault: OnFault,
        wanted: impl Fn(&Chunk<'_>) -> bool,
    ) -> io::Result<Option<Self>> {
        let Some(file) = files::open_if_there(dir, FILE)? else { return Ok(None) };
        let length = file.metadata()?.len();
        let mut found =
            Self { file, places: Vec::new(), unread: MissingBytes::none(on_fault), torn_end: None };
        let mut window = vec![0; WINDOW.min(usize::try_from(length).unwrap_or(WINDOW))];
        let mut at = 0;
        while at < length && !found.unread.ends_scan() {
            let size = window.len().min(usize::try_from(length - at).unwrap_or(WINDOW));
            let window = &mut window[..size];
            found.unread.read(&found.file, window, at);
            for within in memchr::memmem::find_iter(window, &MAGIC) {
                found.take_in(&window[within..], at + within as u64, &wanted);
            }
            let is_last = at + size as u64 == length;
            // What begins a magic at the end of a window begins it whole in the next one.
            at += (if is_last { size } else { size - (MAGIC.len() - 1) }) as u64;
        }
        // sled leaves older copies of a chunk behind; they are the same bytes.
        found.places.sort_by_key(|place| (place.first, place.offset));
        found.places.dedup_by_key(|place| place.first);
        Ok(Some(found))
    }

    /// Looks at the chunk that begins at `offset`; `seen` is what is in memory from there on.
    fn take_in(&mut self, seen: &[u8], offset: u64, wanted: impl Fn(&Chunk<'_>) -> bool) {
        let length = chunk::length(seen);
        if length.is_some_and(|length| length <= seen.len()) {
            return self.note(seen, offset, wanted);
        }
        let mut raw = self.unread.read_some(&self.file, length.unwrap_or(chunk::HEAD), offset);
        if let (None, Some(length)) = (length, chunk::length(&raw)) {
            raw = self.unread.read_some(&self.file, length, offset);
        }
        self.note(&raw, offset, wanted);
    }

    /// Notes the chunk that `raw` begins with, if it is one and wanted.
    fn note(&mut self, raw: &[u8], offset: u64, wanted: impl Fn(&Chunk<'_>) -> bool) {
        let Ok(chunk) = chunk::decode(raw) else {
            let torn = chunk::head(raw).filter(&wanted);
            self.torn_end = self.torn_end.max(torn.map(|chunk| chunk.end()));
            return;
        };
        if wanted(&chunk) {
            self.places.push(ChunkPlace {
                first: chunk.first,
                end: chunk.end(),
                at_ms: chunk.records.first_chunk().map_or(0, |time| i64::from_le_bytes(*time)),
                append_first: chunk.append_first(),
                offset,
                length: chunk::HEAD + chunk.records.len(),
            });
        }
    }

    /// Why the disk did not give all of it, if it did not.
    pub(crate) fn fault(&self) -> Option<String> {
        let error = self.unread.error.as_ref()?;
        Some(match self.unread.on_fault {
            OnFault::Stop => format!("{FILE} cannot be read from byte {} on: {error}", self.unread.at),
            OnFault::PassOver => format!("{} bytes of {FILE} cannot be read: {error}", self.unread.bytes),
        })
    }

    /// First number of the last append that left a whole chunk.
    pub(crate) fn last_append(&self) -> Option<Seq> {
        self.places.last().map(|place| place.append_first)
    }

    /// Places in rising order.
    pub(crate) fn places(&self) -> &[ChunkPlace] {
        &self.places
    }

    /// The first chunk that ends after `seq`.
    pub(crate) fn reaching(&self, seq: Seq) -> Option<ChunkPlace> {
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

    /// The whole chunks in rising order.
    pub(crate) fn chunks(&self) -> impl Iterator<Item = io::Result<ChunkBuf>> {
        let chunk = |place: &ChunkPlace| ChunkBuf::new(self.read(*place)?).map_err(io::Error::other);
        self.places.iter().map(chunk)
    }

    /// The bytes at `place`.
    pub(crate) fn read(&self, place: ChunkPlace) -> io::Result<Vec<u8>> {
        let mut raw = vec![0; place.length];
        self.file.read_exact_at(&mut raw, place.offset)?;
        Ok(raw)
    }
}

impl MissingBytes {
    fn none(on_fault: OnFault) -> Self {
        Self { on_fault, at: 0, bytes: 0, error: None }
    }

    fn ends_scan(&self) -> bool {
        self.on_fault == OnFault::Stop && self.error.is_some()
    }

    fn note(&mut self, at: u64, bytes: usize, error: io::Error) {
        if self.error.is_none() {
            self.at = at;
        }
        self.bytes += bytes as u64;
        self.error = Some(error);
    }

    /// Fills `window` with the bytes from `at` on; zeros where they cannot be read.
    fn read(&mut self, file: &File, window: &mut [u8], at: u64) {
        let Err(error) = file.read_exact_at(window, at) else { return };
        if self.on_fault == OnFault::Stop {
            window.fill(0);
            return self.note(at, window.len(), error);
        }
        for (nth, block) in window.chunks_mut(BLOCK).enumerate() {
            if let Err(error) = file.read_exact_at(block, at + (nth * BLOCK) as u64) {
                block.fill(0);
                self.note(at + (nth * BLOCK) as u64, block.len(), error);
            }
        }
    }

    /// `length` bytes from `at` on, or as many as there are.
    fn read_some(&mut self, file: &File, length: usize, at: u64) -> Vec<u8> {
        let (mut raw, mut known) = (vec![0; length], 0);
        while known < length {
            match file.read_at(&mut raw[known..], at + known as u64) {
                Ok(0) => break,
                Ok(more) => known += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.note(at + known as u64, length - known, error);
                    break;
                }
            }
        }
        raw.truncate(known);
        raw
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

        let found =
            RawFile::scan(dir.path(), OnFault::Stop, |chunk| chunk.kind == Kind::Letters).unwrap().unwrap();

        assert_eq!(
            found.places().iter().map(|place| (place.first, place.end)).collect::<Vec<_>>(),
            [(10, 20), (30, 32)]
        );
        assert_eq!(found.gaps(8..40), [8..10, 20..30, 32..40]);
        assert_eq!(found.read(found.reaching(15).unwrap()).unwrap(), part(10, 10));
        assert!(found.reaching(32).is_none());
    }

    #[test]
    fn chunks_are_found_across_the_windows_of_a_sparse_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = File::create(dir.path().join(FILE)).unwrap();
        let window = WINDOW as u64;
        let large = chunk::encode(Kind::Letters, 500, 5, &vec![7; 2 * WINDOW]);
        let at = [window - 3, 2 * window - 40, 6 * window, 9 * window - 1];
        for (nth, at) in (0..).zip(at) {
            let small = chunk::encode(Kind::Letters, 10 * nth, 1, b"some records");
            file.write_all_at(if nth == 2 { &large } else { &small }, at).unwrap();
        }
        file.set_len(64 * window).unwrap();

        let found = RawFile::scan(dir.path(), OnFault::Stop, |_| true).unwrap().unwrap();

        let firsts: Vec<Seq> = found.places().iter().map(|place| place.first).collect();
        assert_eq!(firsts, [0, 10, 30, 500]);
        assert_eq!(found.read(found.places()[3]).unwrap(), large);
        assert_eq!(found.fault(), None);
    }
}
