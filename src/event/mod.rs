//! What travels: the table of event types, the event on its way, and how one is checked.
//!
//! Pure: no I/O, no clock, no tasks. `now` is an argument.
//!
//! bytes ──split──> arrays of raw events ──check──> found ids, faults, splices ──> Envelope or Refusal
//!
//! Invariants
//! - The table in `types` is the only list of arrays, fields and enums; doors, relay, sandbox, `emit`
//!   and the docs are driven by it.
//! - An event's bytes stay as they came; only a missing id or time is filled in and a time's spelling
//!   brought to the API's.
//! - A message holds names of fields and shapes of values, never a value.
//!
//! Not here: framing (`ingest`), storage format (`queue`), what the API says (`upstream`).

pub mod answer;
mod body;
pub mod catalogue;
mod check;
mod cursor;
mod envelope;
mod fault;
mod ids_of_body;
mod lane;
mod raw_object;
mod refusal;
mod splice;
mod split;
mod time;
mod types;

pub use body::{ParsedBody, Receipt, parse_body};
pub use catalogue::{Array, Catalogue, CatalogueEntry, ExtraArray, KnownArray};
pub use envelope::{Door, Envelope, Key};
pub use ids_of_body::EventIds;
pub use lane::Lane;
pub use raw_object::{RawObject, RawObjectError, raw_text};
pub use refusal::{BodyError, ErrorBody, Refusal, Rules, Unknown, UnknownKind, UnknownRule};
pub use splice::{Edit, one_line, splice};
pub use split::is_utf16;
pub use types::{EventType, Field, FieldKind};

/// Most events in one request to the API. Source: the vendor's API description.
pub const MAX_EVENTS_PER_REQUEST: usize = 100;

/// Most events in one body at our doors; more is a 413.
pub const MAX_EVENTS_PER_BODY: usize = 1_000;

/// Deepest nesting of an event, itself counted as one.
pub const MAX_DEPTH: usize = 32;
