//! What the ledger of an earlier process says, and what follows from it for the other logs. Pure.

use crate::queue::format::bitmap::Bitmap;
use crate::queue::format::entry::LedgerEntry;
use crate::queue::format::snapshot::SegmentSnapshot;
use crate::queue::log::append::SegmentedLog;
use crate::queue::log::segment::LogId;
use crate::queue::types::Seq;

/// What was settled.
#[derive(Debug, Default)]
pub(crate) struct Recovered {
    /// When the ledger's segment began.
    pub(crate) snapshots: Vec<SegmentSnapshot>,
    /// Since then.
    pub(crate) entries: Vec<LedgerEntry>,
}

/// A segment that the ledger knows and that is not there.
struct Missing {
    log: LogId,
    first: Seq,
    end: Seq,
    settled: Bitmap,
}

impl Recovered {
    /// Marks in `logs` what was settled. Gives what is gone without having been settled, in words.
    pub(crate) fn apply(&self, logs: &mut [SegmentedLog]) -> Vec<String> {
        let mut missing = Vec::new();
        for snapshot in &self.snapshots {
            let Some(log) = logs.iter_mut().find(|log| log.id.number() == snapshot.log) else { continue };
            let &SegmentSnapshot { first, end, ref bitmap, .. } = snapshot;
            if !log.merge(snapshot) && end > first {
                let mut settled = Bitmap::new(first);
                settled.merge(bitmap, end);
                missing.push(Missing { log: log.id, first, end, settled });
            }
        }
        for entry in &self.entries {
            let id = if entry.fate.is_of_a_letter() { LogId::Dead } else { LogId::Lane(entry.lane) };
            if let Some(log) = logs.iter_mut().find(|log| log.id == id) {
                log.raise_next(entry.seq);
                log.index.mark_settled(&[entry.seq]);
            }
            let of_entry = |missing: &&mut Missing| {
                missing.log == id && (missing.first..missing.end).contains(&entry.seq)
            };
            missing.iter_mut().filter(of_entry).for_each(|missing| {
                missing.settled.insert(entry.seq);
            });
        }
        missing.into_iter().filter_map(Missing::words).collect()
    }
}

impl Missing {
    /// For the operator; `None` if nothing of it is missed.
    fn words(self) -> Option<String> {
        let Missing { log, first, end, settled } = self;
        let lost = (end - first).saturating_sub(settled.count());
        let name = log.name();
        (lost > 0).then(|| format!("{name}: segment {first} is missing, with {lost} unsettled records"))
    }
}
