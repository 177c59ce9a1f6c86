//! Which dead letters are selected, and how they are edited. Pure.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::event::{EventIds, RawObject, RawObjectError, raw_text};
use crate::queue::DeadLetter;

/// Which dead letters are meant; what is not given does not restrict.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Filter {
    /// Lane's name.
    pub lane: Option<String>,
    /// Array's name.
    pub array: Option<String>,
    /// Code of the reason.
    pub reason: Option<String>,
    /// Event, conversation, communication, interaction, user or agent id.
    pub id: Option<String>,
    /// A part of the API's words.
    pub message: Option<String>,
    /// Died at or after, milliseconds since 1970.
    pub since_ms: Option<i64>,
    /// Died before.
    pub before_ms: Option<i64>,
    /// At most so many.
    pub limit: Option<u64>,
}

impl Filter {
    /// Whether it names all letters.
    pub fn is_everything(&self) -> bool {
        *self == Filter::default()
    }

    pub(super) fn takes(&self, letter: &DeadLetter) -> bool {
        let event = &letter.stored.event;
        let is = |wanted: &Option<String>, found: &str| wanted.as_ref().is_none_or(|wanted| wanted == found);
        is(&self.lane, event.lane.name())
            && is(&self.array, event.array.name())
            && is(&self.reason, letter.reason.code())
            && self.since_ms.is_none_or(|since| letter.died_at_ms >= since)
            && self.before_ms.is_none_or(|before| letter.died_at_ms < before)
            && self.message.as_ref().is_none_or(|part| letter.message.contains(part.as_str()))
            && self.id.as_ref().is_none_or(|id| {
                event.event_id.to_string().eq_ignore_ascii_case(id)
                    || EventIds::of_body(&event.body).contains(id)
            })
    }
}

/// A field and a value: one to set, or one to look for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FieldValue {
    /// Field's name; dots nest.
    pub field: String,
    /// The value as it was written. Where the field holds a text, a text; else JSON if it is that.
    pub value: String,
}

impl FieldValue {
    /// The value that the field gets, byte for byte as it was written.
    fn value_for(&self, before: Option<&str>) -> Box<RawValue> {
        let is_text = before.is_some_and(|before| before.starts_with('"'));
        match RawValue::from_string(self.value.clone()) {
            Ok(json) if !is_text => json,
            _ => raw_text(&self.value),
        }
    }

    /// Whether `found`, a value's text, is the value that was asked for.
    fn is_at(&self, found: &str) -> bool {
        let wanted = self.value_for(Some(found));
        if found == wanted.get() {
            return true;
        }
        // Numbers only by their text: as floats, different ones of many digits are the same.
        let parsed = |text: &str| serde_json::from_str::<Value>(text).ok().filter(|value| !value.is_number());
        parsed(found).is_some_and(|found| parsed(wanted.get()) == Some(found))
    }
}

/// What to do with which dead letters.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LettersRequest {
    /// Which.
    pub filter: Filter,
    /// Fields that get another value before the event is accepted again.
    pub set: Vec<FieldValue>,
    /// Only where these fields have these values.
    #[serde(rename = "where")]
    pub only_where: Vec<FieldValue>,
    /// Says what would be done, and changes nothing.
    pub dry_run: bool,
}

impl LettersRequest {
    /// Whether the event has the values that are asked for.
    pub(super) fn fits(&self, event: &RawObject) -> bool {
        let fits = |wanted: &FieldValue| event.get(&wanted.field).is_some_and(|found| wanted.is_at(&found));
        self.only_where.iter().all(fits)
    }

    /// A line with the event as it is to be accepted, in its array. What is not set keeps its bytes.
    ///
    /// # Errors
    /// If a field's way leads through something that is not an object.
    pub(super) fn mended(&self, array: &str, event: &RawObject) -> Result<Vec<u8>, RawObjectError> {
        let mut event = event.clone();
        for mend in &self.set {
            let value = mend.value_for(event.get(&mend.field).as_deref());
            event.set(&mend.field, value)?;
        }
        Ok(format!("{{\"{array}\":[{event}]}}").into_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mend(field: &str, value: &str) -> FieldValue {
        FieldValue { field: field.to_owned(), value: value.to_owned() }
    }

    #[test]
    fn a_field_is_set_at_its_place_and_only_where_it_was_wrong() {
        let request = LettersRequest {
            set: vec![mend("sourceConfiguration.sourceId", "1002"), mend("held", "true")],
            only_where: vec![mend("sourceConfiguration.sourceId", "1001")],
            ..LettersRequest::default()
        };
        let text = r#"{"eventId":"x","sourceConfiguration":{"sourceId":"1001","more":1.10},"n":1e400}"#;
        let event = RawObject::parse(text).unwrap();
        let other =
            RawObject::parse(r#"{"eventId":"y","sourceConfiguration":{"sourceId":"other"}}"#).unwrap();

        let line = request.mended("holdUpdatedEvents", &event).unwrap();

        assert!(request.fits(&event));
        assert!(!request.fits(&other));
        let wanted =
            r#"{"eventId":"x","sourceConfiguration":{"sourceId":"1002","more":1.10},"n":1e400,"held":true}"#;
        assert_eq!(String::from_utf8(line).unwrap(), format!(r#"{{"holdUpdatedEvents":[{wanted}]}}"#));
    }

    #[test]
    fn a_way_through_something_that_is_no_object_is_refused() {
        let request = LettersRequest { set: vec![mend("eventId.deep", "1")], ..LettersRequest::default() };
        let event = RawObject::parse(r#"{"eventId":"x"}"#).unwrap();

        assert!(request.mended("a", &event).is_err());
    }

    #[test]
    fn numbers_of_many_digits_are_told_apart_and_kept() {
        let event = RawObject::parse(r#"{"associatedValue":123456789012345678901}"#).unwrap();
        let only = |value: &str| LettersRequest {
            only_where: vec![mend("associatedValue", value)],
            set: vec![mend("associatedValue", "1.10")],
            ..LettersRequest::default()
        };

        assert!(only("123456789012345678901").fits(&event));
        assert!(!only("123456789012345678902").fits(&event));
        assert_eq!(only("1").mended("a", &event).unwrap(), br#"{"a":[{"associatedValue":1.10}]}"#);
    }
}
