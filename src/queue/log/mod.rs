//! A log of segments on disk: appended at the end, read anywhere, deleted a segment at a time.
//!
//! ```text
//! append ──> newest segment ──> store (sled)            start: survey (reads) ──> examine (acts) ──> recovery
//!   read ──> closed segment ──> raw (its file)          behind: maintenance (makes, closes, deletes)
//! ```
//!
//! Invariants
//! - Only the newest segment is written, and only by the process that made it.
//! - Only `store` names sled; a closed segment is read from its file.
//! - Numbers rise and are never reused.
//! - Nothing is settled, moved or deleted for an error: what was not read is looked at again. Only bytes that
//!   were read whole and fail their checksum are damage, and lie in the quarantine before they are given up.
//!
//! It reads numbers, ids and times of records, and knows nothing of lanes, settlements or retention.
//!
//! Not here: which records are settled, and for whom (`state`).

pub(crate) mod append;
pub(crate) mod examine;
pub(crate) mod header;
pub(crate) mod ids;
pub(crate) mod index;
pub(crate) mod maintenance;
pub(crate) mod quarantine;
pub(crate) mod raw;
pub(crate) mod recovery;
pub(crate) mod segment;
pub(crate) mod settled_file;
pub(crate) mod source;
pub(crate) mod store;
pub(crate) mod survey;
