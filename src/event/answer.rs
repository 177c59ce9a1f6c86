//! The API's answers as bytes: what a door writes back. No line feed at the end.

use bytes::Bytes;
use serde::Serialize;
use uuid::Uuid;

use super::refusal::{Refusal, to_bytes};

#[derive(Serialize)]
struct EventsAnswer<'a> {
    errors: Vec<EventErrorBody<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    assigned: Vec<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct EventErrorBody<'a> {
    event_id: Option<&'a str>,
    message: &'a str,
    retryable: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    array: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<usize>,
}

/// The stream door's answer: with `array` and `index`, and `assigned` if ids were filled in.
pub fn stream(refused: &[Refusal], assigned: &[Uuid]) -> Bytes {
    if refused.is_empty() && assigned.is_empty() {
        return Bytes::from_static(br#"{"errors":[]}"#);
    }
    let errors = refused.iter().map(|refusal| EventErrorBody {
        array: Some(&refusal.array),
        index: Some(refusal.index),
        ..api_error(refusal)
    });
    to_bytes(&EventsAnswer {
        errors: errors.collect(),
        assigned: assigned.iter().map(Uuid::to_string).collect(),
    })
}

/// The HTTP door's answer: only the API's own fields.
pub fn http(refused: &[Refusal]) -> Bytes {
    to_bytes(&EventsAnswer { errors: refused.iter().map(api_error).collect(), assigned: Vec::new() })
}

fn api_error(refusal: &Refusal) -> EventErrorBody<'_> {
    EventErrorBody {
        event_id: refusal.event_id.as_deref(),
        message: &refusal.message,
        retryable: refusal.retryable,
        array: None,
        index: None,
    }
}
