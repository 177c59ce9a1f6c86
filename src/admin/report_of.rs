//! Gathers a report from the daemon's parts.

use std::collections::BTreeMap;
use std::time::Duration;

use super::context::{AdminContext, Phase};
use super::health;
use super::heartbeat::sample;
use super::report::{Disk, LaneReport, Report};
use super::summary;
use crate::event::{Door, Lane};
use crate::metrics::{DoorLabel, LaneReason, Metrics};
use crate::queue::{Backlog, DeadReason, LaneDepth, QueueHealth};
use crate::relay::LaneStatus;

/// Letters that end within this time are told ahead. Source: the interface.
const TOLD_AHEAD: Duration = Duration::from_secs(3 * 24 * 3_600);
/// A queue that is busy for longer is judged by its last answer.
const ASK_FOR: Duration = Duration::from_secs(2);

/// How the queue is now.
pub(super) async fn vitals(house: &AdminContext) -> QueueHealth {
    if let Ok(Some(vitals)) = tokio::time::timeout(ASK_FOR, house.caretaker.vitals()).await {
        house.vitality.note_queue(vitals.clone(), house.clock.mono());
    }
    house.vitality.queue()
}

/// Everything that `/status` says.
pub(super) async fn report(house: &AdminContext) -> Report {
    let vitals = vitals(house).await;
    let dead = house.dead_letters.clone();
    // A disk that stalls must not keep the operator from being told so.
    let oldest_letter = tokio::task::spawn_blocking(move || dead.next(0));
    let died_ms = match tokio::time::timeout(ASK_FOR, oldest_letter).await {
        Ok(Ok(Ok(letter))) => letter.map(|letter| letter.died_at_ms),
        Ok(Ok(Err(_)) | Err(_)) | Err(_) => None,
    };
    gather(house, &vitals, died_ms)
}

/// The same from what is at hand, without asking anybody.
pub(super) fn gather(house: &AdminContext, vitals: &QueueHealth, oldest_letter_ms: Option<i64>) -> Report {
    let now_ms = house.clock.unix_ms();
    let now = sample(house);
    let relay = house.relay.borrow().clone();
    let account = house.account.borrow().clone();
    let settings = house.settings.borrow().clone();
    let login = house.upstream.login().borrow().clone();
    let depths = Lane::ALL.map(|lane| house.backlog.depth(lane));
    let trend = house.vitality.rates().trend(now);
    let metrics = &house.metrics;
    let disk = Disk {
        used_bytes: now.disk_bytes,
        max_bytes: metrics.queue_max_bytes.get().cast_unsigned(),
        free_bytes: metrics.disk_free_bytes.get().cast_unsigned(),
    };
    let room = disk
        .max_bytes
        .saturating_sub(disk.used_bytes)
        .min(disk.free_bytes.saturating_sub(settings.min_free_disk));
    let lanes: BTreeMap<String, LaneReport> = Lane::ALL
        .into_iter()
        .map(|lane| {
            let dead = house.dead_letters.count(lane);
            let report = lane_report(&relay.lanes[lane.index()], depths[lane.index()], dead, now_ms);
            (lane.name().to_owned(), report)
        })
        .collect();
    let expires_ms = oldest_letter_ms
        .filter(|_| !settings.dead_letters_max_age.is_zero())
        .map(|died_ms| died_ms.saturating_add(ms(settings.dead_letters_max_age)).saturating_sub(now_ms));
    let mut report = Report {
        state: summary::worst(&relay).name().to_owned(),
        words: Vec::new(),
        ready: true,
        healthy: true,
        reasons: Vec::new(),
        queue_events: depths.iter().map(|depth| depth.events).sum(),
        queue_bytes: depths.iter().map(|depth| depth.bytes).sum(),
        oldest_seconds: lanes.values().filter_map(|lane| lane.oldest_seconds).max(),
        dead_letters: lanes.values().map(|lane| lane.dead_letters).sum(),
        dead_letters_expire_seconds: expires_ms
            .filter(|left| *left < ms(TOLD_AHEAD))
            .map(|left| left.max(0).unsigned_abs() / 1000),
        time_to_drain_seconds: trend.to_drain.map(|time| time.as_secs()),
        time_to_full_seconds: trend.to_full(room).map(|time| time.as_secs()),
        rate_budget: (relay.budget * 10.0).round() / 10.0,
        clock_skew_seconds: house.upstream.clock_skew_seconds(),
        token_expiry_seconds: login
            .expires_at_ms
            .map(|at| at.saturating_sub(now_ms).max(0).unsigned_abs() / 1000),
        login_fault: login.fault,
        region: account.owner.region,
        organisation: account.owner.organisation,
        organisation_name: account.organisation_name,
        client_id: account.owner.client_id,
        api_host: house.upstream.host(),
        accepted_per_second: tenths(trend.accepted),
        delivered_per_second: tenths(trend.delivered),
        accepted_total: now.accepted,
        duplicate_total: now.duplicate,
        refused_total: metrics.sums.refused.get(),
        delivered_total: now.delivered,
        dead_total: dead(metrics),
        requests_total: metrics.sums.requests.get(),
        events_in_requests_total: metrics.sums.events_in_requests.get(),
        connections: connections(metrics),
        disk,
        last_reload_ok: metrics.config_last_reload_success.get() == 1,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        uptime_seconds: now_ms.saturating_sub(house.started_ms).max(0).unsigned_abs() / 1000,
        now_ms,
        lanes,
    };
    let not_ready = health::not_ready(*house.phase.borrow(), vitals);
    report.ready = not_ready.is_none();
    report.reasons = health::troubles(not_ready.as_deref(), &report, vitals, settings.late_after);
    report.healthy = report.reasons.is_empty();
    report.words = summary::of(&report, *house.phase.borrow() == Phase::Stopping);
    report
}

fn lane_report(status: &LaneStatus, depth: LaneDepth, dead_letters: u64, now_ms: i64) -> LaneReport {
    let ago = |at_ms: Option<i64>| at_ms.map(|at| now_ms.saturating_sub(at).max(0).unsigned_abs() / 1000);
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
