//! The daemon's state in plain words, the most important first. Pure.

use std::time::Duration;

use super::report::{LaneReport, Report};
use crate::event::Lane;
use crate::relay::{LaneState, RelayStatus};
use crate::upstream::SKEW_MAX_SECONDS;

/// A quiet that is worth a word, where there were producers before.
const QUIET: u64 = 3_600;
/// A wait that is longer than any backoff of ours.
const LONG_WAIT: u64 = 60;
/// Room left that is worth a word.
const FULL_SOON: u64 = 24 * 3_600;

/// The state of the lane that is worst off.
pub(super) fn worst(relay: &RelayStatus) -> LaneState {
    let gravity = |state: LaneState| match state {
        LaneState::Running => 0,
        LaneState::Paused => 1,
        LaneState::BackingOff => 2,
        LaneState::Misconfigured => 3,
        LaneState::Forbidden => 4,
        LaneState::Unauthorized => 5,
    };
    relay.lanes.iter().map(|lane| lane.state).max_by_key(|state| gravity(*state)).unwrap_or_default()
}

/// One fact a line.
pub(super) fn of(report: &Report, is_stopping: bool) -> Vec<String> {
    let mut words = Vec::new();
    if is_stopping {
        words.push("stopping".to_owned());
    } else if !report.ready {
        words.extend(report.reasons.first().cloned());
    }
    let before = words.len();
    for same in lanes_by_trouble(report) {
        words.push(trouble(&same));
    }
    if words.len() == before {
        let waiting = match report.queue_events {
            0 => "delivering; nothing is queued".to_owned(),
            count => format!("delivering; {} queued", events(count)),
        };
        words.push(waiting);
    }
    for (name, lane) in &report.lanes {
        if let Some(reason) = lane.reason.as_ref().filter(|_| lane.state == "running") {
            words.push(format!("{name}: {reason}{}", next_attempt(lane)));
        }
        if lane.keys_held > 0 && lane.state == "running" {
            words.push(format!(
                "{name}: {} held, each is tried every minute",
                count(lane.keys_held, Lane::from_name(name).map_or("key", Lane::key_noun))
            ));
        }
    }
    words.extend(report.login_fault.as_ref().map(|fault| format!("login: {fault}")));
    if let Some(skew) = report.clock_skew_seconds.filter(|skew| skew.unsigned_abs() > SKEW_MAX_SECONDS) {
        let side = if skew > 0 { "ahead of" } else { "behind" };
        let seconds = skew.unsigned_abs();
        words.push(format!("this host's clock is {seconds} s {side} the API's, which breaks reports"));
    }
    words.extend(quiet(report));
    if let Some(left) = report.time_to_full_seconds.filter(|left| *left < FULL_SOON) {
        words.push(format!("the queue is full in {} at this pace", span(left)));
    }
    words.extend(report.disk.warning.clone());
    if report.dead_letters > 0 {
        words.push(dead_letters(report));
    }
    if !report.last_reload_ok {
        words.push("the last reload was refused; the previous configuration is in force".to_owned());
    }
    words
}

/// A lane that is not running.
struct LaneTrouble<'a> {
    name: &'static str,
    report: &'a LaneReport,
}

/// Lanes that are not running, those in the same trouble together.
fn lanes_by_trouble(report: &Report) -> Vec<Vec<LaneTrouble<'_>>> {
    let mut groups: Vec<Vec<LaneTrouble<'_>>> = Vec::new();
    for lane in Lane::ALL {
        let Some(found) = report.lanes.get(lane.name()).filter(|found| found.state != "running") else {
            continue;
        };
        let same = groups.iter_mut().find(|group| {
            let first = group[0].report;
            first.state == found.state && first.reason == found.reason
        });
        let trouble = LaneTrouble { name: lane.name(), report: found };
        match same {
            Some(group) => group.push(trouble),
            None => groups.push(vec![trouble]),
        }
    }
    groups
}

fn trouble(group: &[LaneTrouble<'_>]) -> String {
    let first = group[0].report;
    let names = match group.len() {
        len if len == Lane::ALL.len() => "all lanes".to_owned(),
        _ => group.iter().map(|lane| lane.name).collect::<Vec<_>>().join(", "),
    };
    let reason = first.reason.as_deref().unwrap_or("no reason known");
    let since = group.iter().filter_map(|lane| lane.report.since_ms).min().map(clock_time);
    let since = since.map_or_else(|| " since the start".to_owned(), |since| format!(" since {since}"));
    match first.state.as_str() {
        "paused" => format!("paused: {names}{since}; resume with `trunkline resume`"),
        "backing_off" => format!("waiting to deliver {names}: {reason}{since}{}", next_attempt(first)),
        _ => format!("holding {names}: {reason}{since}"),
    }
}

/// When it is tried again, if that is long.
fn next_attempt(lane: &LaneReport) -> String {
    let wait = lane.next_attempt_seconds.filter(|seconds| *seconds > LONG_WAIT);
    wait.map_or_else(String::new, |seconds| {
        format!("; next attempt in {}, or with `trunkline resume`", span(seconds))
    })
}

/// Nobody gives us events: nothing of ours is wrong, and calls are missing all the same.
fn quiet(report: &Report) -> Option<String> {
    let last = report.lanes.values().filter_map(|lane| lane.last_accepted_seconds).min();
    match last {
        Some(seconds) if seconds >= QUIET => {
            Some(format!("no event from any producer for {}", span(seconds)))
        }
        None if report.uptime_seconds >= QUIET => {
            Some(format!("no event from any producer since the start {} ago", span(report.uptime_seconds)))
        }
        _ => None,
    }
}

fn dead_letters(report: &Report) -> String {
    let letters = count(report.dead_letters, "dead letter");
    match report.dead_letters_expire_seconds {
        Some(left) => format!("{letters}; the first is discarded in {}", span(left)),
        None => format!("{letters}; see `trunkline dead-letters list --group`"),
    }
}

pub(super) fn events(number: u64) -> String {
    count(number, "event")
}

/// `1 event`, `12,431 events`.
pub fn count(number: u64, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {what}{plural}", thousands(number))
}

/// `12,431`.
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// `3h 5m`: the two largest units.
pub fn span(seconds: u64) -> String {
    let units = [("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)];
    let Some(at) = units.iter().position(|(_, size)| seconds >= *size) else { return "0s".to_owned() };
    let (unit, size) = units[at];
    let rest = units.get(at + 1).map(|(unit, smaller)| (unit, seconds % size / smaller));
    match rest {
        Some((smaller, left)) if left > 0 => format!("{}{unit} {left}{smaller}", seconds / size),
        _ => format!("{}{unit}", seconds / size),
    }
}

/// `10:42 UTC`, with the day if it is another one's business.
fn clock_time(at_ms: i64) -> String {
    jiff::Timestamp::from_millisecond(at_ms)
        .map(|time| time.strftime("%Y-%m-%d %H:%M UTC").to_string())
        .unwrap_or_else(|_| Duration::from_millis(at_ms.unsigned_abs()).as_secs().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_have_two_units_and_counts_have_their_plural() {
        assert_eq!([span(0), span(59), span(3_660), span(90_000)], ["0s", "59s", "1h 1m", "1d 1h"]);
        assert_eq!([count(1, "event"), count(12_431, "event")], ["1 event", "12,431 events"]);
    }
}
