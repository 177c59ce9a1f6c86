//! Whether events are accepted, and what an operator should know of. Pure.

use std::time::Duration;

use super::report::Report;
use super::state::Lifecycle;
use crate::queue::{AppendError, QueueHealth};

/// Why no event is accepted now; `None`: they are.
pub(super) fn not_ready(
    lifecycle: Lifecycle,
    queue: &QueueHealth,
    door_fault: Option<String>,
) -> Option<String> {
    match lifecycle {
        Lifecycle::Starting => return Some("starting".to_owned()),
        Lifecycle::Stopping => return Some("stopping".to_owned()),
        Lifecycle::Accepting => {}
    }
    let refusal = queue.refusal.as_ref().map(|refusal| match refusal {
        AppendError::Full { max_bytes } => format!(
            "queue is full at {}: producers are refused until events leave or queue.max_size is raised",
            size(*max_bytes)
        ),
        AppendError::DiskLow { free_bytes, min_bytes } => format!(
            "disk has {} free, needs {} (queue.min_free_disk): producers are refused until space is free",
            size(*free_bytes),
            size(*min_bytes)
        ),
        _ => refusal.to_string(),
    });
    refusal.or_else(|| door_fault.map(|fault| format!("{fault}; it is created again within seconds")))
}

fn size(bytes: u64) -> String {
    bytesize::ByteSize(bytes).display().iec().to_string()
}

/// Everything that is wrong, the gravest first. Empty: healthy.
pub(super) fn troubles(
    not_ready: Option<&str>,
    report: &Report,
    queue: &QueueHealth,
    late_after: Duration,
) -> Vec<String> {
    let mut troubles: Vec<String> =
        not_ready.map(|why| format!("not accepting: {why}")).into_iter().collect();
    for lane in &queue.full_lanes {
        troubles.push(format!("{lane}: the lane has used its share of the queue; its events are refused"));
    }
    if queue.settling_fails {
        troubles.push("outcomes cannot be written to the queue".to_owned());
    }
    for (name, lane) in &report.lanes {
        if lane.state != "running" {
            let reason = lane.reason.as_deref().unwrap_or("no reason known");
            troubles.push(format!("{name} {}: {reason}", lane.state));
        }
    }
    if let Some(oldest) = report.oldest_seconds.filter(|oldest| *oldest > late_after.as_secs()) {
        let age = humantime::format_duration(Duration::from_secs(oldest));
        let limit = humantime::format_duration(late_after);
        troubles.push(format!("the oldest event has waited for {age}, over {limit} (admin.late_after)"));
    }
    troubles
}
