//! `[log]`: what is written, and how.

use super::key::{ConfigKey, ValueType, key};
use super::values::Values;

/// `log.format`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object a line.
    Json,
    /// Native journal entries with fields.
    Journald,
}

/// `[log]`
#[derive(Clone, Debug)]
pub struct LogConfig {
    /// Lowest level that is logged.
    pub level: tracing::Level,
    /// `log.format`
    pub format: LogFormat,
}

const LEVELS: [tracing::Level; 5] = [
    tracing::Level::ERROR,
    tracing::Level::WARN,
    tracing::Level::INFO,
    tracing::Level::DEBUG,
    tracing::Level::TRACE,
];

pub(super) const KEYS: &[ConfigKey] = &[
    key(
        "log.level",
        "info",
        ValueType::Choice(&["error", "warn", "info", "debug", "trace"]),
        "Lowest level that is logged.",
    ),
    key(
        "log.format",
        "text",
        ValueType::Choice(&["text", "json", "journald"]),
        "Text lines, JSON objects, or native journal entries.",
    )
    .read_at_start(),
];

/// Reads the section.
pub(super) fn read(values: &mut Values<'_>) -> LogConfig {
    LogConfig {
        level: LEVELS[values.choice("log.level")],
        format: [LogFormat::Text, LogFormat::Json, LogFormat::Journald][values.choice("log.format")],
    }
}
