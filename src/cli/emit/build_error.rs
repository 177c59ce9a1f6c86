//! Why `key=value` arguments do not form an event.

use std::path::PathBuf;

use crate::event::RawObjectError;

/// What is wrong with a word, what is allowed, in one line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// No `=` in it.
    #[error("{0:?} is not key=value")]
    NotAPair(String),
    /// The type has no such field.
    #[error("{array} has no field {key:?}; {near}{all}; put a field newer than this build into --from-json")]
    UnknownField {
        /// The type.
        array: String,
        /// As it was given.
        key: String,
        /// The nearest field.
        near: String,
        /// All fields at that place.
        all: String,
    },
    /// The value does not fit the field.
    #[error("{key}: found {found:?}, must be {allowed}")]
    BadValue {
        /// Field.
        key: String,
        /// As it was given.
        found: String,
        /// In words.
        allowed: String,
    },
    /// `uuid:` without a letter or digit after it: all such events would get the same id.
    #[error("{0}: uuid: needs a text with a letter or digit after it; is a variable empty?")]
    EmptyId(String),
    /// An id without a value.
    #[error("{0}: the id is empty; is a variable empty?")]
    NoId(String),
    /// Bytes that are not UTF-8 where the value is not free text.
    #[error("{0}: the value is not UTF-8; invalid bytes are replaced only in free text")]
    NotUtf8(String),
    /// A word whose key is no UTF-8.
    #[error("{0:?}: the key is not UTF-8")]
    KeyNotUtf8(String),
    /// The key leads through something that is not an object.
    #[error(transparent)]
    NoObject(RawObjectError),
    /// `--from-json` is in another encoding.
    #[error("--from-json: the text is UTF-16; save it as UTF-8")]
    Utf16,
    /// `--from-json` is not an object.
    #[error("--from-json: not a JSON object: {0}")]
    BadJson(String),
    /// A name of a kind that the field does not take.
    #[error("{key} takes {wanted}:NAME, not {found}:NAME")]
    OtherKind {
        /// Field.
        key: String,
        /// The kind that it takes.
        wanted: &'static str,
        /// The kind that was given.
        found: &'static str,
    },
    /// A name without a map to look it up in.
    #[error("{key}: {value:?} is a name, but ids.file is not set; set it to a map of names, or write the id")]
    NoNames {
        /// Field.
        key: String,
        /// As it was given.
        value: String,
    },
    /// A name that the map does not have.
    #[error("{key}: {} has no {kind} {name:?}{near}", map.display())]
    UnknownName {
        /// Field.
        key: String,
        /// Kind of the name.
        kind: &'static str,
        /// The name.
        name: String,
        /// `ids.file`
        map: PathBuf,
        /// The nearest names.
        near: String,
    },
}
