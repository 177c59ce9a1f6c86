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
use prometheus_client::registry::{Metric, Registry, Unit};

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

/// All metrics. Fields carry the metrics' names without the prefix `trunkline_`.
#[derive(Debug)]
#[expect(missing_docs, reason = "each is described once, where it is built")]
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
    pub rate_budget: FloatGauge,
    pub dedupe_effective_seconds: FloatGauge,
    pub dead_letters: Family<LaneLabel, Gauge>,
    pub queue_disk_bytes: Gauge,
    pub queue_max_bytes: Gauge,
    pub disk_free_bytes: FloatGauge,
    pub quarantined: Counter,
    pub queue_events: Family<LaneLabel, Gauge>,
    pub queue_oldest_seconds: Family<LaneLabel, FloatGauge>,
    pub lane_state: Family<LaneStateLabel, Gauge>,
    pub token_expiry_seconds: FloatGauge,
    pub clock_skew_seconds: FloatGauge,
    pub config_last_reload_success: Gauge,
    pub start_time_seconds: FloatGauge,
    pub log_lines_dropped: Counter,
    pub build_info: Family<BuildLabel, Gauge>,
    /// Sums for `status`, not registered: the families have them by label.
    pub sums: Sums,
}

/// A gauge of seconds, or of another number that is not whole.
pub type FloatGauge = Gauge<f64, AtomicU64>;

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

/// Registers each metric as it is built, so that name, help and unit stand in one place.
struct Builder(Registry);

impl Builder {
    fn plain<M: Metric + Clone + Default>(&mut self, name: &str, help: &str) -> M {
        let metric = M::default();
        self.0.register(name, help, metric.clone());
        metric
    }

    /// `name` is without the unit, which is appended.
    fn with_unit<M: Metric + Clone + Default>(&mut self, name: &str, unit: Unit, help: &str) -> M {
        let metric = M::default();
        self.0.register_with_unit(name, help, unit, metric.clone());
        metric
    }

    fn seconds<const N: usize>(&mut self, name: &str, help: &str, buckets: [f64; N]) -> Histogram {
        let metric = Histogram::new(buckets);
        self.0.register_with_unit(name, help, Unit::Seconds, metric.clone());
        metric
    }

    fn histogram<const N: usize>(&mut self, name: &str, help: &str, buckets: [f64; N]) -> Histogram {
        let metric = Histogram::new(buckets);
        self.0.register(name, help, metric.clone());
        metric
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// A fresh set, all zero.
    #[expect(clippy::too_many_lines, reason = "a table: one entry a metric")]
    pub fn new() -> Self {
        use Unit::{Bytes, Seconds};
        let mut add = Builder(Registry::with_prefix("trunkline"));
        let metrics = Self {
            events_accepted: add.plain("events_accepted", "Events on stable storage"),
            events_refused: add.plain("events_refused", "Events refused at a door"),
            events_duplicate: add.plain("events_duplicate", "Repeats answered as accepted"),
            events_ahead: add.plain("events_ahead", "Events over 2 minutes ahead of our clock"),
            events_unknown: add.plain("events_unknown", "Unknown fields and values that were forwarded"),
            events_delivered: add.plain("events_delivered", "Events that the API accepted"),
            events_dead: add.plain("events_dead", "Events moved to the dead letters"),
            events_reordered: add.plain("events_reordered", "Events whose order the API broke"),
            requests: add.plain("requests", "Requests by status"),
            request_seconds: add.seconds(
                "request",
                "Time from request to answer",
                [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0],
            ),
            batch_events: add.histogram(
                "batch_events",
                "Events in a request",
                [1.0, 2.0, 5.0, 10.0, 25.0, 50.0, 75.0, 90.0, 99.0, 100.0],
            ),
            delivery_age_seconds: add.seconds(
                "delivery_age",
                "Time from accepted to delivered",
                [0.1, 0.5, 1.0, 2.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 21_600.0, 86_400.0],
            ),
            queue_commit_seconds: add.seconds(
                "queue_commit",
                "Time of a group commit with its sync",
                [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0],
            ),
            connections: add.plain("connections", "Open connections"),
            keys_held: add.plain("keys_held", "Keys whose own probe failed"),
            rate_budget: add.plain("rate_budget", "Requests a minute that may start now"),
            dedupe_effective_seconds: add.with_unit(
                "dedupe_effective",
                Seconds,
                "How far back repeats are recognised",
            ),
            dead_letters: add.plain("dead_letters", "Events in the dead letters"),
            queue_disk_bytes: add.with_unit("queue_disk", Bytes, "Bytes on disk under queue.dir"),
            queue_max_bytes: add.with_unit("queue_max", Bytes, "queue.max_size"),
            disk_free_bytes: add.with_unit(
                "disk_free",
                Bytes,
                "Bytes free on the file system of queue.dir; NaN if it does not report its size",
            ),
            quarantined: add.plain("quarantined", "Parts of the queue that were quarantined"),
            queue_events: add.plain("queue_events", "Events that are not settled"),
            queue_oldest_seconds: add.with_unit(
                "queue_oldest",
                Seconds,
                "Age of the oldest event that is not settled; 0 without any",
            ),
            lane_state: add.plain("lane_state", "1 for the state that the lane is in"),
            token_expiry_seconds: add.with_unit(
                "token_expiry",
                Seconds,
                "Time until the access token runs out; NaN without one, or if that is not known",
            ),
            clock_skew_seconds: add.with_unit(
                "clock_skew",
                Seconds,
                "How far this host's clock is ahead of the API's; NaN before the first answer",
            ),
            config_last_reload_success: add.plain(
                "config_last_reload_success",
                "1 if the last reload or start applied the configuration, 0 if it was refused",
            ),
            start_time_seconds: add.with_unit("start_time", Seconds, "When the daemon started, since 1970"),
            log_lines_dropped: add
                .plain("log_lines_dropped", "Log lines dropped because the reader was too slow"),
            build_info: add.plain("build_info", "1, with the version that runs"),
            sums: Sums::default(),
            registry: add.0,
        };
        metrics.token_expiry_seconds.set(f64::NAN);
        metrics.clock_skew_seconds.set(f64::NAN);
        metrics.disk_free_bytes.set(f64::NAN);
        metrics.config_last_reload_success.set(1);
        metrics.build_info.get_or_create(&BuildLabel { version: env!("CARGO_PKG_VERSION") }).set(1);
        metrics
    }

    /// All metrics in the OpenMetrics text format.
    pub fn render(&self) -> String {
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("a String takes what is written to it");
        text
    }

    /// All metrics in the Prometheus text format 0.0.4, for those who do not ask for the other one: there
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
