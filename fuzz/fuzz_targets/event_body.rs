//! What `parse_body` takes is what came, as promised, and taken again it is the same; what it refuses is
//! named without a word of the content.
//!
//! Input: flags (1 byte) · the body. Flags: bit 0, unknown fields are refused; bit 1, events have at most
//! 120 bytes; bit 2, the body is composed after what follows.

#![no_main]

mod compose;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use bytes::Bytes;
use jiff::Timestamp;
use libfuzzer_sys::arbitrary::Unstructured;
use libfuzzer_sys::fuzz_target;
use serde_json::value::RawValue;
use trunkline::event::{answer, Array, BodyError, Catalogue, Door, Envelope, EventIds, ExtraArray, FieldKind, Key, Lane, one_line, parse_body, ParsedBody, Receipt, Refusal, Rules, UnknownRule};
use uuid::Uuid;

const NOW_MS: i64 = 1_790_000_000_000;

static CATALOGUE: LazyLock<Catalogue> = LazyLock::new(|| {
    let extra = |name: &str, key: Option<&str>| ExtraArray {
        name: name.into(),
        lane: Lane::Presence,
        key: key.map(str::to_owned),
    };
    Catalogue::new(&[extra("newEvents", Some("roomId")), extra("loneEvents", None)])
});

type Fields<'a> = BTreeMap<String, &'a RawValue>;

fuzz_target!(|input: &[u8]| {
    let Some((flags, body)) = input.split_first() else { return };
    let rules = Rules {
        max_event: if flags & 2 == 0 { 40_000 } else { 120 },
        unknown: if flags & 1 == 0 { UnknownRule::Forward } else { UnknownRule::Refuse },
    };
    let body = match flags & 4 {
        0 => Bytes::copy_from_slice(body),
        _ => compose::body(&mut Unstructured::new(body)).unwrap_or_default().into(),
    };
    match parse(&body, &rules, NOW_MS) {
        Ok(parsed) => check_parsed(&body, &rules, &parsed),
        Err(error) => check_error(&body, &error),
    }
});

fn receipt(now_ms: i64) -> Receipt {
    Receipt { now_ms, door: Door::Stream, uid: 7 }
}

fn parse(body: &Bytes, rules: &Rules, now_ms: i64) -> Result<ParsedBody, BodyError> {
    let mut given = 0x4000_8000_0000_0000_0000;
    let mut fill = || {
        given += 1;
        Uuid::from_u128(given)
    };
    parse_body(body, &CATALOGUE, rules, &receipt(now_ms), &mut fill)
}

fn check_error(body: &[u8], error: &BodyError) {
    assert_eq!(matches!(error, BodyError::NotUtf8 { .. } | BodyError::Utf16), std::str::from_utf8(body).is_err());
    check_line(&error.error_body().to_bytes());
}

fn check_parsed(body: &Bytes, rules: &Rules, parsed: &ParsedBody) {
    let arrays: BTreeMap<String, Vec<&RawValue>> = serde_json::from_slice(body).unwrap();
    assert_eq!(parsed.events.len() + parsed.refused.len(), arrays.values().map(Vec::len).sum::<usize>());
    assert_eq!(parsed.events.len(), parsed.indexes.len());
    assert!(parsed.events.is_sorted_by_key(|event| event.event_time_ms));
    let ahead = parsed.events.iter().filter(|event| event.event_time_ms > NOW_MS + 120_000);
    assert_eq!(parsed.ahead, ahead.count());
    assert!(rules.unknown == UnknownRule::Forward || parsed.unknown.is_empty());
    let known = arrays.iter().filter(|(_, events)| !events.is_empty());
    let known = known.filter_map(|(name, _)| CATALOGUE.find(name));
    assert!(known.clone().all(|entry| parsed.lanes.contains(&entry.lane())));
    assert!(parsed.lanes.iter().all(|lane| known.clone().any(|entry| entry.lane() == *lane)));

    let mut assigned = parsed.assigned.clone();
    for (event, index) in parsed.events.iter().zip(&parsed.indexes) {
        let text = arrays[event.array.name()][*index].get();
        assert!(text.len() <= rules.max_event);
        check_event(body, text, event, &mut assigned);
        check_again(event, rules.unknown);
    }
    assert!(assigned.is_empty(), "ids were assigned that no event has");
    for refusal in &parsed.refused {
        check_refusal(refusal, &arrays);
    }
    check_line(&answer::stream(&parsed.refused, &parsed.assigned));
    check_line(&answer::http(&parsed.refused));
}

/// An event stands for `text`: byte for byte, but for an id or time that was filled in or spelled anew.
fn check_event(body: &Bytes, text: &str, event: &Envelope, assigned: &mut Vec<Uuid>) {
    let entry = CATALOGUE.find(event.array.name()).unwrap();
    assert_eq!((event.lane, &event.array), (entry.lane(), &entry.array()));
    assert_eq!((event.accepted_at_ms, event.door, event.uid), (NOW_MS, Door::Stream, 7));
    let came: Fields<'_> = serde_json::from_str(text).unwrap();
    let left: Fields<'_> = serde_json::from_slice(&event.body).unwrap();
    for (name, value) in &came {
        let is_filled_in = value.get() == "null" && (name == "eventId" || name == "eventDateTime");
        let is_same = left[name].get() == value.get();
        assert!(is_same || is_filled_in || name == "eventDateTime", "{name} was changed");
    }
    assert!(left.keys().all(|name| came.contains_key(name) || name == "eventId" || name == "eventDateTime"));
    if event.body.len() == text.len() && event.body == text.as_bytes() {
        assert!(body.as_ptr_range().contains(&event.body.as_ptr()), "an unchanged event was copied");
    }

    let id: Uuid = string(&left, "eventId").unwrap().parse().unwrap();
    assert_eq!(id, event.event_id);
    let is_v4_asked = match &event.array {
        Array::Known(known) => {
            known.0.fields.iter().any(|field| field.name == "eventId" && field.kind == FieldKind::Uuid4)
        }
        Array::Extra(_) => false,
    };
    assert!(!is_v4_asked || id.get_version_num() == 4);
    if string(&came, "eventId").is_none() {
        assigned.remove(assigned.iter().position(|given| *given == id).unwrap());
    }
    check_time(&came, &left, event.event_time_ms);

    let keys = match &event.array {
        Array::Known(_) => &["conversationId", "userId", "agentId"][..],
        Array::Extra(name) if &**name == "newEvents" => &["roomId"],
        Array::Extra(_) => &[],
    };
    let key = keys.iter().find_map(|key| string(&came, key).filter(|id| !id.is_empty()));
    assert_eq!(event.key, key.map_or_else(|| Key::alone(id), |id| Key::of_id(&id)));

    let ids = EventIds::of_body(&event.body);
    let nested = left.get("sourceConfiguration").and_then(|nested| serde_json::from_str(nested.get()).ok());
    let nested: Fields<'_> = nested.unwrap_or_default();
    let interaction = string(&left, "interactionId").or_else(|| string(&nested, "interactionId"));
    let listed = [
        (string(&left, "conversationId"), ids.conversation),
        (string(&left, "communicationId"), ids.communication),
        (interaction, ids.interaction),
        (string(&left, "userId"), ids.user),
        (string(&left, "agentId"), ids.agent),
    ];
    for (given, found) in listed {
        assert_eq!(given.as_deref(), found.as_deref(), "{:?}", event.body);
    }
}

fn check_time(came: &Fields<'_>, left: &Fields<'_>, time_ms: i64) {
    let text = string(left, "eventDateTime").unwrap();
    assert!(text.ends_with('Z') && matches!(text.len(), 20 | 24), "{text}");
    match text.parse::<Timestamp>() {
        Ok(time) => assert_eq!(time.as_millisecond(), time_ms),
        // The last hours of the calendar, which jiff leaves out.
        Err(_) => assert!(text.starts_with("9999-12-3"), "{text}"),
    }
    match string(came, "eventDateTime") {
        None => assert_eq!(time_ms, NOW_MS),
        Some(given) => {
            let given = given.parse::<Timestamp>().ok();
            let given_ms = given.map(|time| time.as_nanosecond().div_euclid(1_000_000));
            assert!(given_ms.is_none_or(|given| given == i128::from(time_ms)));
        }
    }
}

/// Taken again, by a door of another time and without a limit, an event is itself: whole or on one line.
fn check_again(event: &Envelope, unknown: UnknownRule) {
    let line = one_line(&event.body);
    assert!(!line.iter().any(|byte| matches!(byte, b'\n' | b'\r')));
    assert_eq!(line.len(), event.body.len());
    for body in [&event.body, &line] {
        let again = [format!("{{\"{}\":[", event.array).as_bytes(), body, b"]}"].concat();
        let rules = Rules { max_event: usize::MAX, unknown };
        let parsed = parse(&again.into(), &rules, NOW_MS + 3_600_000).unwrap();
        assert!(parsed.assigned.is_empty() && parsed.refused.is_empty());
        let expected = Envelope { accepted_at_ms: NOW_MS + 3_600_000, body: body.clone(), ..event.clone() };
        assert_eq!(parsed.events, [expected]);
    }
}

fn check_refusal(refusal: &Refusal, arrays: &BTreeMap<String, Vec<&RawValue>>) {
    let Refusal { event_id, message, array, index, .. } = refusal;
    assert!(message.starts_with(&format!("{array}[{index}]: ")), "{message}");
    assert!(message.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{message}");
    assert!(message.len() < 40_000);
    assert!(event_id.as_ref().is_none_or(|id| id.len() <= 128));
    assert!(arrays.get(array).is_some_and(|events| *index < events.len()) || array == "unknown");
}

/// An answer is JSON on one line.
fn check_line(answer: &[u8]) {
    let _: serde_json::Value = serde_json::from_slice(answer).unwrap();
    assert!(!answer.contains(&b'\n'));
}

fn string(fields: &Fields<'_>, name: &str) -> Option<String> {
    serde_json::from_str(fields.get(name)?.get()).ok()
}
