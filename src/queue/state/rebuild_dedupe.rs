//! What deduplication knows after a restart.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::dead::Dead;
use super::dedupe::Dedupe;
use super::ledger::Ledger;
use crate::queue::log::append::SegmentedLog;
use crate::queue::log::ids::{self, MAX_IDS, NumberedId};
use crate::queue::log::survey::{ids_of, scan};

/// Remembers the ids accepted within `window`: of segments that are here, and of those that were
/// deleted. What died may come again, whether its letter still lies there or not.
pub(crate) fn recall(
    logs: &[SegmentedLog],
    dead: &Dead,
    ledger: &Ledger,
    ids_dir: &Path,
    now_ms: i64,
    window: Duration,
    dedupe: &mut Dedupe,
) {
    if window.is_zero() {
        return;
    }
    let since = now_ms.saturating_sub(i64::try_from(window.as_millis()).unwrap_or(i64::MAX));
    let mut found: Vec<NumberedId> = Vec::new();
    for log in logs {
        let mut from_log = 0;
        for segment in log.index.segments().iter().rev() {
            if segment.count() == 0 {
                continue;
            }
            if segment.times.newest_ms < since || from_log >= MAX_IDS {
                break;
            }
            let here = match ids::read(&segment.dir.join(ids::FILE)) {
                Some(file) if file.first == segment.first => file.numbered(),
                // What a power cut may still take is no reason to refuse it when it comes again.
                _ if segment.is_unsynced => continue,
                _ => {
                    let raw = match &segment.raw {
                        Some(raw) => Some(raw.clone()),
                        None => scan(log.id, segment.first, &segment.dir).ok().flatten().map(Arc::new),
                    };
                    let all = raw.map(|raw| ids_of(&raw)).unwrap_or_default();
                    // What was refused may come again.
                    all.into_iter().filter(|numbered| numbered.number < segment.end).collect()
                }
            };
            from_log += here.len();
            found.extend(here);
        }
    }
    for entry in std::fs::read_dir(ids_dir).into_iter().flatten().flatten() {
        if let Some(file) = ids::read(&entry.path()) {
            found.extend(file.numbered());
        }
    }
    found.retain(|NumberedId { id, .. }| id.at_ms >= since && dead.find(id.identity).is_none());
    if !found.is_empty() {
        let died = ledger.died_since(since);
        found.retain(|NumberedId { number, id }| !died.contains(&(id.lane, *number)));
    }
    found.sort_by_key(|numbered| numbered.id.at_ms);
    for NumberedId { id, .. } in &found[found.len().saturating_sub(MAX_IDS)..] {
        dedupe.remember(id.identity, id.at_ms);
    }
}
