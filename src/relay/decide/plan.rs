//! Turns an answer into actions for its events and lane. Pure; the code of `docs/answers.md`.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use super::breaker::Fault;
use super::item::Item;
use super::state::LaneState;
use crate::clock::Mono;
use crate::event::Key;
use crate::queue::{DeadReason, Outcome};
use crate::upstream::{Answer, EventError, Verdict};

use uuid::Uuid;

/// Attempts before an event that the API keeps calling retryable may be dead. Source: `docs/answers.md`.
const ATTEMPTS: u32 = 20;
/// Bytes of an event's body below which a 413 that the API did not write does not make it a dead letter. Source: the
/// smallest limit of a body that usual proxies and firewalls come with is 64 kB.
const FOREIGN_TOO_LARGE: usize = 64_000;
/// Events in a request from which on "more than half are retryable" speaks of the lane.
const TELLING: usize = 4;

/// What an answer does.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// To be settled; keys stay busy until that is synced.
    pub(crate) settle: Vec<Ended>,
    /// Their keys wait.
    pub(crate) wait: Vec<Item>,
    /// To be sent in these groups before others of their keys.
    pub(crate) groups: Vec<Vec<Item>>,
    /// As if never sent.
    pub(crate) back: Vec<Item>,
    /// To the lane.
    pub(crate) effect: Effect,
    /// Events that the API called retryable, whatever became of them.
    pub(crate) retryable: usize,
    /// Events whose order the API broke.
    pub(crate) reordered: u64,
}

/// An event and how it ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) item: Item,
    pub(crate) outcome: Outcome,
}

/// What an answer does to its lane.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) enum Effect {
    /// It runs.
    #[default]
    Served,
    /// It waits.
    Failed(Fault),
    /// It is held; somebody must do something.
    Held(Fault),
    /// It runs; the one key of the request stays held.
    KeyHeld,
}

/// What counts towards giving an event up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GiveUpPolicy {
    /// `relay.event_retry_for`
    pub(crate) retry_for: Duration,
    /// Over half of the lane's events of the last minute were called retryable: nothing counts.
    pub(crate) lane_is_unwell: bool,
    /// The lane itself is not held: a key that is speaks for itself alone.
    pub(crate) lane_is_let_in: bool,
}

/// Decides on `items`, which stood in one request.
pub(crate) fn plan(mut items: Vec<Item>, answer: &Answer, policy: GiveUpPolicy, now: Mono) -> Plan {
    for item in &mut items {
        item.attempts += 1;
    }
    match &answer.verdict {
        Verdict::Taken { errors } => taken(items, errors, policy, now),
        Verdict::NotTheApi => {
            let reason = "the answer is not from the API; a proxy or another server sent it";
            let refusal = answer.status.filter(|status| *status >= 300);
            let reason = refusal.map_or_else(|| reason.to_owned(), |status| format!("{status}: {reason}"));
            back(items, failed(LaneState::BackingOff, &reason))
        }
        Verdict::Invalid { message, hints, .. } => split(items, message, hints, DeadReason::InvalidAlone),
        Verdict::TooLarge { message } if answer.by_api => split(items, message, &[], DeadReason::TooLarge),
        Verdict::TooLarge { message } => foreign_too_large(items, message, policy),
        Verdict::Conflict { message } => {
            let mut plan = Plan::default();
            for item in items {
                refuse(item, message, policy, now, &mut plan);
            }
            plan
        }
        Verdict::Unauthorized { reason } => back(items, failed(LaneState::Unauthorized, reason)),
        Verdict::Forbidden { reason } => held(items, LaneState::Forbidden, reason, policy),
        Verdict::Misconfigured { reason } => held(items, LaneState::Misconfigured, reason, policy),
        Verdict::Unavailable { reason, .. } => back(items, failed(LaneState::BackingOff, reason)),
    }
}

fn failed(state: LaneState, reason: &str) -> Effect {
    Effect::Failed(Fault { state, reason: reason.to_owned() })
}

/// A held event stays alone: with the others it would hold them all.
fn back(items: Vec<Item>, effect: Effect) -> Plan {
    let (held, back): (Vec<Item>, Vec<Item>) = items.into_iter().partition(|item| item.held);
    let groups = held.into_iter().map(|item| vec![item]).collect();
    Plan { groups, back, effect, ..Plan::default() }
}

/// A probe's key waits its turn, so that the next probe is another key's.
fn held(mut items: Vec<Item>, state: LaneState, reason: &str, policy: GiveUpPolicy) -> Plan {
    let mut effect = Effect::Held(Fault { state, reason: reason.to_owned() });
    if let [item] = items.as_mut_slice() {
        if item.held && policy.lane_is_let_in {
            effect = Effect::KeyHeld;
        }
        item.held = true;
        return Plan { wait: items, effect, ..Plan::default() };
    }
    back(items, effect)
}

/// Something on the way takes no requests of this size. An event that any of them has to take is not to blame: its key
/// is held until somebody has fixed that.
fn foreign_too_large(items: Vec<Item>, message: &str, policy: GiveUpPolicy) -> Plan {
    match items.as_slice() {
        [item] if item.stored.event.body.len() < FOREIGN_TOO_LARGE => {
            let reason = "413, not from the API: a proxy or gateway rejects requests of this size";
            held(items, LaneState::Misconfigured, reason, policy)
        }
        _ => split(items, message, &[], DeadReason::TooLarge),
    }
}

fn taken(items: Vec<Item>, errors: &[EventError], policy: GiveUpPolicy, now: Mono) -> Plan {
    let mut by_id: HashMap<Uuid, &EventError> = HashMap::new();
    let mut strangers = Vec::new();
    let ids: HashSet<Uuid> = items.iter().map(|item| item.stored.event.event_id).collect();
    for error in errors {
        match error.event_id.as_deref().and_then(|id| Uuid::parse_str(id).ok()) {
            Some(id) if ids.contains(&id) => drop(by_id.insert(id, error)),
            _ => strangers.push(error),
        }
    }
    let total = items.len();
    let mut plan = Plan::default();
    let mut unnamed = Vec::new();
    let mut again: HashSet<Key> = HashSet::new();
    for item in items {
        let key = item.stored.event.key;
        match by_id.get(&item.stored.event.event_id) {
            None => {
                plan.reordered += u64::from(again.contains(&key));
                unnamed.push(item);
            }
            Some(error) if error.retryable => {
                again.insert(key);
                refuse(item, &error.message, policy, now, &mut plan);
            }
            Some(error) => {
                plan.settle.push(Ended { item, outcome: dead(DeadReason::Rejected, &error.message) })
            }
        }
    }
    if let Some(stranger) = strangers.first() {
        plan.reordered = 0;
        if total > 1 {
            plan.groups = if unnamed.len() > 1 { halves(unnamed) } else { vec![unnamed] };
        } else {
            unattributed(unnamed, stranger, policy, now, &mut plan);
        }
    } else {
        plan.settle.extend(unnamed.into_iter().map(|item| Ended { item, outcome: Outcome::Delivered }));
    }
    if total >= TELLING && plan.wait.len() * 2 > total {
        let reason = "more than half of a request's events are called retryable";
        plan.effect = failed(LaneState::BackingOff, reason);
    }
    plan
}

/// An error that names no event of the request is found by halving, and alone it is the one. The last that was not
/// named stood with others: the error may be one of theirs.
fn unattributed(unnamed: Vec<Item>, error: &EventError, policy: GiveUpPolicy, now: Mono, plan: &mut Plan) {
    for item in unnamed {
        if error.retryable {
            refuse(item, &error.message, policy, now, plan);
        } else {
            plan.settle.push(Ended { item, outcome: dead(DeadReason::Rejected, &error.message) });
        }
    }
}

/// The API asks for the event again: it waits, or it has been asked for often and long enough.
fn refuse(mut item: Item, message: &str, policy: GiveUpPolicy, now: Mono, plan: &mut Plan) {
    item.held = false;
    plan.retryable += 1;
    item.asked = item.asked.saturating_add(1);
    if !policy.lane_is_unwell {
        item.refusals += 1;
        let since = *item.refused_since.get_or_insert(now);
        if item.refusals >= ATTEMPTS && now.since(since) >= policy.retry_for {
            plan.settle.push(Ended { item, outcome: dead(DeadReason::Attempts, message) });
            return;
        }
    }
    plan.wait.push(item);
}

fn dead(reason: DeadReason, message: &str) -> Outcome {
    Outcome::Dead { reason, message: message.to_owned() }
}

/// The request is wrong: suspects that the answer names stand alone, else halves; alone it is dead.
fn split(items: Vec<Item>, message: &str, hints: &[String], reason: DeadReason) -> Plan {
    let mut plan = Plan::default();
    if items.len() == 1 {
        plan.settle = items.into_iter().map(|item| Ended { item, outcome: dead(reason, message) }).collect();
        return plan;
    }
    let named = |item: &Item| {
        let id = item.stored.event.event_id.to_string();
        std::iter::once(message).chain(hints.iter().map(String::as_str)).any(|text| text.contains(&id))
    };
    let suspects: Vec<bool> = items.iter().map(named).collect();
    let count = suspects.iter().filter(|suspect| **suspect).count();
    plan.groups = if count == 0 || count == items.len() { halves(items) } else { around(items, &suspects) };
    plan
}

fn halves(mut items: Vec<Item>) -> Vec<Vec<Item>> {
    let second = items.split_off(items.len().div_ceil(2));
    vec![items, second]
}

/// Groups in order, with each suspect alone.
fn around(items: Vec<Item>, suspects: &[bool]) -> Vec<Vec<Item>> {
    let mut groups: Vec<Vec<Item>> = Vec::new();
    let mut open = false;
    for (item, suspect) in items.into_iter().zip(suspects) {
        match groups.last_mut() {
            Some(group) if open && !suspect => group.push(item),
            _ => groups.push(vec![item]),
        }
        open = !suspect;
    }
    groups
}
