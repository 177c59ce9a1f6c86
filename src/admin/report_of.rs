//! Gathers a report from the daemon's parts, section by section.

use std::time::Duration;

use super::health;
use super::overview::Overview;
use super::report::{Disk, LaneReport, Report};
use super::state::Lifecycle;
use super::summary;
use crate::event::{Door, Lane};
use crate::metrics::{DoorLabel, LaneReason, Metrics};
use crate::queue::{Backlog, DeadReason, LaneDepth, QueueHealth};
use crate::relay::LaneStatus;

/// Dead letters that expire within this time are announced.
const TOLD_AHEAD: Duration = Duration::from_secs(3 * 24 * 3_600);
/// How long the oldest dead letter may take to be read.
const LETTER_READ_WITHIN: Duration = Duration::from_secs(2);

/// Everything that `/status` says.
pub(super) async fn report(overview: &Overview) -> Report {
    let queue = overview.heartbeat.ask_queue().await;
    let dead = overview.dead_letters.clone();
    // A disk that stalls must not keep the operator from hearing of it.
    let oldest = tokio::task::spawn_blocking(move || dead.next(0));
    let died_ms = match tokio::time::timeout(LETTER_READ_WITHIN, oldest).await {
        Ok(Ok(Ok(letter))) => letter.map(|letter| letter.died_at_ms),
        Ok(Ok(Err(_)) | Err(_)) | Err(_) => None,
    };
    gather(overview, &queue, died_ms)
}

/// The same from what is at hand, without asking anybody.
pub(super) fn gather(overview: &Overview, queue: &QueueHealth, oldest_letter_ms: Option<i64>) -> Report {
    let now_ms = overview.clock.unix_ms();
    let mut report = Report {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        uptime_seconds: seconds_from(overview.started_ms, now_ms),
        now_ms,
        last_reload_ok: overview.metrics.config_last_reload_success.get() == 1,
        ..Report::default()
    };
    add_lanes(&mut report, overview);
    add_letters_end(&mut report, overview, oldest_letter_ms);
    add_counts(&mut report, &overview.metrics);
    add_rates(&mut report, overview);
    add_identity(&mut report, overview);
    judge(&mut report, overview, queue);
    report
}

fn add_lanes(report: &mut Report, overview: &Overview) {
    let relay = overview.lanes.borrow().clone();
    report.state = summary::worst(&relay).name().to_owned();
    report.rate_budget = tenths(relay.budget);
    for lane in Lane::ALL {
        let depth = overview.backlog.depth(lane);
        let dead = overview.dead_letters.count(lane);
        let found = lane_report(&relay.lanes[lane.index()], depth, dead, report.now_ms);
        report.queue_events += depth.events;
        report.queue_bytes += depth.bytes;
        report.oldest_seconds = report.oldest_seconds.max(found.oldest_seconds);
        report.dead_letters += dead;
        report.lanes.insert(lane.name().to_owned(), found);
    }
}

fn add_letters_end(report: &mut Report, overview: &Overview, oldest_ms: Option<i64>) {
    let max_age = overview.settings.borrow().dead_letters_max_age;
    if max_age.is_zero() {
        return;
    }
    let left_ms = oldest_ms.map(|died_ms| died_ms.saturating_add(ms(max_age)).saturating_sub(report.now_ms));
    report.dead_letters_expire_seconds =
        left_ms.filter(|left| *left < ms(TOLD_AHEAD)).map(|left| left.max(0).unsigned_abs() / 1000);
}

fn add_counts(report: &mut Report, metrics: &Metrics) {
    report.refused_total = metrics.sums.refused.get();
    report.requests_total = metrics.sums.requests.get();
    report.events_in_requests_total = metrics.sums.events_in_requests.get();
    report.dead_total = dead(metrics);
    report.connections = connections(metrics);
}

/// What is counted, how fast it changes, and what that means for the disk.
fn add_rates(report: &mut Report, overview: &Overview) {
    let (now, metrics) = (overview.heartbeat.sample(), &overview.metrics);
    let trend = overview.heartbeat.rates().trend(now);
    let disk = Disk {
        used_bytes: now.disk_bytes,
        max_bytes: metrics.queue_max_bytes.get().cast_unsigned(),
        free_bytes: Some(metrics.disk_free_bytes.get()).filter(|free| !free.is_nan()).map(|free| free as u64),
        warning: overview.disk_warning.clone(),
    };
    let min_free = overview.settings.borrow().min_free_disk;
    let usable = disk.free_bytes.map_or(u64::MAX, |free| free.saturating_sub(min_free));
    let room = disk.max_bytes.saturating_sub(disk.used_bytes).min(usable);
    report.disk = disk;
    report.accepted_total = now.accepted;
    report.duplicate_total = now.duplicate;
    report.delivered_total = now.delivered;
    report.accepted_per_second = tenths(trend.accepted);
    report.delivered_per_second = tenths(trend.delivered);
    report.time_to_drain_seconds = trend.to_drain.map(|time| time.as_secs());
    report.time_to_full_seconds = trend.to_full(room).map(|time| time.as_secs());
}

/// The account that events go to, and how the login stands.
fn add_identity(report: &mut Report, overview: &Overview) {
    let destination = overview.identity.destination.borrow().clone();
    report.region = destination.owner.region;
    report.organisation = destination.owner.organisation;
    report.organisation_name = destination.organisation_name;
    report.client_id = destination.owner.client_id;
    let upstream = &overview.identity.upstream;
    let login = upstream.login().borrow().clone();
    report.api_host = upstream.host();
    report.proxy = upstream.proxy();
    report.clock_skew_seconds = upstream.clock_skew_seconds();
    report.token_expiry_seconds = login.expires_at_ms.map(|at| seconds_from(report.now_ms, at));
    report.login_fault = login.fault;
}

/// Says what all of it means. Comes last: it reads the report.
fn judge(report: &mut Report, overview: &Overview, queue: &QueueHealth) {
    let lifecycle = overview.lifecycle();
    let late_after = overview.settings.borrow().late_after;
    let not_ready = health::not_ready(lifecycle, queue, overview.door_fault());
    report.ready = not_ready.is_none();
    report.reasons = health::troubles(not_ready.as_deref(), report, queue, late_after);
    report.healthy = report.reasons.is_empty();
    report.words = summary::of(report, lifecycle == Lifecycle::Stopping);
}

fn lane_report(status: &LaneStatus, depth: LaneDepth, dead_letters: u64, now_ms: i64) -> LaneReport {
    let ago = |at_ms: Option<i64>| at_ms.map(|at| seconds_from(at, now_ms));
    LaneReport {
        state: status.state.name().to_owned(),
        reason: status.reason.clone(),
        since_ms: status.since_ms,
        queue_events: depth.events,
        oldest_seconds: ago(depth.oldest_ms),
        in_flight: status.in_flight as u64,
        last_status: status.last_status,
        next_attempt_seconds: status.next_attempt.map(|wait| wait.as_secs_f64().ceil() as u64),
        last_accepted_seconds: ago(depth.last_accepted_ms),
        last_delivered_seconds: ago(status.last_delivered_ms),
        keys_held: status.keys_held as u64,
        dead_letters,
    }
}

/// Whole seconds between two times; zero if `then` is not later.
fn seconds_from(from_ms: i64, then_ms: i64) -> u64 {
    then_ms.saturating_sub(from_ms).max(0).unsigned_abs() / 1000
}

fn ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn tenths(number: f64) -> f64 {
    (number * 10.0).round() / 10.0
}

fn dead(metrics: &Metrics) -> u64 {
    let labels = Lane::ALL.into_iter().flat_map(|lane| {
        DeadReason::ALL.map(|reason| LaneReason { lane: lane.name(), reason: reason.code() })
    });
    labels.map(|labels| metrics.events_dead.get(&labels).map_or(0, |counter| counter.get())).sum()
}

fn connections(metrics: &Metrics) -> u64 {
    let doors = Door::ALL.map(|door| DoorLabel { door: door.name() });
    let open = doors.iter().filter_map(|door| metrics.connections.get(door).map(|gauge| gauge.get()));
    open.sum::<i64>().max(0).unsigned_abs()
}
