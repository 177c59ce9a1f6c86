//! `trunkline trace`: what became of a call, and a block to paste to the vendor's support.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use crate::admin::{Trace, TracePart, TraceState};

use super::args::TraceArgs;
use super::escape::{escaped, escaped_json, escaped_lines};
use super::exit::Exit;
use super::format::{span, time};
use super::locate::{Where, explained};
use super::output::{complain, say};
use super::runtime::async_runtime;

/// Asks and prints. [`Exit::Failed`] if nothing is known of the id.
pub(super) fn run(at: Where<'_>, args: &TraceArgs) -> anyhow::Result<Exit> {
    let client = at.client()?;
    let id: String = form_urlencoded::byte_serialize(args.id.as_bytes()).collect();
    let trace: Trace =
        async_runtime()?.block_on(client.get(&format!("/trace?id={id}"))).map_err(explained)?;
    if args.json {
        say(&(escaped_json(&serde_json::to_string_pretty(&trace)?).into_owned() + "\n"))?;
    } else if !trace.parts.is_empty() {
        say(&escaped_lines(&story(&trace)))?;
    }
    for fault in &trace.unread {
        complain(&format!("trunkline: not searched, since it cannot be read now: {}", escaped(fault)));
    }
    if trace.parts.is_empty() {
        complain(&format!(
            "trunkline: nothing is known about {}. Either no event with this id was accepted, or it was settled longer ago \
             than queue.keep_ledger",
            escaped(&args.id)
        ));
        return Ok(Exit::Failed);
    }
    Ok(Exit::Done)
}

/// For people: event by event, then the block.
fn story(trace: &Trace) -> String {
    let mut text = String::new();
    for part in &trace.parts {
        let _ = writeln!(text, "{}  {} {}", time(part.accepted_at_ms), part.array, part.event_id);
        for line in way(part) {
            let _ = writeln!(text, "  {line}");
        }
    }
    if trace.is_cut {
        let _ = writeln!(text, "… more events match; ask for a conversation or an event id");
    }
    let _ = writeln!(text, "\n{}", block(trace));
    text
}

fn way(part: &TracePart) -> Vec<String> {
    let uid = part.uid.map_or(String::new(), |uid| format!(", uid {uid}"));
    let mut lines = vec![format!(
        "accepted by the {} door{uid}; on disk in lane {} as number {}",
        part.door, part.lane, part.seq
    )];
    let attempts = match part.attempts {
        0 => String::new(),
        1 => " in 1 request".to_owned(),
        many => format!(" in {many} requests"),
    };
    match &part.state {
        TraceState::Queued { place, earliest_seconds } => {
            let earliest = match earliest_seconds {
                Some(0) => String::new(),
                Some(seconds) => format!("; at the earliest in {}", span(*seconds)),
                None => String::new(),
            };
            lines.push(format!("queued{attempts}: {}{earliest}", escaped(place)));
        }
        TraceState::Settled { fate, reason, at_ms, status, correlation_id } => {
            let reason = reason.as_ref().map_or(String::new(), |reason| format!(" ({reason})"));
            let status = status.map_or(String::new(), |status| format!(", status {status}"));
            let words = match fate.as_str() {
                "delivered" => "delivered",
                "dead" => "moved to the dead letters",
                "discarded" => "dead letter discarded by an operator",
                "replayed" => "dead letter replayed by an operator",
                "superseded" => "dead letter replaced: the event was sent again",
                "expired" => "dead letter discarded: too old",
                "lost" => "lost: its data on disk is damaged; send it again",
                other => other,
            };
            lines.push(format!("{} {words}{reason}{attempts}{status}", time(*at_ms)));
            if let Some(id) = correlation_id {
                lines.push(format!("correlation id {}", escaped(id)));
            }
        }
    }
    lines
}

/// What the vendor's support asks for, and nothing personal: ids, times, statuses.
fn block(trace: &Trace) -> String {
    let mut text = String::from("--- for a support case ---\n");
    let organisation = trace.organisation.as_deref().unwrap_or("not known yet");
    let _ = writeln!(text, "organisation: {}", escaped(organisation));
    let _ = writeln!(text, "region: {} ({})", trace.region, trace.api_host);
    let mut conversations = BTreeSet::new();
    for part in &trace.parts {
        conversations.extend(part.conversation.as_deref());
    }
    for id in conversations {
        let _ = writeln!(text, "conversation: {}", escaped(id));
    }
    for part in &trace.parts {
        let (state, at, status, correlation) = match &part.state {
            TraceState::Queued { .. } => ("queued", "-".to_owned(), None, None),
            TraceState::Settled { fate, at_ms, status, correlation_id, .. } => {
                (fate.as_str(), time(*at_ms), *status, correlation_id.as_deref())
            }
        };
        let status = status.map_or("-".to_owned(), |status| status.to_string());
        let _ = writeln!(
            text,
            "{} {} accepted {} {state} {at} status {status} correlation {}",
            part.array,
            part.event_id,
            time(part.accepted_at_ms),
            escaped(correlation.unwrap_or("-"))
        );
    }
    text.push_str("--- end ---");
    text
}
