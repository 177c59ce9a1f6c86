//! A checked event: its bytes, and what is needed without parsing them again.

use std::fmt;

use bytes::Bytes;
use uuid::Uuid;

use super::catalogue::Array;
use super::lane::Lane;

/// What must stay in order within a lane: a hash of the `conversationId`, `userId` or `agentId`.
///
/// Stands on disk. Two keys that share a hash are kept in one order, which costs concurrency and
/// nothing else.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(pub u64);

impl Key {
    /// Key of everything that carries this id. Case is folded: ids are UUIDs in practice.
    ///
    /// FNV-1a, 64 bits: the same on every host and in every version, since it stands on disk.
    pub fn of_id(id: &str) -> Key {
        let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
        for byte in id.bytes() {
            hash ^= u64::from(byte.to_ascii_lowercase());
            hash = hash.wrapping_mul(0x0100_0000_01b3);
        }
        Key(hash)
    }

    /// Key of an event that stands alone.
    pub fn alone(event_id: Uuid) -> Key {
        let (high, low) = event_id.as_u64_pair();
        Key(high ^ low)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({:016x})", self.0)
    }
}

/// The way an event came in. The discriminant stands on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Door {
    /// Stream socket.
    Stream = 0,
    /// HTTP.
    Http = 1,
    /// Taken out of the dead letters by an operator.
    Replay = 2,
}

impl Door {
    /// All doors, in the order of their discriminants.
    pub const ALL: [Door; 3] = [Door::Stream, Door::Http, Door::Replay];

    /// Name in metrics, logs and listings.
    pub const fn name(self) -> &'static str {
        match self {
            Door::Stream => "stream",
            Door::Http => "http",
            Door::Replay => "replay",
        }
    }

    /// The door with this discriminant.
    pub fn from_id(id: u8) -> Option<Door> {
        Door::ALL.get(usize::from(id)).copied()
    }
}

/// One event, checked and ready to rest and to leave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// Endpoint's lane.
    pub lane: Lane,
    /// Array of the request body it is in.
    pub array: Array,
    /// The producer's (or our) id of the event.
    pub event_id: Uuid,
    /// What it stays in order with, within its lane.
    pub key: Key,
    /// `eventDateTime` in milliseconds since 1970, as sent.
    pub event_time_ms: i64,
    /// When we took it, milliseconds since 1970.
    pub accepted_at_ms: i64,
    /// Way it came in.
    pub door: Door,
    /// The producer's uid; `u32::MAX` where unknown (TCP).
    pub uid: u32,
    /// The event's JSON object as it will be sent. Holds personal data: never logged.
    pub body: Bytes,
}
