//! What deduplication knows after a restart.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Ages;
use crate::event::Lane;

use super::dead::Dead;
use super::dedupe::Dedupe;
use super::ledger::Ledger;
use crate::queue::log::append::SegmentedLog;
use crate::queue::log::ids::{self, MAX_IDS, NumberedId};
use crate::queue::log::raw::OnFault;
use crate::queue::log::segment::{LogId, Segment};
use crate::queue::log::survey::{ids_of, scan};

/// Remembers the ids accepted within `window`: of segments that are here, and of those that were
/// deleted. What died or was lost may come again, whether its letter still lies there or not.
pub(crate) fn rebuild_dedupe(
    logs: &[SegmentedLog],
    dead: &Dead,
    ledger: &Ledger,
    ids_dir: &Path,
    ages: &Ages,
    window: Duration,
    dedupe: &mut Dedupe,
) {
    if window.is_zero() {
        return;
    }
    let mut found: Vec<NumberedId> = Vec::new();
    for log in logs {
        let mut from_log = 0;
        for segment in log.index.segments().iter().rev() {
            if from_log >= MAX_IDS {
                break;
            }
            // Stamps need not rise: the clock may have been set.
            if segment.count() == 0 || ages.of(segment.times.newest_ms) > window {
                continue;
            }
            let here = match ids::read(&segment.dir.join(ids::FILE)) {
                Some(file) if file.first == segment.first => file.numbered(),
                // What a power cut may still take is no reason to refuse it when it comes again.
                _ if segment.is_unsynced => continue,
                _ => {
                    let (all, fault) = scanned_ids(log.id, segment);
                    if let Some(fault) = fault {
                        tracing::warn!(segment = %segment.dir.display(), fault, "cannot read all ids of a segment; repeats of its events may be queued again");
                    }
                    // What was refused may come again.
                    all.into_iter().filter(|numbered| numbered.number < segment.end).collect()
                }
            };
            from_log += here.len();
            found.extend(here.into_iter().filter(|numbered| !segment.lost.contains(numbered.number)));
        }
    }
    match std::fs::read_dir(ids_dir).and_then(Iterator::collect::<io::Result<Vec<_>>>) {
        Ok(entries) => {
            let files = entries.iter().filter_map(|entry| ids::read(&entry.path()));
            found.extend(files.flat_map(|file| file.numbered()));
        }
        Err(error) => {
            tracing::warn!(dir = %ids_dir.display(), %error, "cannot read the ids of delivered events; repeats of them are queued again");
        }
    }
    found.retain(|NumberedId { id, .. }| ages.of(id.at_ms) <= window && dead.find(id.identity).is_none());
    found.retain(|NumberedId { number, id }| {
        Lane::from_id(id.lane).is_none_or(|lane| !ledger.is_repeatable(lane, *number))
    });
    found.sort_by_cached_key(|numbered| ages.boot_ms(numbered.id.at_ms));
    for NumberedId { id, .. } in &found[found.len().saturating_sub(MAX_IDS)..] {
        dedupe.remember(id.identity, ages.boot_ms(id.at_ms));
    }
}

/// Who is in a segment, as far as its database can be read, and why not all of it.
fn scanned_ids(id: LogId, segment: &Segment) -> (Vec<NumberedId>, Option<String>) {
    let raw = match &segment.raw {
        Some(raw) => Ok(Some(raw.clone())),
        None => scan(id, segment.first, &segment.dir, OnFault::Stop).map(|raw| raw.map(Arc::new)),
    };
    match raw.and_then(|raw| raw.ok_or_else(|| io::ErrorKind::NotFound.into())) {
        Err(error) => (Vec::new(), Some(error.to_string())),
        Ok(raw) => match ids_of(&raw) {
            Err(error) => (Vec::new(), Some(error.to_string())),
            Ok(found) => (found, raw.fault()),
        },
    }
}
