//! From `key=value` words to an event. Pure.

use serde_json::{Map, Value};
use uuid::Uuid;

use crate::event::{EventType, Field, FieldKind};

/// Namespace of `uuid:TEXT`: any fixed UUID; changing it changes every id.
const NAMESPACE: Uuid = Uuid::from_u128(0x7e5a_3c1e_9b0d_4f6a_8c21_d5e4_f3b2_a190);

/// What an event is made of.
#[derive(Clone, Debug)]
pub struct BuildInput<'a> {
    /// Array's name.
    pub array: &'a str,
    /// Its row of the table, if the table has it.
    pub known: Option<&'static EventType>,
    /// An object to begin with.
    pub json: Option<&'a str>,
    /// `key=value`, in order.
    pub words: &'a [String],
    /// `emit.source_id`
    pub source_id: Option<&'a str>,
    /// Used where the event has none.
    pub event_id: Uuid,
    /// Used where the event has none: RFC 3339.
    pub time: &'a str,
}

/// What is wrong with a word, what is allowed, in one line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// No `=` in it.
    #[error("{0:?} is not key=value")]
    NotAPair(String),
    /// The type has no such field.
    #[error("{array} has no field {key:?}; {near}{all}; a field newer than this build goes into --from-json")]
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
    #[error("{key}: found {found:?}, allowed is {allowed}")]
    BadValue {
        /// Field.
        key: String,
        /// As it was given.
        found: String,
        /// In words.
        allowed: String,
    },
    /// The key leads through something that is no object.
    #[error("{0}: a part of this key is a value already")]
    NoObject(String),
    /// `--from-json` is no object.
    #[error("--from-json: not a JSON object: {0}")]
    BadJson(String),
}

/// A built event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Built {
    /// Its id.
    pub event_id: String,
    /// A line for the stream socket, without a line feed.
    pub line: String,
}

/// Makes the event.
///
/// # Errors
/// See [`BuildError`].
pub fn build(input: &BuildInput<'_>) -> Result<Built, BuildError> {
    let mut event = match input.json {
        None => Map::new(),
        Some(text) => match serde_json::from_str(text) {
            Ok(Value::Object(event)) => event,
            Ok(_) => return Err(BuildError::BadJson("it is of another kind".to_owned())),
            Err(error) => return Err(BuildError::BadJson(error.to_string())),
        },
    };
    for word in input.words {
        let (key, value) = word.split_once('=').ok_or_else(|| BuildError::NotAPair(word.clone()))?;
        put(&mut event, key, value, input)?;
    }
    let is_missing = |event: &Map<String, Value>, name: &str| event.get(name).is_none_or(Value::is_null);
    if is_missing(&event, "eventId") {
        event.insert("eventId".to_owned(), input.event_id.to_string().into());
    }
    if is_missing(&event, "eventDateTime") {
        event.insert("eventDateTime".to_owned(), input.time.into());
    }
    if let (Some(source_id), Some(known)) = (input.source_id, input.known) {
        fill_source(&mut event, known.fields, source_id);
    }
    let event_id = event["eventId"].as_str().unwrap_or_default().to_owned();
    let mut body = Map::new();
    body.insert(input.array.to_owned(), Value::Array(vec![Value::Object(event)]));
    Ok(Built { event_id, line: Value::Object(body).to_string() })
}

/// Where the type has a `sourceId`: at the top, or in an object that is there or must be.
fn fill_source(event: &mut Map<String, Value>, fields: &[Field], source_id: &str) {
    for field in fields {
        match field.kind {
            FieldKind::Object(inside) if inside.iter().any(|field| field.name == "sourceId") => {
                if !field.required && !event.contains_key(field.name) {
                    continue;
                }
                let part = event.entry(field.name).or_insert_with(|| Value::Object(Map::new()));
                if let Value::Object(part) = part {
                    part.entry("sourceId").or_insert_with(|| source_id.into());
                }
            }
            _ if field.name == "sourceId" => {
                event.entry("sourceId").or_insert_with(|| source_id.into());
            }
            _ => {}
        }
    }
}

fn put(
    event: &mut Map<String, Value>,
    key: &str,
    value: &str,
    input: &BuildInput<'_>,
) -> Result<(), BuildError> {
    let value = match value.strip_prefix("uuid:") {
        Some(text) => Value::from(stable_id(text).to_string()),
        None => typed(key, value, input)?,
    };
    let mut steps = key.split('.').peekable();
    let mut place = event;
    while let Some(step) = steps.next() {
        if steps.peek().is_none() {
            place.insert(step.to_owned(), value);
            return Ok(());
        }
        let next = place.entry(step).or_insert_with(|| Value::Object(Map::new()));
        let Value::Object(next) = next else { return Err(BuildError::NoObject(key.to_owned())) };
        place = next;
    }
    Ok(())
}

/// An id that is the same for the same text, in the shape of version 4 that the API asks for.
pub fn stable_id(text: &str) -> Uuid {
    uuid::Builder::from_random_bytes(Uuid::new_v5(&NAMESPACE, text.as_bytes()).into_bytes()).into_uuid()
}

/// The value as its field wants it; of an array that the table does not have, as text.
fn typed(key: &str, value: &str, input: &BuildInput<'_>) -> Result<Value, BuildError> {
    let Some(known) = input.known else { return Ok(value.into()) };
    let kind = kind_of(key, known)?;
    let bad = || BuildError::BadValue {
        key: key.to_owned(),
        found: value.to_owned(),
        allowed: super::describe::kind(&kind),
    };
    match kind {
        FieldKind::Bool => value.parse::<bool>().map(Value::from).map_err(|_| bad()),
        FieldKind::Number => match serde_json::from_str(value) {
            Ok(number @ Value::Number(_)) => Ok(number),
            _ => Err(bad()),
        },
        FieldKind::TextList => Ok(value.split(',').map(str::trim).collect()),
        FieldKind::Enum(values) if !values.contains(&value) => Err(bad()),
        FieldKind::Object(_) | FieldKind::TextMap => Err(bad()),
        FieldKind::Text | FieldKind::Uuid4 | FieldKind::Uuid | FieldKind::Time | FieldKind::Enum(_) => {
            Ok(value.into())
        }
    }
}

/// What a dotted key may hold.
fn kind_of(key: &str, known: &'static EventType) -> Result<FieldKind, BuildError> {
    let mut fields = known.fields;
    let mut steps = key.split('.').peekable();
    while let Some(step) = steps.next() {
        let Some(field) = fields.iter().find(|field| field.name == step) else {
            let names: Vec<&str> = fields.iter().map(|field| field.name).collect();
            let near = names
                .iter()
                .max_by(|a, b| strsim::jaro_winkler(step, a).total_cmp(&strsim::jaro_winkler(step, b)));
            return Err(BuildError::UnknownField {
                array: known.array.to_owned(),
                key: key.to_owned(),
                near: near.map(|near| format!("the nearest is {near}; ")).unwrap_or_default(),
                all: format!("there are {}", names.join(", ")),
            });
        };
        match (steps.peek(), field.kind) {
            (None, kind) => return Ok(kind),
            (Some(_), FieldKind::Object(inside)) => fields = inside,
            (Some(_), FieldKind::TextMap) => return Ok(FieldKind::Text),
            (Some(_), _) => return Err(BuildError::NoObject(key.to_owned())),
        }
    }
    Ok(FieldKind::Text)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::event::{Catalogue, catalogue};

    fn made(array: &str, words: &[&str], source_id: Option<&str>) -> Result<Value, BuildError> {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        let known = catalogue::types().iter().find(|known| known.array == array);
        let input = BuildInput {
            array,
            known,
            json: None,
            words: &words,
            source_id,
            event_id: Uuid::from_u128(7),
            time: "2026-07-01T12:00:00.000Z",
        };
        let line = build(&input)?.line;
        Ok(serde_json::from_str::<Value>(&line).unwrap()[array][0].clone())
    }

    #[test]
    fn words_become_what_their_fields_want() {
        let event = made(
            "phoneEstablishedEvents",
            &[
                "conversationId=uuid:call-1",
                "initialConfiguration.audioState.canHear=true",
                "initialConfiguration.additionalInfo.ward=7",
            ],
            Some("s"),
        );

        let event = event.unwrap();
        assert_eq!(
            event["initialConfiguration"],
            json!({"audioState": {"canHear": true}, "additionalInfo": {"ward": "7"}})
        );
        assert_eq!(event["eventDateTime"], "2026-07-01T12:00:00.000Z");
        let id: Uuid = event["conversationId"].as_str().unwrap().parse().unwrap();
        assert_eq!((id, id.get_version_num()), (stable_id("call-1"), 4));
    }

    #[test]
    fn the_configured_source_is_filled_in_where_the_type_has_one() {
        for known in catalogue::types() {
            let has_one = |fields: &[Field]| fields.iter().any(|field| field.name == "sourceId");
            let event = made(known.array, &[], Some("pbx")).unwrap();

            if has_one(known.fields) {
                assert_eq!(event["sourceId"], "pbx", "{}", known.array);
            }
            for field in known.fields.iter().filter(|field| field.required) {
                if let FieldKind::Object(inside) = field.kind
                    && has_one(inside)
                {
                    assert_eq!(event[field.name]["sourceId"], "pbx", "{}", known.array);
                }
            }
        }
        assert!(Catalogue::new(&[]).find("userPresenceEvents").is_some());
    }

    #[test]
    fn mistakes_are_named_with_what_is_allowed() {
        let said = |words: &[&str]| made("userRoutingStatusEvents", words, None).unwrap_err().to_string();

        assert!(said(&["status"]).contains("not key=value"));
        assert!(said(&["agentID=x"]).contains("the nearest is agentId"));
        let wrong = said(&["status=Bored"]);
        assert!(wrong.contains("\"Bored\"") && wrong.contains("Idle"), "{wrong}");
        assert!(said(&["agentId.x=1"]).contains("value already"));
    }
}
