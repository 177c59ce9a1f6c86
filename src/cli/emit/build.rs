//! From `key=value` words to an event. Pure.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use bytes::Bytes;
use serde_json::Value;
use uuid::Uuid;

use super::build_error::BuildError;
use super::lossy;
use super::names::Names;
use super::value::typed;
use crate::config::nearest;
use crate::event::{EventType, Field, FieldKind, RawObject, RawObjectError, is_utf16, one_line, raw_text};

/// What an event is made of.
#[derive(Clone, Debug)]
pub struct BuildInput<'a> {
    /// Array's name.
    pub array: &'a str,
    /// Its row of the table, if the table has it.
    pub known: Option<&'static EventType>,
    /// An object to start from.
    pub json: Option<&'a [u8]>,
    /// `key=value`, in order.
    pub words: &'a [OsString],
    /// `emit.source_id`
    pub source_id: Option<&'a str>,
    /// The map of names.
    pub names: Option<Names<'a>>,
    /// Used where the event has none.
    pub event_id: Uuid,
    /// Used where the event has none: RFC 3339.
    pub time: &'a str,
}

/// A built event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Built {
    /// Its id.
    pub event_id: String,
    /// A line for the stream socket, without a line feed.
    pub line: Bytes,
    /// Keys of the texts in which bytes that are no UTF-8 were replaced by U+FFFD.
    pub replaced: Vec<String>,
}

/// Makes the event. What is in `--from-json` keeps its bytes.
///
/// # Errors
/// See [`BuildError`].
pub fn build(input: &BuildInput<'_>) -> Result<Built, BuildError> {
    let mut replaced = Vec::new();
    let mut event = match input.json {
        None => RawObject::default(),
        Some(json) => start_from(json, input.known, &mut replaced)?,
    };
    for word in input.words {
        let word = word.as_bytes();
        let Some(at) = word.iter().position(|byte| *byte == b'=') else {
            return Err(BuildError::NotAPair(String::from_utf8_lossy(word).into_owned()));
        };
        let key = std::str::from_utf8(&word[..at])
            .map_err(|_| BuildError::KeyNotUtf8(String::from_utf8_lossy(&word[..at]).into_owned()))?;
        let kind = input.known.map(|known| kind_of(key, known)).transpose()?;
        let value = match std::str::from_utf8(&word[at + 1..]) {
            Ok(value) => typed(key, value, kind, input.names)?,
            Err(_) if lossy::is_free_text(key, kind) => {
                replaced.push(key.to_owned());
                typed(key, &String::from_utf8_lossy(&word[at + 1..]), kind, None)?
            }
            Err(_) => return Err(BuildError::NotUtf8(key.to_owned())),
        };
        event.set(key, value).map_err(BuildError::NoObject)?;
    }
    let is_missing = |event: &RawObject, name: &str| event.get(name).is_none_or(|value| value == "null");
    let mut fill = |name: &str, value: &str| match is_missing(&event, name) {
        true => event.set_text(name, value).map_err(BuildError::NoObject),
        false => Ok(()),
    };
    fill("eventId", &input.event_id.to_string())?;
    fill("eventDateTime", input.time)?;
    if let (Some(source_id), Some(known)) = (input.source_id, input.known) {
        fill_source(&mut event, known.fields, source_id)?;
    }
    let event_id = event.get("eventId").and_then(|id| serde_json::from_str(&id).ok()).unwrap_or_default();
    let line = Bytes::from(format!("{{{}:[{event}]}}", raw_text(input.array)));
    Ok(Built { event_id, line: one_line(&line), replaced })
}

/// The object of `--from-json`.
fn start_from(
    json: &[u8],
    known: Option<&'static EventType>,
    replaced: &mut Vec<String>,
) -> Result<RawObject, BuildError> {
    if is_utf16(json) {
        return Err(BuildError::Utf16);
    }
    let json = json.strip_prefix(b"\xef\xbb\xbf").unwrap_or(json);
    let text = String::from_utf8_lossy(json);
    let event = RawObject::parse(&text).map_err(|error| BuildError::BadJson(error.to_string()))?;
    if matches!(text, std::borrow::Cow::Owned(_)) {
        let parsed: Value =
            serde_json::from_str(&text).map_err(|error| BuildError::BadJson(error.to_string()))?;
        lossy::find_replaced(&parsed, known.map(|known| known.fields), replaced)
            .map_err(BuildError::NotUtf8)?;
    }
    Ok(event)
}

/// Where the type has a `sourceId`: at the top, or in an object that is there or must be.
fn fill_source(event: &mut RawObject, fields: &[Field], source_id: &str) -> Result<(), BuildError> {
    for field in fields {
        let path = match field.kind {
            FieldKind::Object(inside) if inside.iter().any(|field| field.name == "sourceId") => {
                let found = event.get(field.name);
                let is_wanted = found.map_or(field.required, |found| found.starts_with('{'));
                if !is_wanted {
                    continue;
                }
                format!("{}.sourceId", field.name)
            }
            _ if field.name == "sourceId" => "sourceId".to_owned(),
            _ => continue,
        };
        if event.get(&path).is_none() {
            event.set_text(&path, source_id).map_err(BuildError::NoObject)?;
        }
    }
    Ok(())
}

/// What a dotted key may hold.
fn kind_of(key: &str, known: &'static EventType) -> Result<FieldKind, BuildError> {
    let mut fields = known.fields;
    let mut steps = key.split('.').peekable();
    while let Some(step) = steps.next() {
        let Some(field) = fields.iter().find(|field| field.name == step) else {
            let names: Vec<&str> = fields.iter().map(|field| field.name).collect();
            let near = nearest(step, names.iter().copied());
            return Err(BuildError::UnknownField {
                array: known.array.to_owned(),
                key: key.to_owned(),
                near: near.map(|near| format!("did you mean {near}? ")).unwrap_or_default(),
                all: format!("the fields are {}", names.join(", ")),
            });
        };
        match (steps.peek(), field.kind) {
            (None, kind) => return Ok(kind),
            (Some(_), FieldKind::Object(inside)) => fields = inside,
            (Some(_), FieldKind::TextMap) => return Ok(FieldKind::Text),
            (Some(_), _) => return Err(BuildError::NoObject(RawObjectError::NoObject(key.to_owned()))),
        }
    }
    Ok(FieldKind::Text)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::value::stable_id;
    use super::*;
    use crate::event::{Catalogue, catalogue};

    fn made(array: &str, words: &[&str], source_id: Option<&str>) -> Result<Value, BuildError> {
        let words: Vec<OsString> = words.iter().map(OsString::from).collect();
        let known = catalogue::by_name(array);
        let input = BuildInput {
            array,
            known,
            json: None,
            words: &words,
            source_id,
            names: None,
            event_id: Uuid::from_u128(7),
            time: "2026-07-01T12:00:00.000Z",
        };
        let line = build(&input)?.line;
        Ok(serde_json::from_slice::<Value>(&line).unwrap()[array][0].clone())
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
        assert!(said(&["agentID=x"]).contains("did you mean agentId?"));
        assert!(
            said(&["bogus=x"]).starts_with("userRoutingStatusEvents has no field \"bogus\"; the fields are")
        );
        assert!(said(&["agentId=uuid:"]).starts_with("agentId: uuid: needs"));
        assert!(said(&["agentId="]).starts_with("agentId: the id is empty"));
        assert!(said(&["agentId=uuid: "]).starts_with("agentId: uuid: needs"));
        assert!(said(&["agent=uuid:x"]).contains("did you mean agentId?"));
        let wrong = said(&["status=Bored"]);
        assert!(wrong.contains("\"Bored\"") && wrong.contains("Idle"), "{wrong}");
        assert!(said(&["agentId.x=1"]).contains("not an object"));
    }

    #[test]
    fn numbers_and_what_came_as_json_keep_their_bytes() {
        let known = catalogue::by_name("customKpiAttributionEvents");
        let words = [OsString::from("associatedValue=1.10")];
        let json = "\u{feff}{\"more\":[1e400,\n123456789012345678901],\"kpiId\":\"k\"}";
        let input = BuildInput {
            array: "customKpiAttributionEvents",
            known,
            json: Some(json.as_bytes()),
            words: &words,
            source_id: None,
            names: None,
            event_id: Uuid::from_u128(7),
            time: "2026-07-01T12:00:00.000Z",
        };

        let line = build(&input).unwrap().line;

        let line = std::str::from_utf8(&line).unwrap();
        assert!(
            line.contains(r#""more":[1e400, 123456789012345678901],"kpiId":"k","associatedValue":1.10,"#),
            "{line}"
        );
        let twice = BuildInput { json: Some(br#"{"a":1,"a":2}"#), ..input };
        assert!(build(&twice).unwrap_err().to_string().contains("\"a\" appears twice"));
    }

    #[test]
    fn bytes_that_are_no_utf_8_are_replaced_in_free_text_and_refused_elsewhere() {
        let known = catalogue::by_name("externalEstablishedEvents");
        let made = |word: &[u8], json: Option<&[u8]>| {
            let words = [OsString::from(std::ffi::OsStr::from_bytes(word))];
            build(&BuildInput {
                array: "externalEstablishedEvents",
                known,
                json,
                words: &words,
                source_id: None,
                names: None,
                event_id: Uuid::from_u128(7),
                time: "2026-07-01T12:00:00.000Z",
            })
        };

        let name = made(b"aniName=J\xf6rg", None).unwrap();
        let json = made(b"ani=1", Some(b"{\"initialConfiguration\":{\"additionalInfo\":{\"n\":\"\xf6\"}}}"))
            .unwrap();

        assert_eq!(name.replaced, ["aniName"]);
        assert!(std::str::from_utf8(&name.line).unwrap().contains("\"aniName\":\"J\u{fffd}rg\""));
        assert_eq!(json.replaced, ["initialConfiguration.additionalInfo.n"]);
        for word in [
            &b"conversationId=\xf6"[..],
            b"sourceConfiguration.interactionId=\xf6",
            b"conversationId=uuid:\xf6",
        ] {
            let key =
                std::str::from_utf8(&word[..word.iter().position(|byte| *byte == b'=').unwrap()]).unwrap();
            assert_eq!(made(word, None), Err(BuildError::NotUtf8(key.to_owned())));
        }
        assert_eq!(
            made(b"ani=1", Some(b"{\"conversationId\":\"\xf6\"}")),
            Err(BuildError::NotUtf8("conversationId".to_owned()))
        );
        assert!(matches!(made(b"\xf6=1", None), Err(BuildError::KeyNotUtf8(_))));
    }
}
