//! `[relay]`: when events are sent, and how many at once.

use std::time::Duration;

use super::key::{ConfigKey, ValueType, key};
use super::values::Values;
use crate::event::Lane;

/// `[relay]`
#[derive(Clone, Debug)]
pub struct RelayConfig {
    /// Most events in one request, 1 to 100.
    pub batch_max_events: usize,
    /// Largest request body, bytes.
    pub batch_max_size: usize,
    /// How long events are batched.
    pub batch_linger: Duration,
    /// Most requests started in any 60 s, all lanes together.
    pub requests_per_minute: u32,
    /// Most requests started at once after a quiet time.
    pub burst: u32,
    /// Most requests in flight.
    pub max_in_flight: usize,
    /// Never send two events with the same key in one request.
    pub one_per_key: bool,
    /// First retry delay.
    pub retry_initial: Duration,
    /// Longest retry delay.
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
        "Most events in one request; the API takes at most 100.",
    ),
    key(
        "relay.batch_max_size",
        "500kB",
        ValueType::Size { min: 1_000 },
        "Largest request body; at least ingest.max_event.",
    ),
    key(
        "relay.batch_linger",
        "1s",
        ValueType::Duration { off: true },
        "Events are batched for up to this long; an event leaves at once if its lane has been quiet that long.",
    ),
    key(
        "relay.requests_per_minute",
        "300",
        ValueType::Integer { min: 1, max: 100_000 },
        "Most requests started in any 60 s, all lanes together, burst included.",
    ),
    key(
        "relay.burst",
        "10",
        ValueType::Integer { min: 1, max: 100_000 },
        "Most requests started at once after a quiet time; at most requests_per_minute. After a restart the burst counts as used.",
    ),
    key("relay.max_in_flight", "8", ValueType::Integer { min: 1, max: 256 }, "Most requests in flight."),
    key(
        "relay.one_per_key",
        "false",
        ValueType::Bool,
        "Never send two events with the same key in one request.",
    ),
    key(
        "relay.retry_initial",
        "500ms",
        ValueType::Duration { off: false },
        "First retry delay; doubles after each failure, with full jitter.",
    ),
    key("relay.retry_max", "60s", ValueType::Duration { off: false }, "Longest retry delay."),
    key(
        "relay.event_retry_for",
        "1h",
        ValueType::Duration { off: false },
        "An event that the API keeps calling retryable becomes a dead letter after 20 attempts and this long; outages never count.",
    ),
];

/// `relay.event_max_age`, one key a lane.
pub(super) const MAX_AGE_KEYS: [ConfigKey; Lane::ALL.len()] = {
    let mut keys = [max_age(Lane::ALL[0]); Lane::ALL.len()];
    let mut nth = 1;
    while nth < keys.len() {
        keys[nth] = max_age(Lane::ALL[nth]);
        nth += 1;
    }
    keys
};

const fn max_age(lane: Lane) -> ConfigKey {
    key(
        lane.max_age_key(),
        "0s",
        ValueType::Duration { off: true },
        "Events of this lane older than this become dead letters (`expired`). \"0s\": off.",
    )
}

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
        event_max_age: Lane::ALL.map(|lane| values.duration(lane.max_age_key())),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_lane_has_its_key() {
        for lane in Lane::ALL {
            assert_eq!(MAX_AGE_KEYS[lane.index()].name, format!("relay.event_max_age.{lane}"));
        }
    }
}
