//! Every type of the table, full, with each field missing, and with each field wrong.

use bytes::Bytes;
use proptest::prelude::{Strategy as _, any, prop, prop_oneof, proptest};
use serde_json::{Map, Value, json};
use trunkline::event::{
    BodyError, Catalogue, CatalogueEntry, Door, EventType, ExtraArray, Field, FieldKind, Key, Lane,
    ParsedBody, Receipt, Rules, UnknownKind, UnknownRule, answer, catalogue, one_line, parse_body,
};
use uuid::Uuid;

const ID: &str = "5a3b0e5c-6c0e-4f6a-9d5e-0123456789ab";
const FILLED: Uuid = Uuid::from_u128(0x1111_1111_1111_4111_8111_1111_1111_1111);
const NOW_MS: i64 = 1_782_907_200_000;

fn full(kind: &FieldKind) -> Value {
    match kind {
        FieldKind::Text => json!("text"),
        FieldKind::Uuid | FieldKind::Uuid4 => json!(ID),
        FieldKind::Time => json!("2026-07-01T12:00:00.000Z"),
        FieldKind::Bool => json!(true),
        FieldKind::Number => json!(1.5),
        FieldKind::Enum(values) => json!(values[0]),
        FieldKind::TextList => json!(["one", "two"]),
        FieldKind::TextMap => json!({"one": "1"}),
        FieldKind::Object(fields) => full_object(fields),
    }
}

fn full_object(fields: &[Field]) -> Value {
    fields.iter().map(|field| (field.name.to_owned(), full(&field.kind))).collect::<Map<_, _>>().into()
}

fn parse_under(rule: UnknownRule, body: impl Into<Bytes>) -> Result<ParsedBody, BodyError> {
    let extra = ExtraArray { name: "newEvents".into(), lane: Lane::Presence, key: Some("deskId".into()) };
    let rules = Rules { max_event: 40_000, unknown: rule };
    let receipt = Receipt { now_ms: NOW_MS, door: Door::Stream, uid: 7 };
    parse_body(&body.into(), &Catalogue::new(&[extra]), &rules, &receipt, &mut || FILLED)
}

fn parse(body: impl Into<Bytes>) -> Result<ParsedBody, BodyError> {
    parse_under(UnknownRule::Forward, body)
}

fn refused(row: &EventType, event: &Value) -> String {
    let body = json!({row.array: [event]}).to_string();
    let parsed = parse_under(UnknownRule::Refuse, body).unwrap();
    assert!(parsed.events.is_empty(), "{}: {event} was taken", row.array);
    let message = parsed.refused[0].message.clone();
    assert!(message.starts_with(&format!("{}[0]: ", row.array)), "{message}");
    message
}

fn presence(changes: &str) -> String {
    format!(
        r#"{{"userPresenceEvents":[{{"eventId":"{ID}","eventDateTime":"2026-07-01T12:00:00Z","userId":"u1","sourceId":"{ID}"{changes}}}]}}"#
    )
}

/// Paths of all fields, through objects.
fn paths(fields: &'static [Field]) -> Vec<(String, &'static Field)> {
    let mut all = Vec::new();
    for field in fields {
        all.push((format!("/{}", field.name), field));
        if let FieldKind::Object(inner) = field.kind {
            all.extend(
                paths(inner).into_iter().map(|(path, inner)| (format!("/{}{path}", field.name), inner)),
            );
        }
    }
    all
}

fn dotted(path: &str) -> String {
    path[1..].replace('/', ".")
}

#[test]
fn a_full_event_of_every_type_passes_untouched() {
    assert_eq!(catalogue::types().len(), 35);
    for row in catalogue::types() {
        let event = full_object(row.fields).to_string();
        let body = Bytes::from(format!(r#"{{"{}":[ {event} ]}}"#, row.array));

        let parsed = parse_under(UnknownRule::Refuse, body.clone()).unwrap();

        assert_eq!(parsed.refused, [], "{}", row.array);
        assert_eq!(parsed.events[0].body, event);
        assert!(body.as_ptr_range().contains(&parsed.events[0].body.as_ptr()), "copied: {}", row.array);
        assert_eq!((parsed.events[0].lane, parsed.lanes.as_slice()), (row.lane, &[row.lane][..]));
    }
}

#[test]
fn each_missing_or_null_required_field_is_refused_by_name() {
    for row in catalogue::types() {
        for (path, field) in paths(row.fields) {
            let (parent, name) = path.rsplit_once('/').unwrap();
            if !field.required || matches!(path.as_str(), "/eventId" | "/eventDateTime") {
                continue;
            }
            let mut without = full_object(row.fields);
            without.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(name);
            let mut null = full_object(row.fields);
            *null.pointer_mut(&path).unwrap() = Value::Null;

            for event in [without, null] {
                let message = refused(row, &event);
                assert!(message.contains(&format!("{}: missing", dotted(&path))), "{message}");
            }
        }
    }
}

#[test]
fn each_field_of_a_wrong_type_or_value_is_refused_by_name_without_its_content() {
    for row in catalogue::types() {
        for (path, field) in paths(row.fields) {
            let mut wrong = vec![json!([["SECRET"]])];
            match field.kind {
                FieldKind::Text => wrong.push(json!(1)),
                FieldKind::TextList => wrong.push(json!(["a", 1])),
                FieldKind::TextMap => wrong.push(json!({"a": 1})),
                FieldKind::Object(_) => wrong.push(json!("SECRET")),
                _ => wrong.push(json!("SECRET")),
            }
            for value in wrong {
                let mut event = full_object(row.fields);
                *event.pointer_mut(&path).unwrap() = value;

                let message = refused(row, &event);

                assert!(message.contains(&dotted(&path)), "{path}: {message}");
                assert!(!message.contains("SECRET"), "{message}");
            }
        }
    }
}

#[test]
fn a_null_optional_field_passes_as_it_came() {
    let body = presence(r#","message":null"#);

    let parsed = parse(body).unwrap();

    assert!(parsed.events[0].body.ends_with(br#""message":null}"#));
}

#[test]
fn unknown_fields_and_values_are_let_through_and_reported() {
    let body = format!(
        r#"{{"userRoutingStatusEvents":[{{"eventId":"{ID}","eventDateTime":"2026-07-01T12:00:00Z","agentId":"a","status":"Napping","sourceId":"s","mood":{{"x":1}},"+49 30 1":1}}]}}"#
    );

    let parsed = parse(body).unwrap();

    let found: Vec<_> = parsed.unknown.iter().map(|one| (one.field.as_str(), one.kind)).collect();
    assert_eq!(
        found,
        [("status", UnknownKind::Value), ("mood", UnknownKind::Field), ("a field", UnknownKind::Field)]
    );
    assert_eq!(parsed.events[0].key, Key::of_id("a"));
}

#[test]
fn a_missing_id_and_time_are_filled_in_at_the_front_and_nothing_else_moves() {
    let body = format!(r#"{{"userPresenceEvents":[{{ "userId" : "u1","sourceId":"{ID}"}}]}}"#);

    let parsed = parse(body).unwrap();

    let expected = format!(
        r#"{{"eventId":"{FILLED}","eventDateTime":"2026-07-01T12:00:00.000Z", "userId" : "u1","sourceId":"{ID}"}}"#
    );
    assert_eq!(parsed.events[0].body, expected);
    assert_eq!(parsed.assigned, [FILLED]);
    assert_eq!(
        answer::stream(&parsed.refused, &parsed.assigned),
        format!(r#"{{"errors":[],"assigned":["{FILLED}"]}}"#)
    );
}

#[test]
fn a_null_id_and_a_foreign_time_are_replaced_in_place() {
    let body =
        r#"{"newEvents":[{"eventId":null,"deskId":"d","eventDateTime":"2026-07-01T14:00:00.123456+02:00"}, {}],"userPresenceEvents":[]}"#
            .to_owned();

    let parsed = parse(body).unwrap();

    let expected =
        format!(r#"{{"eventId":"{FILLED}","deskId":"d","eventDateTime":"2026-07-01T12:00:00.123Z"}}"#);
    assert_eq!(parsed.events[1].body, expected);
    assert_eq!(parsed.events[1].key, Key::of_id("d"));
    assert_eq!(
        parsed.events[0].body,
        format!(r#"{{"eventId":"{FILLED}","eventDateTime":"2026-07-01T12:00:00.000Z"}}"#)
    );
}

#[test]
fn events_of_a_body_are_ordered_by_time_and_those_far_ahead_counted() {
    let times = ["2026-07-01T12:02:00.001Z", "2026-07-01T12:00:00Z", "2026-07-01T12:00:00.000Z"];
    let events: Vec<_> = times
        .iter()
        .enumerate()
        .map(|(n, time)| json!({"eventId": ID, "eventDateTime": time, "userId": n.to_string(), "sourceId": ID}))
        .collect();

    let parsed = parse(json!({"userPresenceEvents": events}).to_string()).unwrap();

    let keys: Vec<_> = parsed.events.iter().map(|event| event.key).collect();
    assert_eq!(keys, ["1", "2", "0"].map(Key::of_id));
    assert_eq!(parsed.ahead, 1);
}

#[test]
fn duplicates_surrogates_depth_and_size_are_refused_wherever_they_stand() {
    let deep = |levels: usize| format!(r#","x":{}{}"#, "[".repeat(levels), "]".repeat(levels));
    let cases = [
        (r#","userId":"u2""#.to_owned(), "duplicate_key"),
        (r#","user\u0049d":"u2""#.to_owned(), "duplicate_key"),
        (r#","x":[{"a":1,"\u0061":2}]"#.to_owned(), "duplicate_key"),
        (r#","x":"\ud800""#.to_owned(), "bad_text"),
        (r#","x":[{"\udc00":1}]"#.to_owned(), "bad_text"),
        (r#","message":"\ud800x""#.to_owned(), "bad_text"),
        (deep(32), "too_deep"),
        (deep(100_000), "too_large"),
        (r#","eventDateTime":3"#.to_owned(), "wrong_type"),
    ];
    assert_eq!(parse(presence(&deep(31))).unwrap().refused, []);
    for (changes, reason) in cases {
        let parsed = parse(presence(&changes)).unwrap();

        assert_eq!(parsed.events, [], "{reason}");
        assert_eq!(parsed.refused[0].reason, reason);
        assert_eq!(parsed.refused[0].event_id.as_deref(), Some(ID));
    }
}

#[test]
fn events_of_an_unknown_array_are_refused_one_by_one() {
    let body = format!(r#"{{"carEvents":[{{"eventId":"{ID}"}},5]}}"#);

    let parsed = parse(body).unwrap();

    let message = "unknown array";
    assert_eq!(
        answer::stream(&parsed.refused, &[]),
        format!(
            r#"{{"errors":[{{"eventId":"{ID}","message":"carEvents[0]: {message}","retryable":false,"array":"carEvents","index":0}},{{"eventId":null,"message":"carEvents[1]: {message}","retryable":false,"array":"carEvents","index":1}}]}}"#
        )
    );
}

#[test]
fn a_body_that_is_none_is_answered_as_a_whole() {
    let many = format!(r#"{{"carEvents":[{}1]}}"#, "1,".repeat(1_000));
    let cases = [
        ("{", "bad.request", 400),
        ("5", "bad.request", 400),
        (r#"{"a":{}}"#, "bad.request", 400),
        (r#"{"a":[1],"a":[1]}"#, "bad.request", 400),
        (r#"{"a":[1]} x"#, "bad.request", 400),
        ("{}", "zero.events.submitted", 400),
        (r#"{"a":[]}"#, "zero.events.submitted", 400),
        (many.as_str(), "request.entity.too.large", 413),
    ];
    for (body, code, status) in cases {
        let error = parse(body.to_owned()).unwrap_err().error_body();

        assert_eq!((error.code, error.status), (code, status), "{}", error.message);
    }
    assert_eq!(parse(vec![b'{', 0xff]).unwrap_err(), BodyError::NotUtf8 { at: 2 });
}

#[test]
fn the_id_of_a_kpi_event_may_be_a_uuid_of_any_version() {
    let id = "01890a5d-ac96-774b-bcce-b302099a8057";
    let body = |array: &str| {
        format!(
            r#"{{"{array}":[{{"eventId":"{id}","kpiId":"k","associatedValue":1,"userId":"u","sourceId":"{ID}"}}]}}"#
        )
    };

    let kpi = parse(body("customKpiAttributionEvents")).unwrap();
    let presence = parse(body("userPresenceEvents")).unwrap();

    assert_eq!(kpi.events[0].event_id.to_string(), id);
    assert!(presence.refused[0].message.contains("eventId: found"), "{}", presence.refused[0].message);
}

#[test]
fn a_time_without_zone_is_refused_with_its_usual_cause() {
    let body = presence("").replace("12:00:00Z", "12:00:00");

    let parsed = parse(body).unwrap();

    assert!(
        parsed.refused[0]
            .message
            .contains("eventDateTime: the time has no zone; it is probably a local time")
    );
}

#[test]
fn line_breaks_between_tokens_become_spaces() {
    let event = Bytes::from_static(b"{\r\n\"a\":\"\\n\"}");

    assert_eq!(one_line(&event), "{  \"a\":\"\\n\"}");
}

#[test]
fn an_array_that_the_operator_added_does_not_replace_the_tables() {
    let extra = ExtraArray { name: "userPresenceEvents".into(), lane: Lane::CustomKpi, key: None };

    let catalogue = Catalogue::new(&[extra]);

    assert!(matches!(catalogue.find("userPresenceEvents"), Some(CatalogueEntry::Known(_))));
}

proptest! {
    #[test]
    fn any_bytes_are_answered_and_what_is_taken_parses_again_unchanged(
        body in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..200),
            r#"\{"newEvents":\[(\{("[a-c\\\\u0]{1,4}":([0-9]{1,3}|null|"[a-z\\\\ud8]{0,6}"|\[\]|\{\}),?){0,3}\},?){1,3}\]\}"#
                .prop_map(String::into_bytes),
        ]
    ) {
        let Ok(parsed) = parse(body) else { return Ok(()) };
        for event in parsed.events {
            let again = format!(r#"{{"{}":[{}]}}"#, event.array, std::str::from_utf8(&event.body).unwrap());

            let parsed = parse(again).unwrap();

            assert_eq!(parsed.events, [event]);
        }
    }
}
