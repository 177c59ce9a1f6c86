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
//! - No length is trusted before it is checked against the bytes present.
//!
//! A new layout: raise `chunk::VERSION` and keep decoding the old one; raise `log::header::VERSION` so that older
//! builds refuse the directory; add a fixture written by the old build (`tests/fixtures`).
//!
//! Not here: where the bytes lie (`log`), what they mean (`state`).

pub(crate) mod bitmap;
pub(crate) mod chunk;
pub(crate) mod entry;
pub(crate) mod event;
pub(crate) mod letter;
pub(crate) mod snapshot;
