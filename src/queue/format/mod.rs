//! The bytes of a queue: chunks, and what stands in them. Pure: no file is opened here.
//!
//! ```text
//! chunk ─┬─ event     accepted events of a lane
//!        ├─ letter    dead letters
//!        ├─ entry     the ledger's entries
//!        └─ snapshot  what was settled, with a bitmap for each segment
//! ```
//!
//! Invariants
//! - What was written decodes to what it was; a flipped bit is an error, never other data.
//! - No length in a chunk is believed before it was held against the bytes that are there.
//!
//! A newer format: raise `VERSION` in `log::header`, keep decoding the older one, and add a fixture that the older
//! build wrote (`tests/fixtures`).
//!
//! Not here: where the bytes lie (`log`), what they mean (`state`).

pub(crate) mod bitmap;
pub(crate) mod chunk;
pub(crate) mod entry;
pub(crate) mod event;
pub(crate) mod letter;
pub(crate) mod snapshot;
