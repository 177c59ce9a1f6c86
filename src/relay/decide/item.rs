//! An event in the relay's hands.

use crate::clock::Mono;
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

impl Item {
    /// An event that just came into memory.
    pub(crate) fn new(stored: Stored, seen: Mono) -> Self {
        Self { stored, attempts: 0, asked: 0, refusals: 0, refused_since: None, seen, held: false }
    }
}
