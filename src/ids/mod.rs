//! Maps names such as agent 1042 or queue Support to UUIDs.
//!
//! ```text
//! map.csv ──read──> IdMap (checked whole) ──find──> UUID in place of `user:1042`
//!    ^
//!    └── written by hand, or exported from another system
//! ```
//!
//! Invariants
//! - A map is taken whole or not at all.
//! - A name of a kind means one id.
//! - Names are personal data: they stand in what a command prints for its caller, never in a log.
//!
//! Not here: which fields take names (`event`).

mod file;
mod map;

pub use file::{MapError, MapFault, MapProblem, read};
pub use map::{Ambiguous, IdMap, IdMapBuilder, MAX_ENTRIES, MAX_NAME_BYTES, NameKind, NameRefused};
