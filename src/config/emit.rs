//! `[emit]`: what `trunkline emit` fills in.

use super::key::{ConfigKey, ValueType, unset};
use super::values::Values;

/// `[emit]`
#[derive(Clone, Debug)]
pub struct EmitConfig {
    /// `sourceId` of emitted events.
    pub source_id: Option<String>,
}

pub(super) const KEYS: &[ConfigKey] = &[unset(
    "emit.source_id",
    "\"00000000-0000-4000-8000-000000000000\"",
    ValueType::Text,
    "sourceId of events sent with `trunkline emit`.",
)];

/// Reads the section.
pub(super) fn read(values: &mut Values<'_>) -> EmitConfig {
    EmitConfig { source_id: values.text("emit.source_id") }
}
