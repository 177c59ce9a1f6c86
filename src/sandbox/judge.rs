//! Decides about a request and its events, by what is set and remembered.

use axum::http::{HeaderMap, HeaderName, header};
use serde_json::{Value, json};

use super::faults::EventFate;
use super::record::Seen;
use super::state::{MINUTE, SandboxState};
use super::validate::{self, Rejection};
use crate::clock::Clock;
use crate::event::Lane;

/// Token, media type, permission, rate and body, in the order in which the API would look.
pub(super) fn check(
    state: &mut SandboxState,
    clock: &Clock,
    lane: Lane,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Vec<Seen>, Rejection> {
    let refuse = |status, code, message: String| Err(Rejection { status, code, message });
    let authorization = text(headers, &header::AUTHORIZATION).unwrap_or_default();
    if state.faults.unauthorized || !state.tokens.accepts(authorization, clock) {
        return refuse(401, "bad.credentials", "invalid token".to_owned());
    }
    if !text(headers, &header::CONTENT_TYPE).is_some_and(|value| value.starts_with("application/json")) {
        return refuse(415, "unsupported.media.type", "Content-Type is not application/json".to_owned());
    }
    if let (Some(denied), Some(needed)) = (&state.faults.deny, lane.permission())
        && denied == needed
    {
        return refuse(403, "missing.permissions", format!("you are missing the permission [{needed}]"));
    }
    let now = clock.mono();
    while state.window.front().is_some_and(|start| now.since(*start) >= MINUTE) {
        state.window.pop_front();
    }
    if state.window.len() >= state.requests_per_minute as usize {
        return refuse(429, "too.many.requests.retry.after", "rate limit exceeded".to_owned());
    }
    state.window.push_back(now);
    validate::body(lane, body)
}

/// Takes events or gives the errors that the answer lists.
pub(super) fn take(state: &mut SandboxState, lane: Lane, seen: &[Seen]) -> Vec<Value> {
    let mut errors = Vec::new();
    let request = state.requests;
    let SandboxState { dice, faults, record, .. } = state;
    for event in seen {
        // What was taken once stays taken, whatever became of that answer.
        let fate = if record.has(event) { EventFate::Taken } else { dice.event(faults) };
        let (message, retryable) = match fate {
            EventFate::Taken => {
                record.take(lane, request, event);
                continue;
            }
            EventFate::Rejected => {
                record.reject(&event.id);
                ("rejected by the sandbox", false)
            }
            EventFate::Retryable => ("retry later, says the sandbox", true),
        };
        errors.push(json!({"eventId": event.id, "message": message, "retryable": retryable}));
    }
    errors
}

/// A header as text.
pub(super) fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}
