//! What is wrong with an event, in words that hold nothing of its content.

use std::fmt::Write as _;

use super::cursor::Shape;
use super::types::FieldKind;

/// Most faults spelled out for one event; the rest is counted. A type has at most 13 fields of its own.
pub(super) const MAX_FAULTS: usize = 40;

/// Longest name of a producer's own field that is printed, and its most digits: a phone number has more. The
/// API's names have none.
const MAX_NAME: usize = 40;
const MAX_DIGITS: usize = 4;

/// One fault: a code for metrics and a sentence for the producer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct EventFault {
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

/// `name` if it looks like one of a field; a number, an address or an extension must not reach a log through
/// a key.
pub(super) fn printable(name: &str) -> &str {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let digits = name.bytes().filter(u8::is_ascii_digit).count();
    let is_name = name.starts_with(|first: char| first.is_ascii_alphabetic())
        && name.len() <= MAX_NAME
        && name.bytes().all(is_plain)
        && digits <= MAX_DIGITS;
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
pub(super) fn allowed(kind: &FieldKind) -> String {
    match kind {
        FieldKind::Text => "a string".to_owned(),
        FieldKind::Uuid4 => "a UUID of version 4".to_owned(),
        FieldKind::Uuid => "a UUID".to_owned(),
        FieldKind::Time => "an RFC 3339 date and time with a zone, as 2026-07-01T12:00:00.000Z".to_owned(),
        FieldKind::Bool => "true or false".to_owned(),
        FieldKind::Number => "a number".to_owned(),
        FieldKind::Enum(values) => format!("one of {}", values.join(", ")),
        FieldKind::TextList => "an array of strings".to_owned(),
        FieldKind::TextMap => "an object of strings".to_owned(),
        FieldKind::Object(_) => "an object".to_owned(),
    }
}

/// All faults of an event in one line.
pub(super) fn join(faults: &[EventFault], total: usize) -> String {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Field;
    use crate::event::catalogue;

    #[test]
    fn what_could_be_a_number_or_an_address_is_no_name() {
        for name in ["4915112345678", "tel4915112345678", "t_4915_1123", "j.doe-4711", "a@b", "_x", "", "7"] {
            assert_eq!(printable(name), "a field", "{name}");
        }
        assert_eq!(printable("newerField_2026"), "newerField_2026");
    }

    #[test]
    fn every_field_of_the_table_is_printed() {
        fn all(fields: &[Field]) {
            for field in fields {
                assert_eq!(printable(field.name), field.name);
                if let FieldKind::Object(inside) = field.kind {
                    all(inside);
                }
            }
        }

        for known in catalogue::types() {
            all(known.fields);
        }
    }
}
