//! Gives an id to each event that has none, so that a line may be sent twice and stored once.

use std::borrow::Cow;
use std::collections::HashMap;

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::event::{Edit, splice};

#[derive(Deserialize)]
struct Identified<'a> {
    #[serde(rename = "eventId", borrow, default, deserialize_with = "present")]
    event_id: Option<&'a RawValue>,
}

/// Keeps `null` apart from absent.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// A line whose events have ids.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct FilledLine {
    pub(super) bytes: Vec<u8>,
    /// How many it has; 0 if it is not a body.
    pub(super) events: usize,
}

/// The line with ids, all else untouched. What is not a body stays as it is: the daemon says what is wrong with it.
pub(super) fn fill_ids(line: Vec<u8>) -> FilledLine {
    let arrays = std::str::from_utf8(&line).ok().and_then(|text| {
        Some((text, serde_json::from_str::<HashMap<Cow<'_, str>, Vec<&RawValue>>>(text).ok()?))
    });
    let Some((text, arrays)) = arrays else {
        return FilledLine { bytes: line, events: 0 };
    };
    let mut count = 0;
    let mut edits = Vec::new();
    for event in arrays.values().flatten() {
        count += 1;
        edits.extend(insertion(text, event.get()));
    }
    if edits.is_empty() {
        return FilledLine { bytes: line, events: count };
    }
    edits.sort_by_key(|edit| edit.range.start);
    FilledLine { bytes: splice(text, &edits).into(), events: count }
}

/// What to put instead of which bytes of the line, if the event lacks its id.
fn insertion(line: &str, event: &str) -> Option<Edit> {
    if !event.starts_with('{') {
        return None;
    }
    let identified: Identified<'_> = serde_json::from_str(event).ok()?;
    let id = Uuid::new_v4();
    let event_start = event.as_ptr() as usize - line.as_ptr() as usize;
    if let Some(raw) = identified.event_id {
        if raw.get() != "null" {
            return None;
        }
        let start = raw.get().as_ptr() as usize - line.as_ptr() as usize;
        return Some(Edit { range: start..start + raw.get().len(), text: format!("\"{id}\"") });
    }
    let is_empty = event.strip_prefix('{').unwrap_or_default().trim_start().starts_with('}');
    let comma = if is_empty { "" } else { "," };
    let range = event_start + 1..event_start + 1;
    Some(Edit { range, text: format!("\"eventId\":\"{id}\"{comma}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_lacks_an_id_gets_one_and_the_rest_stays_as_it_was() {
        let line =
            r#"{"a":[{"n":1.50},{ },{"eventId":null,"x":1},{"eventId":"e","eventDateTime":1}],"b":[7]}"#;

        let FilledLine { bytes, events } = fill_ids(line.as_bytes().to_vec());
        let text = String::from_utf8(bytes).unwrap();

        assert_eq!(events, 5);
        assert_eq!(text.matches("\"eventId\":\"").count(), 4);
        assert!(text.contains(r#","n":1.50},{"#) && text.contains(r#"{"eventId":"e","eventDateTime":1}"#));
        assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok());
        assert_eq!(fill_ids(text.clone().into_bytes()).bytes, text.into_bytes());
    }

    #[test]
    fn what_is_no_body_stays_as_it_is() {
        for line in ["nonsense", "[]", "{\"a\":1}"] {
            let bytes = line.as_bytes().to_vec();
            assert_eq!(fill_ids(bytes.clone()), FilledLine { bytes, events: 0 });
        }
    }
}
