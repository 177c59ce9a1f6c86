//! Bytes on disk, whatever they are, decode without a panic and without more memory than they are worth,
//! and what was encoded decodes to the same.
//!
//! Input: mode (1 byte, modulo 3) · bytes. Mode 0: a chunk, as it is and with its sum put right. 1: values
//! that are encoded. 2: the files of a segment, two of them behind their lengths (u16), sums put right.

#![no_main]

use std::alloc::{GlobalAlloc, Layout, System};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use libfuzzer_sys::arbitrary::{Result, Unstructured};
use libfuzzer_sys::fuzz_target;
use trunkline::event::{Array, catalogue, Door, Envelope, EventIds, Key, KnownArray, Lane};
use trunkline::queue::fuzzing::{self, Records};
use trunkline::queue::{DeadLetter, DeadReason, Fate, LedgerEntry, Seq, Stored};
use uuid::Uuid;

const MAGIC: &[u8] = b"\xF5TRKCHK\xF6";
/// Bytes of a chunk before its records; the last four are the sum.
const HEAD: usize = 32;

/// Counts what is asked for, so that a length out of the bytes cannot ask for gigabytes unseen.
struct Counting;

static ASKED: AtomicUsize = AtomicUsize::new(0);

// SAFETY: all of it is the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ASKED.fetch_add(layout.size(), Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fuzz_target!(|input: &[u8]| {
    let Some((mode, raw)) = input.split_first() else { return };
    match mode % 3 {
        0 => {
            check_chunk(raw);
            check_chunk(&mended(raw));
        }
        1 => {
            if let Ok((first, records)) = values(&mut Unstructured::new(raw)) {
                check_round(first, &records);
            }
        }
        _ => check_files(raw),
    }
});

fn check_chunk(raw: &[u8]) {
    let before = ASKED.load(Ordering::Relaxed);
    let decoded = fuzzing::decode(raw);
    let head = fuzzing::head(raw);
    let asked = ASKED.load(Ordering::Relaxed) - before;
    assert!(asked <= 64 * raw.len() + 4096, "{asked} bytes of memory for {} bytes", raw.len());

    let Some((range, records)) = decoded else { return };
    assert!(head.is_none_or(|head| head == range));
    let Some(records) = records else { return };
    if let Records::Snapshot(segments) = &records {
        for (_, first, end, bitmap) in segments {
            check_bitmap(*first, *end, bitmap);
        }
    }
    check_round(range.start, &records);
}

fn check_bitmap(first: Seq, end: Seq, bitmap: &[u8]) {
    // A snapshot is merged into a segment that is there.
    let first = first % (1 << 60);
    let merged = fuzzing::merged(first, end, bitmap);
    for at in 0..bitmap.len() * 8 {
        let bit = |bytes: &[u8]| bytes.get(at / 8).is_some_and(|byte| byte & (1 << (at % 8)) != 0);
        assert_eq!(bit(&merged), bit(bitmap) && first + (at as Seq) < end);
    }
}

/// Encoded and decoded, records are the same but for texts that are cut at their limits.
fn check_round(first: Seq, records: &Records) {
    let raw = fuzzing::encode(first, records.clone());
    let expected = match records.clone() {
        Records::Events(lane, events) => {
            let events = events.into_iter().zip(first..).map(|(stored, seq)| Stored { seq, ..stored });
            Records::Events(lane, events.collect())
        }
        Records::Letters(letters) => {
            let letters = letters.into_iter().zip(first..).map(|(letter, number)| DeadLetter {
                number,
                message: cut(&letter.message, 4096).to_owned(),
                correlation_id: letter.correlation_id.map(|id| cut(&id, 256).into()),
                ..letter
            });
            Records::Letters(letters.collect())
        }
        Records::Entries(entries) => Records::Entries(entries.into_iter().map(cut_entry).collect()),
        Records::Snapshot(segments) => Records::Snapshot(segments),
    };
    let end = first + count(records) as Seq;
    assert_eq!(fuzzing::decode(&raw), Some((first..end, Some(expected))));
}

fn count(records: &Records) -> usize {
    match records {
        Records::Events(_, events) => events.len(),
        Records::Letters(letters) => letters.len(),
        Records::Entries(entries) => entries.len(),
        Records::Snapshot(segments) => segments.len(),
    }
}

fn cut(text: &str, max: usize) -> &str {
    &text[..text.floor_char_boundary(max)]
}

fn cut_entry(entry: LedgerEntry) -> LedgerEntry {
    let id = |id: Option<Arc<str>>| id.map(|id| Arc::from(cut(&id, 256)));
    let EventIds { conversation, communication, interaction, user, agent } = entry.ids;
    LedgerEntry {
        correlation_id: id(entry.correlation_id),
        ids: EventIds {
            conversation: id(conversation),
            communication: id(communication),
            interaction: id(interaction),
            user: id(user),
            agent: id(agent),
        },
        ..entry
    }
}

/// `raw` with the right sum in each chunk of it that has its length.
fn mended(raw: &[u8]) -> Vec<u8> {
    let mut raw = raw.to_vec();
    let starts: Vec<usize> = memchr::memmem::find_iter(&raw, MAGIC).collect();
    for start in starts {
        let Some(length) = raw.get(start + 24..start + 28) else { continue };
        let length = u32::from_le_bytes(length.try_into().unwrap()) as usize;
        let Some(records) = raw.get(start + HEAD..start + HEAD + length) else { continue };
        let sum = crc32c::crc32c_append(crc32c::crc32c(&raw[start..start + HEAD - 4]), records);
        raw[start + HEAD - 4..start + HEAD].copy_from_slice(&sum.to_le_bytes());
    }
    raw
}

/// Where the files are put; in memory if it can be had.
static DIR: LazyLock<PathBuf> = LazyLock::new(|| {
    let memory = PathBuf::from("/dev/shm");
    let parent = if memory.is_dir() { memory } else { std::env::temp_dir() };
    let dir = parent.join(format!("trunkline-fuzz-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    dir
});

fn check_files(raw: &[u8]) {
    let Some((db, rest)) = part(raw) else { return };
    let Some((header, ids)) = part(rest) else { return };
    let (db, mut header, mut ids) = (mended(db), header.to_vec(), ids.to_vec());
    seal(&mut header, 0..32);
    seal(&mut header, 512..568);
    if ids.len() >= 24 {
        let sum = crc32c::crc32c(&ids[24..]);
        ids[20..24].copy_from_slice(&sum.to_le_bytes());
    }
    for (name, raw) in [("db", &db), ("header", &header), ("ids", &ids)] {
        std::fs::write(DIR.join(name), raw).unwrap();
    }

    let within = 1..1 << 40;
    let (chunks, gaps) = fuzzing::chunks(&DIR, within.clone()).unwrap();
    assert!(chunks.is_sorted_by(|(one, _), (other, _)| one.start < other.start));
    for (range, raw) in &chunks {
        assert_eq!(fuzzing::decode(raw).map(|(found, _)| found), Some(range.clone()));
        check_chunk(raw);
    }
    let mut at = within.start;
    for gap in gaps {
        assert!(at <= gap.start && gap.start < gap.end && gap.end <= within.end);
        let is_outside = |range: &Range<Seq>| range.is_empty() || range.end <= gap.start || range.start >= gap.end;
        assert!(chunks.iter().all(|(range, _)| is_outside(range)));
        at = gap.end;
    }
    let closed = header.get(8 + 4).and_then(|log| fuzzing::header(&DIR, *log));
    assert!(closed.is_none_or(|(first, end)| end.is_none_or(|end| end >= first)));
    assert!(fuzzing::ids(&DIR).is_none_or(|(_, count)| count * 32 + 24 == ids.len()));
}

fn part(raw: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = raw.split_first_chunk()?;
    rest.split_at_checked(usize::from(u16::from_le_bytes(*length)))
}

fn seal(raw: &mut [u8], covered: Range<usize>) {
    if let Some(part) = raw.get(covered.clone()) {
        let sum = crc32c::crc32c(part);
        if let Some(place) = raw.get_mut(covered.end..covered.end + 4) {
            place.copy_from_slice(&sum.to_le_bytes());
        }
    }
}

fn values(u: &mut Unstructured<'_>) -> Result<(Seq, Records)> {
    let first = u.int_in_range(0..=Seq::MAX / 2)?;
    let lane = *u.choose(&Lane::ALL)?;
    let many = 1..=u.int_in_range(1..=40)?;
    let records = match u.int_in_range(0..=3)? {
        0 => Records::Events(lane, many.map(|_| stored(u, lane)).collect::<Result<_>>()?),
        1 => Records::Letters(many.map(|_| letter(u, lane)).collect::<Result<_>>()?),
        2 => Records::Entries(many.map(|_| entry(u, lane)).collect::<Result<_>>()?),
        _ => Records::Snapshot(many.map(|_| u.arbitrary()).collect::<Result<_>>()?),
    };
    Ok((first, records))
}

fn array(u: &mut Unstructured<'_>) -> Result<Array> {
    if u.ratio(1, 4)? {
        return Ok(Array::Extra(u.arbitrary::<&str>()?.into()));
    }
    Ok(Array::Known(KnownArray(u.choose(catalogue::types())?)))
}

fn stored(u: &mut Unstructured<'_>, lane: Lane) -> Result<Stored> {
    let event = Envelope {
        lane,
        array: array(u)?,
        event_id: Uuid::from_bytes(u.arbitrary()?),
        key: Key(u.arbitrary()?),
        event_time_ms: u.arbitrary()?,
        accepted_at_ms: u.arbitrary()?,
        door: *u.choose(&Door::ALL)?,
        uid: u.arbitrary()?,
        body: Bytes::copy_from_slice(u.arbitrary()?),
    };
    Ok(Stored { seq: u.arbitrary()?, event })
}

fn letter(u: &mut Unstructured<'_>, lane: Lane) -> Result<DeadLetter> {
    Ok(DeadLetter {
        number: 0,
        stored: stored(u, lane)?,
        reason: *u.choose(&DeadReason::ALL)?,
        message: u.arbitrary()?,
        attempts: u.arbitrary()?,
        status: u.arbitrary::<Option<u16>>()?.filter(|status| *status != 0),
        // An empty one is none.
        correlation_id: id(u)?.filter(|id| !id.is_empty()),
        died_at_ms: u.arbitrary()?,
    })
}

fn entry(u: &mut Unstructured<'_>, lane: Lane) -> Result<LedgerEntry> {
    let fates = [Fate::Delivered, Fate::Discarded, Fate::Replayed, Fate::Superseded, Fate::AgedOut];
    Ok(LedgerEntry {
        settled_at_ms: u.arbitrary()?,
        accepted_at_ms: u.arbitrary()?,
        lane,
        seq: u.arbitrary()?,
        event_id: Uuid::from_bytes(u.arbitrary()?),
        array: array(u)?,
        door: *u.choose(&Door::ALL)?,
        uid: u.arbitrary()?,
        fate: if u.arbitrary()? { Fate::Dead(*u.choose(&DeadReason::ALL)?) } else { *u.choose(&fates)? },
        attempts: u.arbitrary()?,
        status: u.arbitrary::<Option<u16>>()?.filter(|status| *status != 0),
        correlation_id: id(u)?,
        ids: EventIds {
            conversation: id(u)?,
            communication: id(u)?,
            interaction: id(u)?,
            user: id(u)?,
            agent: id(u)?,
        },
    })
}

/// None, a UUID (of few, so that one follows itself), or any text.
fn id(u: &mut Unstructured<'_>) -> Result<Option<Arc<str>>> {
    Ok(match u.int_in_range(0..=3)? {
        0 => None,
        1 => Some(Uuid::from_u128(u.int_in_range(0..=2)?).to_string().into()),
        2 => Some(Uuid::from_bytes(u.arbitrary()?).to_string().to_uppercase().into()),
        _ => Some(u.arbitrary::<&str>()?.into()),
    })
}
