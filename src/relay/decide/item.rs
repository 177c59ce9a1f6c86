//! An event in the relay's hands, and groups of them that are sent just so.

use std::collections::HashMap;

use crate::clock::Mono;
use crate::event::Key;
use crate::queue::Stored;

/// An event in the relay's hands.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    /// The event.
    pub(crate) stored: Stored,
    /// Requests it stood in.
    pub(crate) attempts: u32,
    /// Times the API itself asked for it again: the wait grows with it.
    pub(crate) asked: u32,
    /// Those of them that count towards giving it up.
    pub(crate) refusals: u32,
    /// When the first of those was.
    pub(crate) refused_since: Option<Mono>,
    /// When it came into memory first.
    pub(crate) seen: Mono,
    /// Its own probe failed: it goes alone, and holds its key and not its lane.
    pub(crate) held: bool,
}

/// Events that are sent just so, since one of them may spoil a request.
#[derive(Clone, Debug)]
pub(crate) struct Suspects {
    /// In rising order of sequence.
    pub(crate) items: Vec<Item>,
    /// Not before.
    pub(crate) due: Mono,
}

/// Events of one key that the API wants again.
#[derive(Debug)]
pub(crate) struct Waiting {
    /// In rising order of sequence.
    pub(crate) items: Vec<Item>,
    /// Not before.
    pub(crate) due: Mono,
}

impl Item {
    /// An event that just came into memory.
    pub(crate) fn new(stored: Stored, seen: Mono) -> Self {
        Self { stored, attempts: 0, asked: 0, refusals: 0, refused_since: None, seen, held: false }
    }
}

/// Counts an event of `key` less; `true` if it was the last.
pub(crate) fn decrement(counts: &mut HashMap<Key, usize>, key: Key) -> bool {
    match counts.get_mut(&key) {
        Some(count) if *count > 1 => {
            *count -= 1;
            false
        }
        Some(_) => counts.remove(&key).is_some(),
        None => false,
    }
}
