//! The sandbox's own reading of a request, stricter than the daemon's. Pure.

use std::collections::HashMap;

use serde_json::{Map, Value};

use crate::event::{Field, FieldKind, Lane, MAX_EVENTS_PER_REQUEST, catalogue};

use super::record::{Outline, Seen, comparable};

/// Largest body. Source: `request.bytes.max` as quoted in public code.
pub(super) const MAX_BODY: usize = 512_000;

/// Why a request is refused as a whole.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Rejection {
    pub(super) status: u16,
    pub(super) code: &'static str,
    pub(super) message: String,
}

fn bad(code: &'static str, message: String) -> Rejection {
    Rejection { status: 400, code, message }
}

/// Looks at a body without judging it: what cannot be read holds nothing.
pub(super) fn outline(raw: &[u8]) -> Outline {
    let mut outline = Outline::default();
    let Ok(Value::Object(arrays)) = serde_json::from_slice(raw) else { return outline };
    for (array, events) in arrays {
        let Value::Array(events) = events else { continue };
        let mut latest: HashMap<String, String> = HashMap::new();
        for event in events {
            let seen = see(&array, event);
            outline.events += 1;
            let latest = latest.entry(seen.key.clone()).or_default();
            if seen.time < *latest {
                outline.order_violations += 1;
            } else {
                latest.clone_from(&seen.time);
            }
            outline.keys.insert(seen.key);
        }
    }
    outline
}

/// Reads a body for `lane`.
pub(super) fn body(lane: Lane, raw: &[u8]) -> Result<Vec<Seen>, Rejection> {
    if raw.len() > MAX_BODY {
        let message = format!("{} bytes, at most {MAX_BODY}", raw.len());
        return Err(Rejection { status: 413, code: "request.entity.too.large", message });
    }
    let value: Value =
        serde_json::from_slice(raw).map_err(|error| bad("bad.request", format!("not JSON: {error}")))?;
    let Value::Object(arrays) = value else {
        return Err(bad("bad.request", "the body is not an object".to_owned()));
    };
    let mut seen = Vec::new();
    for (array, events) in arrays {
        let known = catalogue::by_name(&array).filter(|known| known.lane == lane);
        let (Some(known), Value::Array(events)) = (known, events) else {
            return Err(bad("bad.request", format!("{array} is no array of {}", lane.path())));
        };
        for (index, event) in events.into_iter().enumerate() {
            let at = format!("{array}[{index}]");
            let Value::Object(fields) = &event else {
                return Err(bad("constraint.validation", format!("{at} is not an object")));
            };
            object(known.fields, fields, &at).map_err(|message| {
                let id = fields.get("eventId").and_then(Value::as_str).unwrap_or_default();
                bad("constraint.validation", format!("{message} (eventId {id})"))
            })?;
            seen.push(see(&array, event));
        }
    }
    // Arrays carry no order between them but the events' times.
    seen.sort_by(|a, b| a.time.cmp(&b.time));
    match seen.len() {
        0 => Err(bad("zero.events.submitted", "no event in the body".to_owned())),
        count if count > MAX_EVENTS_PER_REQUEST => {
            Err(bad("max.batch.size.surpassed", format!("{count} events, at most {MAX_EVENTS_PER_REQUEST}")))
        }
        _ => Ok(seen),
    }
}

fn see(array: &str, event: Value) -> Seen {
    let text = |name: &str| event[name].as_str().unwrap_or_default().to_owned();
    let key = ["conversationId", "userId", "agentId", "eventId"]
        .into_iter()
        .map(text)
        .find(|key| !key.is_empty())
        .unwrap_or_default();
    Seen {
        array: array.to_owned(),
        id: text("eventId"),
        key,
        time: comparable(&text("eventDateTime")),
        event,
    }
}

fn object(fields: &[Field], found: &Map<String, Value>, at: &str) -> Result<(), String> {
    for field in fields {
        let at = format!("{at}.{}", field.name);
        match found.get(field.name) {
            None | Some(Value::Null) if field.required => return Err(format!("{at} is required")),
            None | Some(Value::Null) => {}
            Some(value) => kind(&field.kind, value, &at)?,
        }
    }
    Ok(())
}

fn kind(kind: &FieldKind, value: &Value, at: &str) -> Result<(), String> {
    let text = value.as_str();
    let fits = match kind {
        FieldKind::Text => text.is_some(),
        FieldKind::Uuid4 => text.is_some_and(|text| uuid(text) == Some(4)),
        FieldKind::Uuid => text.is_some_and(|text| uuid(text).is_some()),
        FieldKind::Time => text.is_some_and(time),
        FieldKind::Bool => value.is_boolean(),
        FieldKind::Number => value.is_number(),
        FieldKind::Enum(values) => text.is_some_and(|text| values.contains(&text)),
        FieldKind::TextList => value.as_array().is_some_and(|items| items.iter().all(Value::is_string)),
        FieldKind::TextMap => value.as_object().is_some_and(|items| items.values().all(Value::is_string)),
        FieldKind::Object(fields) => {
            let Value::Object(found) = value else { return Err(format!("{at} is not an object")) };
            return object(fields, found, at);
        }
    };
    if fits { Ok(()) } else { Err(format!("{at} is invalid")) }
}

/// Version of a UUID in the usual spelling.
fn uuid(text: &str) -> Option<usize> {
    let fits = text.len() == 36
        && text.char_indices().all(|(at, c)| match at {
            8 | 13 | 18 | 23 => c == '-',
            _ => c.is_ascii_hexdigit(),
        });
    fits.then(|| text[14..15].parse().unwrap_or(0))
}

/// `yyyy-MM-ddTHH:mm:ss[.mmm]Z` and nothing else.
fn time(text: &str) -> bool {
    let pattern = match text.len() {
        20 => "dddd-dd-ddTdd:dd:ddZ",
        24 => "dddd-dd-ddTdd:dd:dd.dddZ",
        _ => return false,
    };
    let fits = |(c, p): (char, char)| if p == 'd' { c.is_ascii_digit() } else { c == p };
    text.chars().zip(pattern.chars()).all(fits) && text.parse::<jiff::Timestamp>().is_ok()
}
