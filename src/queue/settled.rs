//! Which sequence numbers are settled: disjoint ranges. Pure.

use std::collections::BTreeMap;

use super::types::Seq;

/// A set of sequence numbers as ranges `start..end`; neighbours are merged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Settled {
    ranges: BTreeMap<Seq, Seq>,
    count: u64,
}

impl Settled {
    /// How many numbers are in the set.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    pub(super) fn contains(&self, seq: Seq) -> bool {
        self.ranges.range(..=seq).next_back().is_some_and(|(_, end)| seq < *end)
    }

    /// Adds `start..end`; gives back how many of them are new.
    pub(super) fn insert(&mut self, start: Seq, end: Seq) -> u64 {
        let before = self.count;
        let (mut start, mut end) = (start, end);
        if start >= end {
            return 0;
        }
        if let Some((&s, &e)) = self.ranges.range(..=start).next_back()
            && e >= start
        {
            start = s;
            end = end.max(e);
        }
        while let Some((&s, &e)) = self.ranges.range(start..=end).next() {
            self.ranges.remove(&s);
            self.count -= e - s;
            end = end.max(e);
        }
        self.ranges.insert(start, end);
        self.count += end - start;
        self.count - before
    }
}

/// Sorted numbers as runs `start..end`.
pub(super) fn runs(seqs: &[Seq]) -> Vec<(Seq, Seq)> {
    let mut runs: Vec<(Seq, Seq)> = Vec::new();
    for &seq in seqs {
        match runs.last_mut() {
            Some((_, end)) if *end == seq => *end += 1,
            _ => runs.push((seq, seq + 1)),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::{any, prop_assert_eq, proptest};

    use super::*;

    proptest! {
        #[test]
        fn it_holds_what_a_plain_set_holds(ranges in proptest::collection::vec((0u64..60, 0u64..12), 0..40)) {
            let (mut settled, mut model) = (Settled::default(), BTreeSet::new());

            for (start, length) in ranges {
                let before = model.len();
                model.extend(start..start + length);
                prop_assert_eq!(settled.insert(start, start + length), (model.len() - before) as u64);
            }

            prop_assert_eq!(settled.count(), model.len() as u64);
            for seq in 0..80 {
                prop_assert_eq!(settled.contains(seq), model.contains(&seq));
            }
        }

        #[test]
        fn runs_hold_every_number_once(seqs in proptest::collection::btree_set(any::<u8>(), 0..80)) {
            let seqs: Vec<Seq> = seqs.into_iter().map(u64::from).collect();

            let back: Vec<Seq> = runs(&seqs).into_iter().flat_map(|(start, end)| start..end).collect();

            prop_assert_eq!(back, seqs);
        }
    }
}
