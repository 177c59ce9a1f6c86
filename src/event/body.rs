//! From a request body to envelopes and refusals.

use std::ops::Range;

use bytes::Bytes;
use uuid::Uuid;

use super::catalogue::{Catalogue, CatalogueEntry};
use super::check::{Checked, EXTRA_FIELDS, Expected, array_label, check};
use super::envelope::{Door, Envelope, Key};
use super::fault::{EventFault, join};
use super::lane::Lane;
use super::refusal::{BodyError, Refusal, Rules, Unknown};
use super::splice::{Edit, splice};
use super::split::{RawArray, split};
use super::time;

/// An event's time may be this far ahead of our clock without being counted.
const AHEAD_MS: i64 = 120_000;

/// Longest `eventId` that a refusal repeats. A good one has 36.
const MAX_ECHOED_ID: usize = 128;

/// What orders the events of the table's types: the first that an event has.
const KEYS: &[&str] = &["conversationId", "userId", "agentId"];

/// Who brought a body, by which way and when.
#[derive(Clone, Copy, Debug)]
pub struct Receipt {
    /// Our clock, milliseconds since 1970; also the time that is filled in.
    pub now_ms: i64,
    /// Way in.
    pub door: Door,
    /// The producer's uid; `u32::MAX` where unknown.
    pub uid: u32,
}

/// What became of a body's events.
#[derive(Debug, Default)]
pub struct ParsedBody {
    /// The good ones, by `eventDateTime`; those of one time as they came.
    pub events: Vec<Envelope>,
    /// Position of each of `events` in its array, for the answer if the queue refuses it.
    pub indexes: Vec<usize>,
    /// The others, in the order of the body.
    pub refused: Vec<Refusal>,
    /// Ids that were filled in, in the order of the events that lacked one. A refused event gets none.
    pub assigned: Vec<Uuid>,
    /// How many of `events` are more than two minutes ahead of our clock.
    pub ahead: usize,
    /// What the table does not have in `events`.
    pub unknown: Vec<Unknown>,
    /// Lanes of the known arrays that had events, each once, refused events included.
    pub lanes: Vec<Lane>,
}

/// Checks a request body event by event.
///
/// `fill` gives an id for an event that has none. Events that need no change are slices of `body`.
pub fn parse_body(
    body: &Bytes,
    catalogue: &Catalogue,
    rules: &Rules,
    receipt: &Receipt,
    fill: &mut impl FnMut() -> Uuid,
) -> Result<ParsedBody, BodyError> {
    let arrays = split(body)?;
    let mut parsed = ParsedBody::default();
    for array in &arrays {
        match catalogue.find(&array.name) {
            Some(entry) => take_array(body, array, entry, rules, receipt, fill, &mut parsed),
            None => refuse_array(array, &mut parsed.refused),
        }
    }
    if !parsed.events.is_sorted_by_key(|event| event.event_time_ms) {
        let mut placed: Vec<_> = parsed.events.into_iter().zip(parsed.indexes).collect();
        placed.sort_by_key(|(event, _)| event.event_time_ms);
        (parsed.events, parsed.indexes) = placed.into_iter().unzip();
    }
    Ok(parsed)
}

fn take_array(
    body: &Bytes,
    array: &RawArray<'_>,
    entry: &CatalogueEntry,
    rules: &Rules,
    receipt: &Receipt,
    fill: &mut impl FnMut() -> Uuid,
    parsed: &mut ParsedBody,
) {
    if !array.events.is_empty() && !parsed.lanes.contains(&entry.lane()) {
        parsed.lanes.push(entry.lane());
    }
    let extra_key: Option<&str>;
    let expected = match entry {
        CatalogueEntry::Known(row) => {
            Expected { fields: row.fields, unknown: Some(rules.unknown), keys: KEYS }
        }
        CatalogueEntry::Extra(extra) => {
            extra_key = extra.key.as_deref();
            Expected { fields: EXTRA_FIELDS, unknown: None, keys: extra_key.as_slice() }
        }
    };
    for (index, event) in array.events.iter().enumerate() {
        let text = event.get();
        let mut checked = check(text, expected);
        if text.len() > rules.max_event {
            let message = format!("the event has {} bytes; the limit is {}", text.len(), rules.max_event);
            checked.faults.insert(0, EventFault { reason: "too_large", message });
            checked.faults_total += 1;
        }
        if checked.faults.is_empty() {
            take_event(body, text, checked, entry, receipt, fill, parsed);
            parsed.indexes.push(index);
        } else {
            parsed.refused.push(refusal(array_label(&array.name, true), index, &checked));
        }
    }
}

fn take_event(
    body: &Bytes,
    text: &str,
    mut checked: Checked<'_>,
    entry: &CatalogueEntry,
    receipt: &Receipt,
    fill: &mut impl FnMut() -> Uuid,
    parsed: &mut ParsedBody,
) {
    let mut added = String::new();
    let event_id = checked.uuid.unwrap_or_else(|| {
        let id = fill();
        parsed.assigned.push(id);
        put(&mut checked.edits, &mut added, checked.null_id.take(), "eventId", &id.to_string());
        id
    });
    let event_time_ms = checked.time_ms.unwrap_or_else(|| {
        let time = time::spell(receipt.now_ms);
        put(&mut checked.edits, &mut added, checked.null_time.take(), "eventDateTime", &time);
        receipt.now_ms
    });
    if !added.is_empty() {
        if checked.is_empty {
            added.pop();
        }
        checked.edits.push(Edit { range: 1..1, text: added });
    }
    let bytes = if checked.edits.is_empty() {
        body.slice_ref(text.as_bytes())
    } else {
        checked.edits.sort_by_key(|edit| edit.range.start);
        splice(text, &checked.edits)
    };
    let array = entry.array();
    let unknown = checked.unknown.into_iter();
    parsed.unknown.extend(unknown.map(|found| Unknown {
        array: array.clone(),
        field: found.field,
        kind: found.kind,
    }));
    parsed.ahead += usize::from(event_time_ms > receipt.now_ms.saturating_add(AHEAD_MS));
    parsed.events.push(Envelope {
        lane: entry.lane(),
        array,
        event_id,
        key: checked.key.map_or_else(|| Key::alone(event_id), |key| Key::of_id(&key.id)),
        event_time_ms,
        accepted_at_ms: receipt.now_ms,
        door: receipt.door,
        uid: receipt.uid,
        body: bytes,
    });
}

/// Puts a value in the place of its `null`, or else among what is added to the front.
fn put(edits: &mut Vec<Edit>, added: &mut String, null: Option<Range<usize>>, name: &str, value: &str) {
    match null {
        Some(range) => edits.push(Edit { range, text: format!("\"{value}\"") }),
        None => added.push_str(&format!("\"{name}\":\"{value}\",")),
    }
}

fn refuse_array(array: &RawArray<'_>, refused: &mut Vec<Refusal>) {
    let expected = Expected { fields: &[], unknown: None, keys: &[] };
    for (index, event) in array.events.iter().enumerate() {
        let mut checked = check(event.get(), expected);
        checked.faults.clear();
        checked.faults_total = 0;
        checked.fault("unknown_array", || "unknown array".to_owned());
        refused.push(refusal(array_label(&array.name, false), index, &checked));
    }
}

fn refusal(array: &str, index: usize, checked: &Checked<'_>) -> Refusal {
    let event_id = checked.event_id.as_ref().filter(|id| id.len() <= MAX_ECHOED_ID);
    Refusal {
        event_id: event_id.map(|id| id.clone().into_owned()),
        message: format!("{array}[{index}]: {}", join(&checked.faults, checked.faults_total)),
        array: array.to_owned(),
        index,
        retryable: false,
        reason: checked.faults.first().map_or("invalid", |fault| fault.reason),
    }
}
