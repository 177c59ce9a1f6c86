//! Which numbers of a segment are settled: one bit each. Pure.

use std::ops::Range;

use crate::queue::types::Seq;

/// A set of numbers at or after `first`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bitmap {
    first: Seq,
    words: Vec<u64>,
    count: u64,
}

/// Where a number is in the words.
struct BitPosition {
    word: usize,
    mask: u64,
}

impl Bitmap {
    /// Empty, for a segment that begins at `first`.
    pub(crate) fn new(first: Seq) -> Self {
        Self { first, ..Self::default() }
    }

    /// Least number that there can be in it.
    pub(crate) fn first(&self) -> Seq {
        self.first
    }

    /// One past the greatest number in the set; `first` of an empty one.
    pub(crate) fn end(&self) -> Seq {
        self.iter().last().map_or(self.first, |last| last + 1)
    }

    /// How many numbers are in the set.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    fn place(&self, seq: Seq) -> Option<BitPosition> {
        let offset = seq.checked_sub(self.first)?;
        Some(BitPosition { word: usize::try_from(offset / 64).ok()?, mask: 1 << (offset % 64) })
    }

    pub(crate) fn contains(&self, seq: Seq) -> bool {
        let Some(BitPosition { word, mask }) = self.place(seq) else { return false };
        self.words.get(word).is_some_and(|found| found & mask != 0)
    }

    /// Adds a number; `true` if it is new. A number before `first` is none of this segment's.
    pub(crate) fn insert(&mut self, seq: Seq) -> bool {
        let Some(BitPosition { word, mask }) = self.place(seq) else { return false };
        if self.words.len() <= word {
            self.words.resize(word + 1, 0);
        }
        let is_new = self.words[word] & mask == 0;
        self.words[word] |= mask;
        self.count += u64::from(is_new);
        is_new
    }

    /// Those that are not in `other`, which begins at the same number.
    pub(crate) fn without(&self, other: &Bitmap) -> Bitmap {
        let mut rest = self.clone();
        for (word, gone) in rest.words.iter_mut().zip(&other.words) {
            *word &= !gone;
        }
        rest.count = rest.words.iter().map(|word| u64::from(word.count_ones())).sum();
        rest
    }

    /// The numbers in the set, in rising order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Seq> {
        (self.first..).step_by(64).zip(&self.words).flat_map(|(first, &word)| {
            (0..64).filter(move |bit| word & (1 << bit) != 0).map(move |bit| first + bit)
        })
    }

    /// The first number of `within` that is not in the set.
    pub(crate) fn first_missing(&self, within: Range<Seq>) -> Option<Seq> {
        let mut seq = within.start;
        while seq < within.end {
            let word = self.place(seq).and_then(|position| self.words.get(position.word));
            let Some(word) = word else { return Some(seq) };
            let offset = (seq - self.first) % 64;
            let set = u64::from((word >> offset).trailing_ones());
            if offset + set < 64 {
                return Some(seq + set).filter(|seq| *seq < within.end);
            }
            seq += set;
        }
        None
    }

    /// Adds all of `other`.
    pub(crate) fn extend(&mut self, other: &Bitmap) {
        for seq in other.iter() {
            self.insert(seq);
        }
    }

    /// Bits as bytes, little-endian, without trailing zeros.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes: Vec<u8> = self.words.iter().flat_map(|word| word.to_le_bytes()).collect();
        bytes.truncate(bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1));
        bytes
    }

    /// Adds all of a bitmap that lies before `end`.
    pub(crate) fn merge(&mut self, bitmap: &[u8], end: Seq) {
        for (at, byte) in bitmap.iter().enumerate() {
            for bit in (0..8).filter(|bit| byte & (1 << bit) != 0) {
                let seq = self.first + (at as u64) * 8 + bit;
                if seq < end {
                    self.insert(seq);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::{prop_assert, prop_assert_eq, proptest};

    use super::*;

    proptest! {
        #[test]
        fn it_holds_what_a_plain_set_holds(seqs in proptest::collection::vec(90_u64..400, 0..200)) {
            let (mut settled, mut model) = (Bitmap::new(100), BTreeSet::new());

            for seq in seqs {
                prop_assert_eq!(settled.insert(seq), seq >= 100 && model.insert(seq));
            }

            prop_assert_eq!(settled.count(), model.len() as u64);
            for seq in 0..500 {
                prop_assert_eq!(settled.contains(seq), model.contains(&seq));
            }
            let mut again = Bitmap::new(100);
            again.merge(&settled.to_bytes(), 300);
            prop_assert!((0..500).all(|seq| again.contains(seq) == (model.contains(&seq) && seq < 300)));
            prop_assert_eq!(settled.iter().collect::<Vec<_>>(), model.iter().copied().collect::<Vec<_>>());
            for start in 90..400 {
                let missing = (start..300).find(|seq| !model.contains(seq));
                prop_assert_eq!(settled.first_missing(start..300), missing);
            }
            let mut both = again.clone();
            both.extend(&settled);
            prop_assert_eq!(both.to_bytes(), settled.to_bytes());
            let rest = settled.without(&again);
            prop_assert!((0..500).all(|seq| rest.contains(seq) == (model.contains(&seq) && seq >= 300)));
            prop_assert_eq!(rest.count(), model.range(300..).count() as u64);
        }
    }
}
