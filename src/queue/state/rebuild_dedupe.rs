//! What deduplication knows after a restart.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::dead::Dead;
use super::dedupe::{Dedupe, MAX_IDS};
use super::ledger::Ledger;
use crate::queue::log::append::SegmentedLog;
use crate::queue::log::ids::{self, IdEntry};
use crate::queue::log::survey::{idents_of, scan};
use crate::queue::types::Seq;

/// Remembers the ids accepted within `window`: of segments that are here, and of those that were
/// deleted. What died may come again, whether its letter still lies there or not.
pub(crate) fn recall(
    rows: &[SegmentedLog],
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
    let mut found: Vec<(Seq, IdEntry)> = Vec::new();
    for row in rows {
        let mut from_row = 0;
        for segment in row.segments.iter().rev() {
            if segment.count() == 0 {
                continue;
            }
            if segment.newest_ms < since || from_row >= MAX_IDS {
                break;
            }
            let here: Vec<(Seq, IdEntry)> = match ids::read(&segment.dir.join(ids::FILE)) {
                Some((first, here)) if first == segment.first => (first..).zip(here).collect(),
                // What a power cut may still take is no reason to refuse it when it comes again.
                _ if segment.is_unsynced => continue,
                _ => {
                    let raw = match &segment.raw {
                        Some(raw) => Some(raw.clone()),
                        None => scan(row.id, segment.first, &segment.dir).ok().flatten().map(Arc::new),
                    };
                    let all = raw.map(|raw| idents_of(&raw)).unwrap_or_default();
                    // What was refused may come again.
                    all.into_iter().filter(|(number, _)| *number < segment.end).collect()
                }
            };
            from_row += here.len();
            found.extend(here);
        }
    }
    for entry in std::fs::read_dir(ids_dir).into_iter().flatten().flatten() {
        if let Some((first, idents)) = ids::read(&entry.path()) {
            found.extend((first..).zip(idents));
        }
    }
    found.retain(|(_, ident)| ident.at_ms >= since && dead.find(ident.identity).is_none());
    if !found.is_empty() {
        let died = ledger.died_since(since);
        found.retain(|(number, ident)| !died.contains(&(ident.lane, *number)));
    }
    found.sort_by_key(|(_, ident)| ident.at_ms);
    for (_, ident) in &found[found.len().saturating_sub(MAX_IDS)..] {
        dedupe.remember(ident.identity, ident.at_ms);
    }
}
