//! Splits a request body into its arrays and their raw events, and proves the whole well formed.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::MAX_EVENTS_PER_BODY;
use super::refusal::BodyError;

/// One array of a body.
#[derive(Debug)]
pub(super) struct RawArray<'a> {
    pub(super) name: Cow<'a, str>,
    pub(super) events: Vec<&'a RawValue>,
}

/// The arrays of `body` in the order that they came.
pub(super) fn split(body: &[u8]) -> Result<Vec<RawArray<'_>>, BodyError> {
    if is_utf16(body) {
        return Err(BodyError::Utf16);
    }
    let text =
        std::str::from_utf8(body).map_err(|error| BodyError::NotUtf8 { at: error.valid_up_to() + 1 })?;
    if text.starts_with('\u{feff}') {
        return Err(BodyError::ByteOrderMark);
    }
    let mut seed = Split { arrays: Vec::new(), total: 0 };
    let mut json = serde_json::Deserializer::from_str(text);
    let parsed = json.deserialize_map(&mut seed).and_then(|()| json.end());
    if let Err(error) = parsed {
        // The error's own text may quote the body; its class and place do not.
        return Err(match error.classify() {
            serde_json::error::Category::Data => BodyError::NotArrays,
            _ => BodyError::NotJson { line: error.line(), column: error.column() },
        });
    }
    let Split { arrays, total } = seed;
    if total > MAX_EVENTS_PER_BODY {
        return Err(BodyError::TooMany { found: total });
    }
    if total == 0 {
        return Err(BodyError::NoEvents);
    }
    Ok(arrays)
}

/// Whether `text` begins with the byte order mark of UTF-16, which nothing in UTF-8 can.
pub fn is_utf16(text: &[u8]) -> bool {
    matches!(text, [0xff, 0xfe, ..] | [0xfe, 0xff, ..])
}

struct Split<'a> {
    arrays: Vec<RawArray<'a>>,
    total: usize,
}

impl<'de> Visitor<'de> for &mut Split<'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of arrays")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key_seed(Name)? {
            // Bounds what a body of countless arrays costs.
            if self.arrays.len() == MAX_EVENTS_PER_BODY {
                map.next_value::<IgnoredAny>()?;
                self.total = self.total.max(MAX_EVENTS_PER_BODY) + 1;
                continue;
            }
            if self.arrays.iter().any(|array| array.name == name) {
                return Err(A::Error::custom("an array appears twice"));
            }
            let events = map.next_value_seed(Events { total: &mut self.total })?;
            self.arrays.push(RawArray { name, events });
        }
        Ok(())
    }
}

/// Reads a key without copying it unless it has escapes.
struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Name {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(name))
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(name.to_owned()))
    }
}

struct Events<'t> {
    total: &'t mut usize,
}

impl<'de> DeserializeSeed<'de> for Events<'_> {
    type Value = Vec<&'de RawValue>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Events<'_> {
    type Value = Vec<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of events")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut events = Vec::new();
        loop {
            // Past the limit events are only counted, so that memory stays bounded.
            if *self.total < MAX_EVENTS_PER_BODY {
                let Some(event) = seq.next_element()? else { return Ok(events) };
                events.push(event);
            } else if seq.next_element::<IgnoredAny>()?.is_none() {
                return Ok(events);
            }
            *self.total += 1;
        }
    }
}
