//! `[emit]`: what `trunkline emit` fills in.

use super::key::{Key, Kind, unset};
use super::values::Values;

/// `[emit]`
#[derive(Clone, Debug)]
pub struct Emit {
    /// `sourceId` of emitted events.
    pub source_id: Option<String>,
}

pub(super) const KEYS: &[Key] = &[unset(
    "emit.source_id",
    "\"00000000-0000-4000-8000-000000000000\"",
    Kind::Text,
    "sourceId of events that `trunkline emit` makes.",
)];

/// Reads the section.
pub(super) fn read(values: &mut Values<'_>) -> Emit {
    Emit { source_id: values.text("emit.source_id") }
}
