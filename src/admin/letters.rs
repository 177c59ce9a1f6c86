//! Dead letters for the operator: listed, sent again, discarded. One pass over them in order of death; what
//! is done is reported line by line, so that a long pass can be watched and stopped.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::sync::mpsc;
use uuid::Uuid;

use super::filter::{Filter, LettersRequest};
use super::trace_of::known;
use crate::event::{Door, Envelope, EventIds, RawObject, Receipt, one_line, parse_body};
use crate::ingest::DoorContext;
use crate::queue::{AppendError, DeadLetter, DeadLetters, QueueError, ReplayError, Writer};

/// Letters that are discarded with one sync.
const DISCARD_AT_ONCE: usize = 500;

/// One dead letter as `dead-letters list --json` shows it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Letter {
    /// `eventId`
    pub event_id: String,
    /// Lane.
    pub lane: String,
    /// Array of the request body.
    pub array: String,
    /// `conversationId`, else `userId`, else `agentId`, else null.
    pub key: Option<String>,
    /// A code of ours.
    pub reason: String,
    /// The API's words. May quote personal data.
    pub message: String,
    /// HTTP status of the last answer.
    pub status: Option<u16>,
    /// `ININ-Correlation-Id` of the last answer.
    pub correlation_id: Option<String>,
    /// Requests it stood in.
    pub attempts: u32,
    /// RFC 3339, UTC.
    pub accepted_at: String,
    /// RFC 3339, UTC.
    pub died_at: String,
    /// Way it came in.
    pub door: String,
    /// The producer's uid, where known.
    pub uid: Option<u32>,
    /// The event itself, where that was asked for.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub event: Option<Box<RawValue>>,
}

/// What was done with one letter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LetterOutcome {
    /// `eventId`
    pub event_id: String,
    /// `replayed`, `discarded`, `refused`, or with a dry run `would_replay`, `would_discard`.
    pub done: String,
    /// Why it was refused.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub message: Option<String>,
}

/// The last line of a pass.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LettersSummary {
    /// Done, or would be.
    pub done: u64,
    /// Refused as it is; it stays where it is.
    pub refused: u64,
    /// Ended in the meantime, e.g. since the event came again.
    pub passed_over: u64,
    /// Why the pass ended before its end; the same command goes on from there.
    pub stopped: Option<String>,
}

/// The dead letters, and the doors' rules that an edited event has to pass. Cheap to clone.
#[derive(Clone, Debug)]
pub struct LetterStore {
    /// The letters.
    pub dead_letters: DeadLetters,
    /// Rules for events that are sent again.
    pub doors: Arc<DoorContext<Writer>>,
}

/// Where lines of an answer go; closed when who asked is gone.
pub(super) type Lines = mpsc::Sender<Bytes>;

fn tell(lines: &Lines, value: &impl Serialize) -> bool {
    let Ok(mut line) = serde_json::to_vec(value) else { return true };
    line.push(b'\n');
    lines.blocking_send(Bytes::from(line)).is_ok()
}

/// Calls `each` for every letter that the filter and `fits` take, until it says `false`. Those that die
/// while it runs are not among them: a replay would meet its own again.
fn pass(
    letters: &DeadLetters,
    filter: &Filter,
    fits: impl Fn(&DeadLetter) -> bool,
    mut each: impl FnMut(DeadLetter) -> Result<bool, QueueError>,
) -> Result<(), QueueError> {
    let (mut after, mut left, end) = (0, filter.limit.unwrap_or(u64::MAX), letters.next_number());
    let mut unread = None;
    while left > 0 {
        let next = match letters.next(after) {
            // Those behind them are not in their way; who asked hears of it at the end.
            Err(QueueError::LettersUnread { resume_at, fault }) => {
                after = resume_at - 1;
                unread.get_or_insert(QueueError::LettersUnread { resume_at, fault });
                continue;
            }
            next => next?,
        };
        let Some(letter) = next.filter(|letter| letter.number < end) else { break };
        after = letter.number;
        if !filter.takes(&letter) || !fits(&letter) {
            continue;
        }
        left -= 1;
        if !each(letter)? {
            break;
        }
    }
    unread.map_or(Ok(()), Err)
}

/// Writes the letters that the filter takes, a line each; with `with_events` their events too.
pub(super) fn list(letters: &DeadLetters, filter: &Filter, with_events: bool, lines: &Lines) -> u64 {
    each_of(letters, filter, lines, |letter| tell(lines, &shown(&letter, with_events)))
}

/// Writes them as lines that `send` takes.
pub(super) fn export(letters: &DeadLetters, filter: &Filter, lines: &Lines) -> u64 {
    each_of(letters, filter, lines, |letter| {
        let event = &letter.stored.event;
        let mut line = format!("{{\"{}\":[", event.array.name()).into_bytes();
        line.extend_from_slice(&one_line(&event.body));
        line.extend_from_slice(b"]}\n");
        lines.blocking_send(Bytes::from(line)).is_ok()
    })
}

/// Calls `write` with each letter that the filter takes, until it says that nobody reads any more. Gives the count.
fn each_of(
    letters: &DeadLetters,
    filter: &Filter,
    lines: &Lines,
    mut write: impl FnMut(DeadLetter) -> bool,
) -> u64 {
    let mut count = 0;
    let each = |letter| {
        count += 1;
        Ok(write(letter))
    };
    let result = pass(letters, filter, |_| true, each);
    fault(result, lines);
    count
}

/// A line that is an ErrorBody ends an answer that could not be finished.
fn fault(result: Result<(), QueueError>, lines: &Lines) {
    if let Err(error) = result {
        tell(lines, &serde_json::json!({"message": error.to_string(), "code": "storage", "status": 500}));
    }
}

/// Sends letters again, as they are or edited: each is accepted again and synced before its letter ends.
pub(super) fn replay(
    letters: &DeadLetters,
    doors: &DoorContext<Writer>,
    request: &LettersRequest,
    lines: &Lines,
) -> LettersSummary {
    let mut summary = LettersSummary::default();
    let fits = |letter: &DeadLetter| request.fits(&body_of(letter));
    let result = pass(letters, &request.filter, fits, |letter| {
        let event_id = letter.stored.event.event_id.to_string();
        let body = body_of(&letter);
        let (done, message) = match again(doors, request, &letter, &body) {
            Err(message) => ("refused", Some(message)),
            Ok(_) if request.dry_run => ("would_replay", None),
            Ok(event) => match letters.replay(letter, event) {
                Ok(_) => ("replayed", None),
                Err(ReplayError::Ended) => {
                    summary.passed_over += 1;
                    return Ok(true);
                }
                Err(ReplayError::Refused(error @ AppendError::TooLarge { .. })) => {
                    ("refused", Some(error.to_string()))
                }
                Err(ReplayError::Refused(error)) => {
                    summary.stopped = Some(error.to_string());
                    return Ok(false);
                }
                Err(ReplayError::Queue(error)) => return Err(error),
            },
        };
        match message {
            None => summary.done += 1,
            Some(_) => summary.refused += 1,
        }
        Ok(tell(lines, &LetterOutcome { event_id, done: done.to_owned(), message }))
    });
    if let Err(error) = result {
        summary.stopped = Some(error.to_string());
    }
    tell(lines, &summary);
    summary
}

fn body_of(letter: &DeadLetter) -> RawObject {
    let text = std::str::from_utf8(&letter.stored.event.body).unwrap_or_default();
    RawObject::parse(text).unwrap_or_default()
}

/// The event as it is to be accepted.
fn again(
    doors: &DoorContext<Writer>,
    request: &LettersRequest,
    letter: &DeadLetter,
    body: &RawObject,
) -> Result<Envelope, String> {
    let event = &letter.stored.event;
    if request.set.is_empty() {
        return Ok(event.clone());
    }
    let line = request.mended(event.array.name(), body).map_err(|error| format!("--set: {error}"))?;
    let settings = doors.settings();
    let receipt = Receipt { now_ms: doors.clock.unix_ms(), door: Door::Replay, uid: event.uid };
    let parsed =
        parse_body(&Bytes::from(line), &settings.catalogue, &settings.rules(), &receipt, &mut Uuid::new_v4)
            .map_err(|error| error.error_body().message)?;
    if let Some(refusal) = parsed.refused.into_iter().next() {
        return Err(refusal.message);
    }
    parsed.events.into_iter().next().ok_or_else(|| "nothing is left of the event".to_owned())
}

/// Removes letters for good.
pub(super) fn discard(letters: &DeadLetters, request: &LettersRequest, lines: &Lines) -> LettersSummary {
    let mut summary = LettersSummary::default();
    let mut group: Vec<DeadLetter> = Vec::new();
    let done = if request.dry_run { "would_discard" } else { "discarded" };
    let mut end = |group: &mut Vec<DeadLetter>| -> Result<bool, QueueError> {
        let group = std::mem::take(group);
        let ids: Vec<String> = group.iter().map(|letter| letter.stored.event.event_id.to_string()).collect();
        if !request.dry_run && !group.is_empty() {
            letters.discard(group)?;
        }
        summary.done += ids.len() as u64;
        let told = |event_id| LetterOutcome { event_id, done: done.to_owned(), message: None };
        Ok(ids.into_iter().all(|event_id| tell(lines, &told(event_id))))
    };
    let fits = |letter: &DeadLetter| request.fits(&body_of(letter));
    let result = pass(letters, &request.filter, fits, |letter| {
        group.push(letter);
        if group.len() < DISCARD_AT_ONCE { Ok(true) } else { end(&mut group) }
    })
    .and_then(|()| end(&mut group).map(|_| ()));
    if let Err(error) = result {
        summary.stopped = Some(error.to_string());
    }
    tell(lines, &summary);
    summary
}

fn shown(letter: &DeadLetter, with_event: bool) -> Letter {
    let event = &letter.stored.event;
    let ids = EventIds::of_body(&event.body);
    let key = ids.conversation.or(ids.user).or(ids.agent);
    let time =
        |ms: i64| jiff::Timestamp::from_millisecond(ms).map(|time| format!("{time:.3}")).unwrap_or_default();
    let raw = || String::from_utf8(one_line(&event.body).to_vec()).ok();
    Letter {
        event_id: event.event_id.to_string(),
        lane: event.lane.name().to_owned(),
        array: event.array.name().to_owned(),
        key: key.as_deref().map(str::to_owned),
        reason: letter.reason.code().to_owned(),
        message: letter.message.clone(),
        status: letter.status,
        correlation_id: letter.correlation_id.as_deref().map(str::to_owned),
        attempts: letter.attempts,
        accepted_at: time(event.accepted_at_ms),
        died_at: time(letter.died_at_ms),
        door: event.door.name().to_owned(),
        uid: known(event.uid),
        event: with_event.then(raw).flatten().and_then(|raw| RawValue::from_string(raw).ok()),
    }
}
