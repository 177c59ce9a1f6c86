//! Changes an event's text in a few places and leaves every other byte as it came.

use std::ops::Range;

use bytes::{Bytes, BytesMut};

/// New text for a range of the old one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    /// Bytes of the old text.
    pub range: Range<usize>,
    /// What stands there instead.
    pub text: String,
}

/// `text` with each range replaced; ranges are ascending and do not overlap.
pub fn splice(text: &str, edits: &[Edit]) -> Bytes {
    let grown: usize = edits.iter().map(|edit| edit.text.len()).sum();
    let mut bytes = BytesMut::with_capacity(text.len() + grown);
    let mut from = 0;
    for Edit { range, text: new } in edits {
        bytes.extend_from_slice(&text.as_bytes()[from..range.start]);
        bytes.extend_from_slice(new.as_bytes());
        from = range.end;
    }
    bytes.extend_from_slice(&text.as_bytes()[from..]);
    bytes.freeze()
}

/// An event's bytes on one line, for NDJSON. In JSON a raw line break stands only between tokens, so
/// a space in its place changes nothing.
pub fn one_line(event: &Bytes) -> Bytes {
    if !event.iter().any(|byte| matches!(byte, b'\n' | b'\r')) {
        return event.clone();
    }
    event.iter().map(|&byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { byte }).collect()
}
