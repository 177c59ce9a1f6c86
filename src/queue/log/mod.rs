//! A log of segments on disk: appended at the end, read anywhere, deleted a segment at a time.
//!
//! ```text
//! append ──> newest segment ──> store (sled)            start: survey (reads) ──> recovery (acts)
//!   read ──> closed segment ──> raw (its file)          behind: maintenance (makes, closes, deletes)
//! ```
//!
//! Invariants
//! - Only the newest segment is written, and only by the process that made it.
//! - Only `store` names sled; a closed segment is read from its file.
//! - Numbers rise and are never reused.
//!
//! Not here: what the records mean, and which of them are settled for whom (`state`).

pub(crate) mod append;
pub(crate) mod header;
pub(crate) mod ids;
pub(crate) mod index;
pub(crate) mod maintenance;
pub(crate) mod quarantine;
pub(crate) mod raw;
pub(crate) mod recovery;
pub(crate) mod segment;
pub(crate) mod source;
pub(crate) mod store;
pub(crate) mod survey;
