//! What the logs mean: the lanes' events, the dead letters, the ledger, and what is remembered of repeats.
//!
//! Invariants
//! - The ledger says what is settled; a lane's log never does.
//! - A dead letter's body is on stable storage before the ledger calls its event dead.
//! - Where two locks are held, the ledger's was taken first.
//!
//! Not here: how a log is kept on disk (`log`), who asks for changes (`committer`, `handle`).

pub(crate) mod clock_file;
pub(crate) mod dead;
pub(crate) mod dedupe;
pub(crate) mod lane;
pub(crate) mod ledger;
pub(crate) mod limits;
pub(crate) mod lost;
pub(crate) mod owner;
pub(crate) mod rebuild_dedupe;
pub(crate) mod recovered;
pub(crate) mod repeatable;
pub(crate) mod retention;
pub(crate) mod shared;
