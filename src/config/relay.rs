//! `[relay]`: when and in what portions events leave.

use std::time::Duration;

use super::key::{ConfigKey, ValueType, key};
use super::values::Values;
use crate::event::Lane;

/// `[relay]`
#[derive(Clone, Debug)]
pub struct RelayConfig {
    /// Events a request at most, 1 to 100.
    pub batch_max_events: usize,
    /// Bytes of a request body at most.
    pub batch_max_size: usize,
    /// How long an event waits for company.
    pub batch_linger: Duration,
    /// Requests that start in any 60 s at most, all lanes together.
    pub requests_per_minute: u32,
    /// Requests that may start at once after quiet.
    pub burst: u32,
    /// Requests under way at most.
    pub max_in_flight: usize,
    /// Never two events of a key in one request.
    pub one_per_key: bool,
    /// First wait after a fault.
    pub retry_initial: Duration,
    /// Longest wait after repeated faults.
    pub retry_max: Duration,
    /// Time (with 20 attempts) after which an event that the API keeps calling retryable is dead.
    pub event_retry_for: Duration,
    /// Age by lane index at which an event is dead; zero: off.
    pub event_max_age: [Duration; Lane::ALL.len()],
}

pub(super) const KEYS: &[ConfigKey] = &[
    key(
        "relay.batch_max_events",
        "100",
        ValueType::Integer { min: 1, max: 100 },
        "Events in a request at most; the API takes no more than 100.",
    ),
    key(
        "relay.batch_max_size",
        "500kB",
        ValueType::Size { min: 1_000 },
        "Bytes of a request's body at most; at least ingest.max_event.",
    ),
    key(
        "relay.batch_linger",
        "1s",
        ValueType::Duration { off: true },
        "How long an event waits for company; one that finds its lane quiet that long leaves at once.",
    ),
    key(
        "relay.requests_per_minute",
        "300",
        ValueType::Integer { min: 1, max: 100_000 },
        "Requests that start in any 60 s at most, all lanes together, burst included.",
    ),
    key(
        "relay.burst",
        "10",
        ValueType::Integer { min: 1, max: 100_000 },
        "Requests that may start at once after quiet; at most requests_per_minute. After a start it counts as spent.",
    ),
    key("relay.max_in_flight", "8", ValueType::Integer { min: 1, max: 256 }, "Requests under way at most."),
    key("relay.one_per_key", "false", ValueType::Bool, "Never two events of a key in one request."),
    key(
        "relay.retry_initial",
        "500ms",
        ValueType::Duration { off: false },
        "First wait after a fault; doubles with full jitter.",
    ),
    key("relay.retry_max", "60s", ValueType::Duration { off: false }, "Longest wait after repeated faults."),
    key(
        "relay.event_retry_for",
        "1h",
        ValueType::Duration { off: false },
        "An event that the API itself keeps calling retryable is dead after 20 attempts and this long; outages never count.",
    ),
    key("relay.event_max_age.conversations", "0s", ValueType::Duration { off: true }, EXPIRES),
    key("relay.event_max_age.presence", "0s", ValueType::Duration { off: true }, EXPIRES),
    key("relay.event_max_age.routingstatus", "0s", ValueType::Duration { off: true }, EXPIRES),
    key("relay.event_max_age.customkpi", "0s", ValueType::Duration { off: true }, EXPIRES),
];

const EXPIRES: &str = "Age at which an event of this lane becomes a dead letter `expired`. \"0s\": off.";

/// Reads the section.
pub(super) fn read(values: &mut Values<'_>) -> RelayConfig {
    let relay = RelayConfig {
        batch_max_events: values.number("relay.batch_max_events") as usize,
        batch_max_size: values.length("relay.batch_max_size"),
        batch_linger: values.duration("relay.batch_linger"),
        requests_per_minute: values.number("relay.requests_per_minute"),
        burst: values.number("relay.burst"),
        max_in_flight: values.number("relay.max_in_flight") as usize,
        one_per_key: values.flag("relay.one_per_key"),
        retry_initial: values.duration("relay.retry_initial"),
        retry_max: values.duration("relay.retry_max"),
        event_retry_for: values.duration("relay.event_retry_for"),
        event_max_age: Lane::ALL.map(|lane| values.duration(event_max_age(lane))),
    };
    values.require(
        relay.burst <= relay.requests_per_minute,
        &["relay.burst", "relay.requests_per_minute"],
        "relay.burst at most relay.requests_per_minute",
        "lower relay.burst or raise relay.requests_per_minute",
    );
    values.require(
        relay.retry_initial <= relay.retry_max,
        &["relay.retry_initial", "relay.retry_max"],
        "relay.retry_initial at most relay.retry_max",
        "lower relay.retry_initial or raise relay.retry_max",
    );
    relay
}

fn event_max_age(lane: Lane) -> &'static str {
    match lane {
        Lane::Conversations => "relay.event_max_age.conversations",
        Lane::Presence => "relay.event_max_age.presence",
        Lane::RoutingStatus => "relay.event_max_age.routingstatus",
        Lane::CustomKpi => "relay.event_max_age.customkpi",
    }
}
