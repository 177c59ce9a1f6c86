//! Where an event is, for an operator.

use std::time::Duration;

/// Where an unsettled event is, seen from the relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In a request under way, or its outcome is being written down.
    UnderWay,
    /// In memory, next to be sent.
    Next,
    /// The API asked for it again: not before `after`.
    Again {
        /// Time until then.
        after: Duration,
        /// Requests it stood in.
        attempts: u32,
    },
    /// Among events of which one may spoil a request: sent in a smaller group.
    Suspect {
        /// Requests it stood in.
        attempts: u32,
    },
    /// An earlier event of its key is not settled yet.
    BehindItsKey,
    /// Not read yet: others were accepted before it.
    BehindOthers,
}
