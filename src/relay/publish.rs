//! Shows operators what the lanes do: the status, and the gauges that follow from it.

use tokio::sync::watch;

use super::decide::state::LaneState;
use super::lane::LaneRun;
use super::pacer::Pacer;
use super::status::RelayStatus;
use crate::clock::Clock;
use crate::event::Lane;
use crate::metrics::{LaneLabel, Metrics};

const RATE_LIMITED: &str = "the API's rate limit is used up: all lanes wait";
const STARTS_UNKNOWN: &str =
    "nobody knows how many requests started before the restart: all lanes wait for a minute";

/// Shows what the lanes do now.
pub(super) fn publish(
    metrics: &Metrics,
    shown: &watch::Sender<RelayStatus>,
    lanes: &[LaneRun; Lane::ALL.len()],
    pacer: &Pacer,
    clock: &Clock,
) {
    let (now, now_ms) = (clock.mono(), clock.unix_ms());
    let (budget, limited_for) = {
        let pace = pacer.pace();
        (pace.budget(now), pace.limited_for(now))
    };
    // The limit is the client's, and it ends by itself.
    let all_wait = limited_for.map(|wait| (RATE_LIMITED, wait));
    let all_wait = all_wait.or_else(|| Some((STARTS_UNKNOWN, pacer.unknown_for(now)?)));
    metrics.rate_budget.set(budget);
    let mut next = RelayStatus { lanes: Lane::ALL.map(|lane| lanes[lane.index()].status(now)), budget };
    if let Some((reason, wait)) = all_wait {
        for (run, status) in lanes.iter().zip(&mut next.lanes) {
            // It runs as far as it goes.
            if status.state == LaneState::Running && !run.is_empty() {
                status.reason = Some(reason.to_owned());
                status.next_attempt = Some(wait);
            }
        }
    }
    for (lane, status) in Lane::ALL.into_iter().zip(&next.lanes) {
        let held = i64::try_from(status.keys_held).unwrap_or(i64::MAX);
        metrics.keys_held.get_or_create(&LaneLabel { lane: lane.name() }).set(held);
    }
    shown.send_if_modified(|status| {
        for (next, before) in next.lanes.iter_mut().zip(&status.lanes) {
            next.since_ms = if next.state == before.state { before.since_ms } else { Some(now_ms) };
        }
        let changed = *status != next;
        *status = next;
        changed
    });
}
