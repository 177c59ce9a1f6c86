//! What the ledger keeps of an event: ids and times, never the body. Pure.
//!
//! ```text
//! entry:    settled_at i64 · accepted_at i64 · seq u64 · event_id 16 · lane u8 · fate u8 · reason u8
//!           · door u8 · uid u32 · array u16 (0xFFFF: text follows) · status u16 · attempts u32
//!           · correlation_id id · five ids: conversation, communication, interaction, user, agent
//! id:       0: none · 1: UUID, 16 bytes · 2: text, u16 + n · 3: the one of the entry before
//! ```

use std::sync::Arc;

use uuid::Uuid;

use crate::event::{Array, Door, Envelope, EventIds, KnownArray, Lane, catalogue};

use super::chunk::{self, Chunk, ChunkError, Cursor, EncodedChunk, INLINE_NAME, Kind, put_text};
use crate::queue::types::{DeadReason, Seq};

/// An id is a UUID; anything longer than this is cut.
const MAX_ID: u16 = 256;

/// What became of an event or of its dead letter. The discriminant stands on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The API took it.
    Delivered,
    /// It went to the dead letters.
    Dead(DeadReason),
    /// An operator discarded the dead letter.
    Discarded,
    /// An operator sent the dead letter again: it was accepted again.
    Replayed,
    /// The event came again while it lay in the dead letters.
    Superseded,
    /// The dead letter was older than `queue.dead_letters_max_age`.
    AgedOut,
    /// It was accepted, and its bytes were damaged before it was sent.
    Lost,
}

impl Fate {
    fn ids(self) -> [u8; 2] {
        match self {
            Fate::Delivered => [0, 0],
            Fate::Dead(reason) => [1, reason as u8],
            Fate::Discarded => [2, 0],
            Fate::Replayed => [3, 0],
            Fate::Superseded => [4, 0],
            Fate::AgedOut => [5, 0],
            Fate::Lost => [6, 0],
        }
    }

    fn from_ids([fate, reason]: [u8; 2]) -> Option<Fate> {
        match fate {
            0 => Some(Fate::Delivered),
            1 => DeadReason::from_id(reason).map(Fate::Dead),
            2 => Some(Fate::Discarded),
            3 => Some(Fate::Replayed),
            4 => Some(Fate::Superseded),
            5 => Some(Fate::AgedOut),
            6 => Some(Fate::Lost),
            _ => None,
        }
    }

    /// Whether the same event may come again within the dedupe window.
    pub(crate) fn is_repeatable(self) -> bool {
        matches!(self, Fate::Dead(_) | Fate::Lost)
    }

    /// Whether the number is that of a dead letter, not of an event in its lane.
    pub(crate) fn is_of_a_letter(self) -> bool {
        !matches!(self, Fate::Delivered | Fate::Dead(_) | Fate::Lost)
    }
}

/// One line of the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerEntry {
    /// When it was settled, milliseconds since 1970.
    pub settled_at_ms: i64,
    /// When it was accepted.
    pub accepted_at_ms: i64,
    /// Its lane.
    pub lane: Lane,
    /// Position in its lane; of a dead letter, its number there.
    pub seq: Seq,
    /// Its `eventId`.
    pub event_id: Uuid,
    /// Its array.
    pub array: Array,
    /// Way it came in.
    pub door: Door,
    /// The producer's uid; `u32::MAX` unknown.
    pub uid: u32,
    /// What became of it.
    pub fate: Fate,
    /// Requests it stood in.
    pub attempts: u32,
    /// HTTP status of the last answer.
    pub status: Option<u16>,
    /// `ININ-Correlation-Id` of the last answer.
    pub correlation_id: Option<Arc<str>>,
    /// What it belongs to.
    pub ids: EventIds,
}

impl LedgerEntry {
    /// Bytes that it takes at most.
    pub(crate) fn size(&self) -> usize {
        let id = |id: Option<&str>| 17 + id.map_or(0, str::len).min(usize::from(MAX_ID));
        let ids: usize = self.ids.all().into_iter().map(id).sum();
        64 + self.array.name().len() + id(self.correlation_id.as_deref()) + ids
    }

    /// Whether the entry carries this id, case folded.
    pub(crate) fn is_about(&self, id: &str, event_id: Option<Uuid>) -> bool {
        event_id == Some(self.event_id) || self.ids.contains(id)
    }

    /// What is known from the event itself.
    pub(crate) fn of(event: &Envelope, seq: Seq, fate: Fate, now_ms: i64) -> Self {
        Self {
            settled_at_ms: now_ms,
            accepted_at_ms: event.accepted_at_ms,
            lane: event.lane,
            seq,
            event_id: event.event_id,
            array: event.array.clone(),
            door: event.door,
            uid: event.uid,
            fate,
            attempts: 0,
            status: None,
            correlation_id: None,
            ids: EventIds::of_body(&event.body),
        }
    }
}

/// Chunks of entries, numbered from `first` on.
pub(crate) fn encode(first: Seq, entries: &[LedgerEntry]) -> Vec<EncodedChunk> {
    let sizes = entries.iter().map(LedgerEntry::size);
    chunk::pack(Kind::Entries, first, sizes, |range| encode_records(&entries[range]))
}

/// Encodes entries that will stand in one chunk.
pub(crate) fn encode_records(entries: &[LedgerEntry]) -> Vec<u8> {
    let mut out = Vec::with_capacity(entries.len() * 140);
    let mut before: [Option<&str>; 6] = [None; 6];
    for entry in entries {
        out.extend_from_slice(&entry.settled_at_ms.to_le_bytes());
        out.extend_from_slice(&entry.accepted_at_ms.to_le_bytes());
        out.extend_from_slice(&entry.seq.to_le_bytes());
        out.extend_from_slice(entry.event_id.as_bytes());
        let [fate, reason] = entry.fate.ids();
        out.extend_from_slice(&[entry.lane as u8, fate, reason, entry.door as u8]);
        out.extend_from_slice(&entry.uid.to_le_bytes());
        match &entry.array {
            Array::Known(known) => out.extend_from_slice(&known.0.id.to_le_bytes()),
            Array::Extra(name) => {
                out.extend_from_slice(&INLINE_NAME.to_le_bytes());
                put_text(name, u16::MAX, &mut out);
            }
        }
        out.extend_from_slice(&entry.status.unwrap_or(0).to_le_bytes());
        out.extend_from_slice(&entry.attempts.to_le_bytes());
        let [conversation, communication, interaction, user, agent] = entry.ids.all();
        let ids = [entry.correlation_id.as_deref(), conversation, communication, interaction, user, agent];
        for (at, id) in ids.into_iter().enumerate() {
            put_id(id, before[at], &mut out);
        }
        before = ids;
    }
    out
}

fn put_id(id: Option<&str>, before: Option<&str>, out: &mut Vec<u8>) {
    let Some(id) = id else { return out.push(0) };
    if before == Some(id) {
        return out.push(3);
    }
    match Uuid::try_parse(id) {
        // Only what comes back letter by letter.
        Ok(uuid) if uuid.hyphenated().encode_lower(&mut Uuid::encode_buffer()) == id => {
            out.push(1);
            out.extend_from_slice(uuid.as_bytes());
        }
        _ => {
            out.push(2);
            put_text(id, MAX_ID, out);
        }
    }
}

/// The entries of a chunk.
pub(crate) fn decode(chunk: &Chunk<'_>) -> Result<Vec<LedgerEntry>, ChunkError> {
    if chunk.kind != Kind::Entries {
        return Err(ChunkError::Record);
    }
    let mut cursor = Cursor(chunk.records);
    let mut before: [Option<Arc<str>>; 6] = Default::default();
    (0..chunk.count).map(|_| decode_entry(&mut cursor, &mut before)).collect()
}

fn decode_entry(
    cursor: &mut Cursor<'_>,
    before: &mut [Option<Arc<str>>; 6],
) -> Result<LedgerEntry, ChunkError> {
    let settled_at_ms = i64::from_le_bytes(cursor.array()?);
    let accepted_at_ms = i64::from_le_bytes(cursor.array()?);
    let seq = u64::from_le_bytes(cursor.array()?);
    let event_id = Uuid::from_bytes(cursor.array()?);
    let [lane, fate, reason, door] = cursor.array()?;
    let uid = u32::from_le_bytes(cursor.array()?);
    let array = match u16::from_le_bytes(cursor.array()?) {
        INLINE_NAME => Array::Extra(Arc::from(cursor.text()?)),
        id => Array::Known(KnownArray(catalogue::by_id(id).ok_or(ChunkError::Record)?)),
    };
    let status = u16::from_le_bytes(cursor.array()?);
    let attempts = u32::from_le_bytes(cursor.array()?);
    for id in before.iter_mut() {
        *id = match cursor.array()? {
            [0] => None,
            [1] => Some(Arc::from(Uuid::from_bytes(cursor.array()?).to_string())),
            [2] => Some(Arc::from(cursor.text()?)),
            [3] => id.take(),
            _ => return Err(ChunkError::Record),
        };
    }
    let [correlation_id, conversation, communication, interaction, user, agent] = before.clone();
    Ok(LedgerEntry {
        settled_at_ms,
        accepted_at_ms,
        lane: Lane::from_id(lane).ok_or(ChunkError::Record)?,
        seq,
        event_id,
        array,
        door: Door::from_id(door).ok_or(ChunkError::Record)?,
        uid,
        fate: Fate::from_ids([fate, reason]).ok_or(ChunkError::Record)?,
        attempts,
        status: (status != 0).then_some(status),
        correlation_id,
        ids: EventIds { conversation, communication, interaction, user, agent },
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::event::Catalogue;

    fn id() -> impl Strategy<Value = Option<Arc<str>>> {
        proptest::option::of(prop_oneof![
            "[a-z0-9-]{0,300}".prop_map(Arc::from),
            Just(Arc::from("0b5a2a3e-6c9f-4a53-8f5e-7d1c2b3a4d5e")),
        ])
    }

    fn entry() -> impl Strategy<Value = LedgerEntry> {
        (any::<(i64, u64, u128, u32, u16)>(), id(), id(), id()).prop_map(|(numbers, a, b, c)| LedgerEntry {
            settled_at_ms: numbers.0,
            accepted_at_ms: numbers.0,
            lane: Lane::Presence,
            seq: numbers.1,
            event_id: Uuid::from_u128(numbers.2),
            array: Catalogue::new(&[]).find("userPresenceEvents").unwrap().array(),
            door: Door::Http,
            uid: numbers.3,
            fate: Fate::Dead(DeadReason::Attempts),
            attempts: numbers.3,
            status: (numbers.4 != 0).then_some(numbers.4),
            correlation_id: a,
            ids: EventIds { conversation: b, user: c, ..EventIds::default() },
        })
    }

    proptest! {
        #[test]
        fn entries_are_read_as_they_were_written_and_are_no_larger_than_they_say(
            entries in proptest::collection::vec(entry(), 0..20),
        ) {
            let raw = encode_records(&entries);
            let whole = chunk::encode(Kind::Entries, 1, entries.len(), &raw);

            let read = decode(&chunk::decode(&whole).unwrap()).unwrap();

            prop_assert!(raw.len() <= entries.iter().map(LedgerEntry::size).sum());
            for (read, written) in read.iter().zip(&entries) {
                prop_assert_eq!((read.seq, read.fate, read.status), (written.seq, written.fate, written.status));
                let cut = |id: &Option<Arc<str>>| id.as_deref().map(|id| id[..id.len().min(256)].to_owned());
                prop_assert_eq!(cut(&read.correlation_id), cut(&written.correlation_id));
                prop_assert_eq!(cut(&read.ids.conversation), cut(&written.ids.conversation));
            }
            prop_assert_eq!(read.len(), entries.len());
        }
    }
}
