//! Gauges that are true at the moment of a scrape: set just before the text is made.

use super::overview::Overview;
use crate::event::{Door, Lane};
use crate::metrics::{DoorLabel, LaneLabel, LaneReason, LaneStateLabel};
use crate::queue::{Backlog, DeadReason};
use crate::relay::LaneState;

/// Brings the gauges that show a state up to now.
pub(super) fn refresh(overview: &Overview) {
    let metrics = &overview.metrics;
    let now_ms = overview.clock.unix_ms();
    let relay = overview.lanes.borrow().clone();
    for lane in Lane::ALL {
        let labels = LaneLabel { lane: lane.name() };
        let depth = overview.backlog.depth(lane);
        metrics.dead_letters.get_or_create(&labels).set(overview.dead_letters.count(lane).cast_signed());
        metrics.queue_events.get_or_create(&labels).set(depth.events.cast_signed());
        let age_ms = depth.oldest_ms.map_or(0, |oldest| now_ms.saturating_sub(oldest).max(0));
        metrics.queue_oldest_seconds.get_or_create(&labels).set(age_ms as f64 / 1000.0);
        // All series are there from the start: a rate needs the zero before the first one.
        let _ = metrics.events_delivered.get_or_create(&labels);
        let _ = metrics.events_reordered.get_or_create(&labels);
        for reason in DeadReason::ALL {
            let _ =
                metrics.events_dead.get_or_create(&LaneReason { lane: lane.name(), reason: reason.code() });
        }
        for state in LaneState::ALL {
            let is = relay.lanes[lane.index()].state == state;
            let labels = LaneStateLabel { lane: lane.name(), state: state.name() };
            metrics.lane_state.get_or_create(&labels).set(i64::from(is));
        }
    }
    for door in [Door::Stream, Door::Http] {
        let _ = metrics.connections.get_or_create(&DoorLabel { door: door.name() });
        let _ = metrics.events_ahead.get_or_create(&DoorLabel { door: door.name() });
    }
    metrics.start_time_seconds.set(overview.started_ms as f64 / 1000.0);
    let login = overview.identity.upstream.login().borrow().clone();
    let left = login.expires_at_ms.map(|at| at.saturating_sub(now_ms).max(0) as f64 / 1000.0);
    metrics.token_expiry_seconds.set(left.unwrap_or(f64::NAN));
    let skew = overview.identity.upstream.clock_skew_seconds().map(|seconds| seconds as f64);
    metrics.clock_skew_seconds.set(skew.unwrap_or(f64::NAN));
}
