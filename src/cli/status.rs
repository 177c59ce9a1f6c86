//! `trunkline status`: one screen, plain words first; and probes.

use std::fmt::Write as _;

use crate::admin::client::{AdminClientError, ProbeAnswer};
use crate::admin::{LaneReport, Report};
use crate::event::Lane;

use super::args::StatusArgs;
use super::escape::{escaped, escaped_json, escaped_lines};
use super::exit::Exit;
use super::format::{bytes, events, span};
use super::locate::{Where, explained};
use super::output::{complain, say};
use super::runtime::async_runtime;

/// Asks and prints.
pub(super) fn run(at: Where<'_>, args: &StatusArgs) -> anyhow::Result<Exit> {
    let client = at.client()?;
    let probe = match (args.live, args.ready, args.healthy || args.quiet) {
        (true, ..) => Some("/livez"),
        (_, true, _) => Some("/readyz"),
        (_, _, true) => Some("/healthz"),
        _ => None,
    };
    let runtime = async_runtime()?;
    let Some(probe) = probe else {
        let report: Report = runtime.block_on(client.get("/status")).map_err(explained)?;
        let text = match args.json {
            true => escaped_json(&serde_json::to_string_pretty(&report)?).into_owned() + "\n",
            false => screen(&report),
        };
        return say(&text);
    };
    match runtime.block_on(client.probe(probe)) {
        Ok(ProbeAnswer { status, text }) => {
            if !args.quiet {
                say(&escaped_lines(&text))?;
            }
            Ok(if status == 200 { Exit::Done } else { Exit::Failed })
        }
        Err(
            AdminClientError::Broken | AdminClientError::Silent { .. } | AdminClientError::Unreachable { .. },
        ) if args.quiet => Ok(Exit::Unreachable),
        Err(error) => {
            let error = explained(error);
            if args.quiet {
                return Ok(super::exit_code::of(&error));
            }
            complain(&format!("trunkline: {error:#}"));
            Ok(super::exit_code::of(&error))
        }
    }
}

/// The whole report for people.
pub(super) fn screen(report: &Report) -> String {
    let mut text = String::new();
    for line in &report.words {
        let _ = writeln!(text, "{}", escaped(line));
    }
    let _ = writeln!(text);
    let _ = writeln!(
        text,
        "{:<14} {:<13} {:>9} {:>9} {:>9} {:>9} {:>9} {:>6}",
        "lane", "state", "queued", "oldest", "in flight", "accepted", "delivered", "status"
    );
    for lane in Lane::ALL {
        if let Some(found) = report.lanes.get(lane.name()) {
            let _ = writeln!(text, "{}", lane_line(lane.name(), found));
        }
    }
    let _ = writeln!(text);
    for Fact { name, value } in facts(report) {
        let _ = writeln!(text, "{name:<14} {}", escaped(&value));
    }
    text
}

fn lane_line(name: &str, lane: &LaneReport) -> String {
    let ago =
        |seconds: Option<u64>| seconds.map_or("-".to_owned(), |seconds| format!("{} ago", span(seconds)));
    format!(
        "{name:<14} {:<13} {:>9} {:>9} {:>9} {:>9} {:>9} {:>6}",
        lane.state,
        lane.queue_events,
        lane.oldest_seconds.map_or("-".to_owned(), span),
        lane.in_flight,
        ago(lane.last_accepted_seconds).trim_end_matches(" ago"),
        ago(lane.last_delivered_seconds).trim_end_matches(" ago"),
        lane.last_status.map_or("-".to_owned(), |status| status.to_string()),
    )
}

/// A line of the report that is about no single lane.
pub(super) struct Fact {
    pub(super) name: &'static str,
    pub(super) value: String,
}

/// All of them, in their order.
pub(super) fn facts(report: &Report) -> Vec<Fact> {
    let known = |value: Option<String>| value.unwrap_or_else(|| "not known yet".to_owned());
    let organisation = match (&report.organisation_name, &report.organisation) {
        (Some(name), Some(id)) => Some(format!("{name} ({id})")),
        (None, Some(id)) => Some(id.clone()),
        _ => None,
    };
    let drain = match report.time_to_drain_seconds {
        Some(0) => "nothing queued".to_owned(),
        Some(seconds) => format!("{} until nothing is queued", span(seconds)),
        None => "the backlog is not shrinking".to_owned(),
    };
    let proxy = report.proxy.as_ref().map_or(String::new(), |proxy| format!(", through {proxy}"));
    let full = report.time_to_full_seconds.map_or(String::new(), |left| format!("; full in {}", span(left)));
    let free = report.disk.free_bytes.map_or_else(|| "an unknown amount".to_owned(), bytes);
    let skew = report.clock_skew_seconds.map(|seconds| match seconds {
        0 => "matches the API's".to_owned(),
        ahead if ahead > 0 => format!("{ahead} s ahead of the API's"),
        behind => format!("{} s behind the API's", behind.unsigned_abs()),
    });
    let token = match (&report.login_fault, report.token_expiry_seconds) {
        (Some(fault), _) => fault.clone(),
        (None, Some(left)) => format!("valid for {}", span(left)),
        (None, None) => "not requested yet".to_owned(),
    };
    let facts = [
        ("queue", format!("{}, {}; {drain}", events(report.queue_events), bytes(report.queue_bytes))),
        (
            "rates",
            format!(
                "{}/s accepted, {}/s delivered over the last minute; {:.0} requests a minute allowed",
                report.accepted_per_second, report.delivered_per_second, report.rate_budget
            ),
        ),
        (
            "disk",
            format!(
                "{} of {} used, {free} free on the disk{full}",
                bytes(report.disk.used_bytes),
                bytes(report.disk.max_bytes)
            ),
        ),
        (
            "since start",
            format!(
                "{} accepted, {} duplicates, {} refused, {} delivered, {} dead, {} requests",
                report.accepted_total,
                report.duplicate_total,
                report.refused_total,
                report.delivered_total,
                report.dead_total,
                report.requests_total
            ),
        ),
        ("dead letters", report.dead_letters.to_string()),
        ("organisation", known(organisation)),
        ("api", format!("{} ({}){proxy}", report.api_host, report.region)),
        ("token", token),
        ("clock", known(skew)),
        (
            "daemon",
            format!(
                "version {}, up {}, {} producers connected",
                report.version,
                span(report.uptime_seconds),
                report.connections
            ),
        ),
    ];
    facts.into_iter().map(|(name, value)| Fact { name, value }).collect()
}
