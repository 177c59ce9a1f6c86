//! Every metric there is: one struct, passed by `Arc`, registered once, with typed labels.
//!
//! Names and labels are an interface that dashboards depend on. Labels are bounded sets; `reason`
//! is a code.

use std::fmt::Write as _;
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

/// Labels with a lane.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct LaneLabel {
    /// Lane's name.
    pub lane: &'static str,
}

/// Labels with a door.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct DoorLabel {
    /// Door's name.
    pub door: &'static str,
}

/// Labels of refusals.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct DoorReason {
    /// Door's name.
    pub door: &'static str,
    /// A code of ours.
    pub reason: &'static str,
}

/// Labels with an array of the table, or one that the operator added.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ArrayLabel {
    /// Array's name.
    pub array: String,
}

/// Labels of a lane's states: one of them is 1.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct LaneStateLabel {
    /// Lane's name.
    pub lane: &'static str,
    /// State's name.
    pub state: &'static str,
}

/// Labels of the build.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct BuildLabel {
    /// Version of the package.
    pub version: &'static str,
}

/// Labels of dead letters.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct LaneReason {
    /// Lane's name.
    pub lane: &'static str,
    /// A code of ours.
    pub reason: &'static str,
}

/// Labels of requests.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct LaneHttpStatus {
    /// Lane's name.
    pub lane: &'static str,
    /// HTTP status, or `none` when no response came.
    pub status: HttpStatus,
}

/// A response's status as a label value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct HttpStatus(pub Option<u16>);

impl EncodeLabelValue for HttpStatus {
    fn encode(
        &self,
        encoder: &mut prometheus_client::encoding::LabelValueEncoder<'_>,
    ) -> Result<(), std::fmt::Error> {
        match self.0 {
            Some(status) => EncodeLabelValue::encode(&u32::from(status), encoder),
            None => EncodeLabelValue::encode(&"none", encoder),
        }
    }
}

/// All metrics. Fields carry the names of the interface without the prefix `trunkline_`.
#[derive(Debug)]
#[expect(missing_docs, reason = "each is described once, where it is registered")]
pub struct Metrics {
    registry: Registry,
    pub events_accepted: Family<DoorLabel, Counter>,
    pub events_refused: Family<DoorReason, Counter>,
    pub events_duplicate: Counter,
    pub events_ahead: Family<DoorLabel, Counter>,
    pub events_unknown: Family<ArrayLabel, Counter>,
    pub events_delivered: Family<LaneLabel, Counter>,
    pub events_dead: Family<LaneReason, Counter>,
    pub events_reordered: Family<LaneLabel, Counter>,
    pub requests: Family<LaneHttpStatus, Counter>,
    pub request_seconds: Histogram,
    pub batch_events: Histogram,
    pub delivery_age_seconds: Histogram,
    pub queue_commit_seconds: Histogram,
    pub connections: Family<DoorLabel, Gauge>,
    pub keys_held: Family<LaneLabel, Gauge>,
    pub rate_budget: Gauge<f64, AtomicU64>,
    pub dedupe_effective_seconds: Gauge<f64, AtomicU64>,
    pub dead_letters: Family<LaneLabel, Gauge>,
    pub queue_disk_bytes: Gauge,
    pub queue_max_bytes: Gauge,
    pub disk_free_bytes: Gauge,
    pub quarantined: Counter,
    pub queue_events: Family<LaneLabel, Gauge>,
    pub queue_oldest_seconds: Family<LaneLabel, Gauge<f64, AtomicU64>>,
    pub lane_state: Family<LaneStateLabel, Gauge>,
    pub token_expiry_seconds: Gauge<f64, AtomicU64>,
    pub clock_skew_seconds: Gauge<f64, AtomicU64>,
    pub config_last_reload_success: Gauge,
    pub start_time_seconds: Gauge<f64, AtomicU64>,
    pub build_info: Family<BuildLabel, Gauge>,
    /// Sums for `status`, not registered: the families have them by label.
    pub sums: Sums,
}

/// Counted besides the families, whose labels cannot be listed.
#[derive(Debug, Default)]
pub struct Sums {
    /// Refusals at all doors.
    pub refused: Counter,
    /// Requests of all lanes.
    pub requests: Counter,
    /// Events that stood in them.
    pub events_in_requests: Counter,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// A fresh set, all zero.
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("trunkline");
        let mut metrics = Self {
            registry: Registry::default(),
            events_accepted: Family::default(),
            events_refused: Family::default(),
            events_duplicate: Counter::default(),
            events_ahead: Family::default(),
            events_unknown: Family::default(),
            events_delivered: Family::default(),
            events_dead: Family::default(),
            events_reordered: Family::default(),
            requests: Family::default(),
            request_seconds: Histogram::new([0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0]),
            batch_events: Histogram::new([1.0, 2.0, 5.0, 10.0, 25.0, 50.0, 75.0, 90.0, 99.0, 100.0]),
            delivery_age_seconds: Histogram::new([
                0.1, 0.5, 1.0, 2.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 21_600.0, 86_400.0,
            ]),
            queue_commit_seconds: Histogram::new([
                0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0,
            ]),
            connections: Family::default(),
            keys_held: Family::default(),
            rate_budget: Gauge::default(),
            dedupe_effective_seconds: Gauge::default(),
            dead_letters: Family::default(),
            queue_disk_bytes: Gauge::default(),
            queue_max_bytes: Gauge::default(),
            disk_free_bytes: Gauge::default(),
            quarantined: Counter::default(),
            queue_events: Family::default(),
            queue_oldest_seconds: Family::default(),
            lane_state: Family::default(),
            token_expiry_seconds: Gauge::default(),
            clock_skew_seconds: Gauge::default(),
            config_last_reload_success: Gauge::default(),
            start_time_seconds: Gauge::default(),
            build_info: Family::default(),
            sums: Sums::default(),
        };
        registry.register("events_accepted", "Events on stable storage", metrics.events_accepted.clone());
        registry.register("events_refused", "Events refused at a door", metrics.events_refused.clone());
        registry.register(
            "events_duplicate",
            "Repeats answered as accepted",
            metrics.events_duplicate.clone(),
        );
        registry.register(
            "events_ahead",
            "Events over 2 minutes ahead of our clock",
            metrics.events_ahead.clone(),
        );
        registry.register(
            "events_unknown",
            "Fields and values that the table of types does not have, let through",
            metrics.events_unknown.clone(),
        );
        registry.register("events_delivered", "Events the API took", metrics.events_delivered.clone());
        registry.register("events_dead", "Events put to the dead letters", metrics.events_dead.clone());
        registry.register(
            "events_reordered",
            "Events whose order the API broke",
            metrics.events_reordered.clone(),
        );
        registry.register("requests", "Requests by status", metrics.requests.clone());
        registry.register_with_unit(
            "request",
            "Time from request to answer",
            Unit::Seconds,
            metrics.request_seconds.clone(),
        );
        registry.register("batch_events", "Events in a request", metrics.batch_events.clone());
        registry.register_with_unit(
            "delivery_age",
            "Time from accepted to delivered",
            Unit::Seconds,
            metrics.delivery_age_seconds.clone(),
        );
        registry.register_with_unit(
            "queue_commit",
            "Time of a group commit with its sync",
            Unit::Seconds,
            metrics.queue_commit_seconds.clone(),
        );
        registry.register("connections", "Open connections", metrics.connections.clone());
        registry.register("keys_held", "Keys whose own probe failed", metrics.keys_held.clone());
        registry.register("rate_budget", "Requests a minute that may start now", metrics.rate_budget.clone());
        registry.register_with_unit(
            "dedupe_effective",
            "How far back repeats are recognised",
            Unit::Seconds,
            metrics.dedupe_effective_seconds.clone(),
        );
        registry.register("dead_letters", "Events in the dead letters", metrics.dead_letters.clone());
        let bytes = [
            ("queue_disk", "Bytes on disk under queue.dir", &metrics.queue_disk_bytes),
            ("queue_max", "queue.max_size", &metrics.queue_max_bytes),
            ("disk_free", "Bytes free on the file system of queue.dir", &metrics.disk_free_bytes),
        ];
        for (name, help, gauge) in bytes {
            registry.register_with_unit(name, help, Unit::Bytes, gauge.clone());
        }
        registry.register(
            "quarantined",
            "Parts of the queue that were set aside",
            metrics.quarantined.clone(),
        );
        metrics.register_state(&mut registry);
        metrics.registry = registry;
        metrics
    }

    fn register_state(&self, registry: &mut Registry) {
        registry.register("queue_events", "Events that are not settled", self.queue_events.clone());
        registry.register_with_unit(
            "queue_oldest",
            "Age of the oldest event that is not settled; 0 without any",
            Unit::Seconds,
            self.queue_oldest_seconds.clone(),
        );
        registry.register("lane_state", "1 for the state that the lane is in", self.lane_state.clone());
        registry.register_with_unit(
            "token_expiry",
            "Time until the access token runs out; NaN without one, or if that is not known",
            Unit::Seconds,
            self.token_expiry_seconds.clone(),
        );
        registry.register_with_unit(
            "clock_skew",
            "How far this host's clock is ahead of the API's; NaN before the first answer",
            Unit::Seconds,
            self.clock_skew_seconds.clone(),
        );
        registry.register(
            "config_last_reload_success",
            "1 if the last reload, or the start, took the configuration over; 0 if it was refused",
            self.config_last_reload_success.clone(),
        );
        registry.register_with_unit(
            "start_time",
            "When the daemon started, since 1970",
            Unit::Seconds,
            self.start_time_seconds.clone(),
        );
        registry.register("build_info", "1, with the version that runs", self.build_info.clone());
        self.token_expiry_seconds.set(f64::NAN);
        self.clock_skew_seconds.set(f64::NAN);
        self.config_last_reload_success.set(1);
        self.build_info.get_or_create(&BuildLabel { version: env!("CARGO_PKG_VERSION") }).set(1);
    }

    /// All metrics in the OpenMetrics text format.
    pub fn render(&self) -> String {
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("a String takes what is written to it");
        text
    }

    /// All metrics in the Prometheus text format 0.0.4, for whoever does not ask for the other one: there
    /// a counter's description bears the name of its sample, and units have no line.
    pub fn render_classic(&self) -> String {
        let mut text = String::new();
        let mut help = "";
        let open = self.render();
        for line in open.lines() {
            let mut words = line.splitn(4, ' ');
            match (words.next(), words.next(), words.next(), words.next()) {
                (Some("#"), Some("UNIT" | "EOF"), ..) => {}
                (Some("#"), Some("HELP"), ..) => help = line,
                (Some("#"), Some("TYPE"), Some(name), Some(kind)) => {
                    let suffix = if kind == "counter" { "_total" } else { "" };
                    let about = help.splitn(4, ' ').nth(3).unwrap_or_default();
                    let _ = writeln!(text, "# HELP {name}{suffix} {about}");
                    let _ = writeln!(text, "# TYPE {name}{suffix} {kind}");
                }
                _ => {
                    text.push_str(line);
                    text.push('\n');
                }
            }
        }
        text
    }

    /// Sum of a counter over its labels, for people.
    pub fn total<L: Clone + std::hash::Hash + Eq>(
        values: impl IntoIterator<Item = L>,
        family: &Family<L, Counter>,
    ) -> u64 {
        values.into_iter().map(|labels| family.get_or_create(&labels).get()).sum()
    }
}
