//! Which dead letters are meant, and how they are mended. Pure.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::event::one_line;
use crate::queue::{DeadLetter, EventIds};

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

/// A field that gets another value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mend {
    /// Field's name; dots nest.
    pub field: String,
    /// What it gets, as it was written. Where the field holds a text, a text; else JSON if it is that.
    pub value: String,
}

impl Mend {
    fn value_for(&self, before: Option<&Value>) -> Value {
        match before {
            Some(Value::String(_)) => Value::String(self.value.clone()),
            _ => serde_json::from_str(&self.value).unwrap_or_else(|_| Value::String(self.value.clone())),
        }
    }
}

/// What to do with which dead letters.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LettersRequest {
    /// Which.
    pub filter: Filter,
    /// Fields that get another value before the event is accepted anew.
    pub set: Vec<Mend>,
    /// Only where these fields have these values.
    #[serde(rename = "where")]
    pub only_where: Vec<Mend>,
    /// Says what would be done, and changes nothing.
    pub dry_run: bool,
}

impl LettersRequest {
    /// Whether the event has the values that are asked for.
    pub(super) fn fits(&self, event: &Value) -> bool {
        self.only_where.iter().all(|wanted| {
            let found = wanted.field.split('.').try_fold(event, |at, name| at.get(name));
            found.is_some_and(|found| *found == wanted.value_for(Some(found)))
        })
    }

    /// A line with the event as it is to be accepted, in its array. `None` if a field's way leads through
    /// something that is no object.
    pub(super) fn mended(&self, array: &str, body: &Bytes, event: &Value) -> Option<Vec<u8>> {
        let body = if self.set.is_empty() {
            one_line(body).to_vec()
        } else {
            let mut event = event.clone();
            for mend in &self.set {
                let names: Vec<&str> = mend.field.split('.').collect();
                let (last, way) = names.split_last()?;
                let mut at = &mut event;
                for name in way {
                    let object = at.as_object_mut()?;
                    at = object.entry(*name).or_insert_with(|| Value::Object(serde_json::Map::new()));
                }
                let object = at.as_object_mut()?;
                let value = mend.value_for(object.get(*last));
                object.insert((*last).to_owned(), value);
            }
            serde_json::to_vec(&event).ok()?
        };
        let mut line = format!("{{\"{array}\":[").into_bytes();
        line.extend_from_slice(&body);
        line.extend_from_slice(b"]}");
        Some(line)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn mend(field: &str, value: &str) -> Mend {
        Mend { field: field.to_owned(), value: value.to_owned() }
    }

    #[test]
    fn a_field_is_set_at_its_place_and_only_where_it_was_wrong() {
        let request = LettersRequest {
            set: vec![mend("sourceConfiguration.sourceId", "1002"), mend("held", "true")],
            only_where: vec![mend("sourceConfiguration.sourceId", "1001")],
            ..LettersRequest::default()
        };
        let event = json!({"eventId": "x", "sourceConfiguration": {"sourceId": "1001", "more": 1}});
        let other = json!({"eventId": "y", "sourceConfiguration": {"sourceId": "other"}});

        let line = request.mended("holdUpdatedEvents", &event.to_string().into(), &event).unwrap();

        assert!(request.fits(&event));
        assert!(!request.fits(&other));
        let line: Value = serde_json::from_slice(&line).unwrap();
        let wanted =
            json!({"eventId": "x", "sourceConfiguration": {"sourceId": "1002", "more": 1}, "held": true});
        assert_eq!(line, json!({"holdUpdatedEvents": [wanted]}));
    }

    #[test]
    fn a_way_through_something_that_is_no_object_is_refused() {
        let request = LettersRequest { set: vec![mend("eventId.deep", "1")], ..LettersRequest::default() };
        let event = json!({"eventId": "x"});

        assert_eq!(request.mended("a", &event.to_string().into(), &event), None);
    }
}
