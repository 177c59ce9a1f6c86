//! Why an event or a body is not taken, and the operator's rules for what is unknown.
//!
//! Not here: how the doors answer (`answer`), what is checked (`check`).

use bytes::Bytes;
use serde::Serialize;

use super::MAX_EVENTS_PER_BODY;
use super::catalogue::Array;

/// What happens to fields and values that the table does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnknownRule {
    /// Let through as they came, and reported.
    Forward,
    /// The event is refused.
    Refuse,
}

/// The operator's rules for events.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Most bytes of an event as it came.
    pub max_event: usize,
    /// Unknown fields and values.
    pub unknown: UnknownRule,
}

/// Why one event was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// As given, if it was a string of reasonable length.
    pub event_id: Option<String>,
    /// Begins `array[index]:`; names all faults; holds nothing of the content.
    pub message: String,
    /// Name of the array, or `unknown` if it does not look like a name.
    pub array: String,
    /// Position in the array.
    pub index: usize,
    /// Sending the same again can help.
    pub retryable: bool,
    /// Code for metrics and logs: that of the first fault.
    pub reason: &'static str,
}

/// Something that the table does not have and that was let through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unknown {
    /// Array of the event.
    pub array: Array,
    /// Path of the field; names that could be content read "a field".
    pub field: String,
    /// Which of the two it is.
    pub kind: UnknownKind,
}

/// What is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UnknownKind {
    /// The field.
    Field,
    /// The value of a known field with a list of values.
    Value,
}

/// Why nothing of a body was taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// Bytes that are not text.
    #[error("the body is not UTF-8 at byte {at}")]
    NotUtf8 {
        /// From 1.
        at: usize,
    },
    /// Another encoding: what some programs on Windows call Unicode.
    #[error("the body is UTF-16; send UTF-8")]
    Utf16,
    /// What editors on Windows put before a text.
    #[error("the body begins with a byte order mark; remove it")]
    ByteOrderMark,
    /// No JSON, or a lone surrogate in an array's name.
    #[error("the body is not JSON: line {line}, column {column}")]
    NotJson {
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
    },
    /// JSON of another shape, or an array twice.
    #[error("the body must be an object of arrays of events, each array once")]
    NotArrays,
    /// `{}` or only empty arrays.
    #[error("the body has no events")]
    NoEvents,
    /// More than [`MAX_EVENTS_PER_BODY`] events or arrays.
    #[error("the body has {found} events; the limit is {MAX_EVENTS_PER_BODY}")]
    TooMany {
        /// How many it has.
        found: usize,
    },
}

impl BodyError {
    /// The answer in the API's shape.
    pub fn error_body(&self) -> ErrorBody {
        let (code, status) = match self {
            BodyError::NotUtf8 { .. }
            | BodyError::Utf16
            | BodyError::ByteOrderMark
            | BodyError::NotJson { .. }
            | BodyError::NotArrays => ("bad.request", 400),
            BodyError::NoEvents => ("zero.events.submitted", 400),
            BodyError::TooMany { .. } => ("request.entity.too.large", 413),
        };
        ErrorBody { message: self.to_string(), code, status }
    }
}

/// The API's answer to a request of which nothing was taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ErrorBody {
    /// For a person.
    pub message: String,
    /// For a program, e.g. `bad.request`.
    pub code: &'static str,
    /// HTTP status.
    pub status: u16,
}

impl ErrorBody {
    /// As JSON.
    pub fn to_bytes(&self) -> Bytes {
        to_bytes(self)
    }
}

/// `answer` as JSON.
pub(super) fn to_bytes(answer: &impl Serialize) -> Bytes {
    serde_json::to_vec(answer).expect("strings, numbers and flags always serialise").into()
}
