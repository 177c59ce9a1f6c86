//! What is wrong with an event, in words that hold nothing of its content.

use std::fmt::Write as _;

use super::catalogue::Kind;
use super::cursor::Shape;

/// Most faults spelled out for one event; the rest is counted. A type has at most 12 fields.
pub(super) const MAX_FAULTS: usize = 40;

/// Longest name of a producer's own field that is printed.
const MAX_NAME: usize = 40;

/// One fault: a code for metrics and a sentence for the producer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) reason: &'static str,
    pub(super) message: String,
}

/// The way to a value within an event.
#[derive(Clone, Copy, Debug)]
pub(super) enum Path<'p> {
    Root,
    Field(&'p Path<'p>, &'p str),
    Item(&'p Path<'p>, usize),
}

impl Path<'_> {
    /// `initialConfiguration.cc[2]`; names that could be content become "a field".
    pub(super) fn render(&self) -> String {
        match self {
            Path::Root => String::new(),
            Path::Field(Path::Root, name) => printable(name).to_owned(),
            Path::Field(parent, name) => format!("{}.{}", parent.render(), printable(name)),
            Path::Item(parent, index) => format!("{}[{index}]", parent.render()),
        }
    }
}

/// `name` if it looks like a name; a number or an address must not reach a log through a key.
pub(super) fn printable(name: &str) -> &str {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    let is_name = !name.is_empty() && name.len() <= MAX_NAME && name.bytes().all(is_plain);
    if is_name { name } else { "a field" }
}

/// Shape of what was found.
pub(super) fn found(shape: Shape, text_chars: Option<usize>) -> String {
    match shape {
        Shape::Object => "an object".to_owned(),
        Shape::Array => "an array".to_owned(),
        Shape::Bool => "a boolean".to_owned(),
        Shape::Null => "null".to_owned(),
        Shape::Number => "a number".to_owned(),
        Shape::Text => match text_chars {
            Some(chars) => format!("a string of {chars} characters"),
            None => "a string".to_owned(),
        },
    }
}

/// What is allowed.
pub(super) fn allowed(kind: &Kind) -> String {
    match kind {
        Kind::Text => "a string".to_owned(),
        Kind::Uuid4 => "a UUID of version 4".to_owned(),
        Kind::Uuid => "a UUID".to_owned(),
        Kind::Time => "an RFC 3339 date and time with a zone, as 2026-07-01T12:00:00.000Z".to_owned(),
        Kind::Bool => "true or false".to_owned(),
        Kind::Number => "a number".to_owned(),
        Kind::Enum(values) => format!("one of {}", values.join(", ")),
        Kind::TextList => "an array of strings".to_owned(),
        Kind::TextMap => "an object of strings".to_owned(),
        Kind::Object(_) => "an object".to_owned(),
    }
}

/// All faults of an event in one line.
pub(super) fn join(faults: &[Fault], total: usize) -> String {
    let mut line = String::new();
    for fault in faults {
        if !line.is_empty() {
            line.push_str("; ");
        }
        line.push_str(&fault.message);
    }
    if total > faults.len() {
        let _ = write!(line, "; and {} more", total - faults.len());
    }
    line
}
