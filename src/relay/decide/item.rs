//! An event that the relay holds.

use crate::clock::Mono;
use crate::queue::{Seq, Stored};

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
    /// Since when it has waited to be sent: since it was accepted, as far as that is known.
    pub(crate) since: Mono,
    /// Its own probe failed: it goes alone, and holds its key and not its lane.
    pub(crate) held: bool,
    /// Its place in the line of probes.
    pub(crate) turn: ProbeTurn,
}

/// A place in the line of probes, the first of which is the least. Keys line up as their events were accepted; one that
/// was probed goes to the end, behind all that was known then and before all that comes later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ProbeTurn {
    behind: Seq,
    probe: u64,
}

impl ProbeTurn {
    /// Of an event that was not probed yet.
    pub(crate) fn first(seq: Seq) -> Self {
        Self { behind: seq, probe: u64::MAX }
    }

    /// After the `probe`th probe, when all before `frontier` was known.
    pub(crate) fn after_probe(frontier: Seq, probe: u64) -> Self {
        Self { behind: frontier, probe }
    }
}

impl Item {
    /// An event that just came into memory.
    pub(crate) fn new(stored: Stored, since: Mono) -> Self {
        let turn = ProbeTurn::first(stored.seq);
        Self { stored, attempts: 0, asked: 0, refusals: 0, refused_since: None, since, held: false, turn }
    }
}
