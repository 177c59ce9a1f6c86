//! The map in memory: one text with all names, and a sorted table that points into it. Pure.

use std::cmp::Ordering;

use uuid::Uuid;

/// Most names in a map: twice the users of the largest organisations that the API serves.
pub const MAX_ENTRIES: usize = 200_000;
/// Longest name, bytes. The API's own names end at 256 characters.
pub const MAX_NAME_BYTES: usize = 1_024;
/// All names together, bytes: 60 a name where a map is full. With 24 bytes an entry for the table, the map in use and
/// the one that is read to replace it stay under 40 MB together.
pub(super) const MAX_NAMES_BYTES: usize = 12 * 1024 * 1024;

/// What a name is the name of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum NameKind {
    /// An agent.
    User,
    /// A routing queue.
    Queue,
    /// A wrap-up code.
    Wrapup,
    /// A presence definition.
    Presence,
    /// A presence source.
    Source,
}

impl NameKind {
    /// All of them, as they sort in a file.
    pub const ALL: [Self; 5] = [Self::User, Self::Queue, Self::Wrapup, Self::Presence, Self::Source];

    /// Its word: in the file, and before the colon in `user:1042`.
    pub const fn word(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Queue => "queue",
            Self::Wrapup => "wrapup",
            Self::Presence => "presence",
            Self::Source => "source",
        }
    }

    /// The kind of this word.
    pub fn of_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.word() == word)
    }

    /// Kind and name of a text such as `user:1042`.
    pub fn split(text: &str) -> Option<(Self, &str)> {
        let (word, name) = text.split_once(':')?;
        Some((Self::of_word(word)?, name))
    }
}

/// One name. The name itself lies in the map's text.
#[derive(Clone, Copy, Debug)]
struct NameEntry {
    kind: NameKind,
    start: u32,
    length: u16,
    id: Uuid,
}

/// Names and their ids.
#[derive(Debug, Default)]
pub struct IdMap {
    names: String,
    /// Sorted by kind, then by name.
    entries: Vec<NameEntry>,
}

impl IdMap {
    /// The id of a name, if the map has it.
    pub fn find(&self, kind: NameKind, name: &str) -> Option<Uuid> {
        let at = self.entries.binary_search_by(|entry| self.order(entry, kind, name)).ok()?;
        Some(self.entries[at].id)
    }

    /// Up to `most` names of the kind that are most like `name`, the nearest first. None that is nothing like it.
    pub fn nearest(&self, kind: NameKind, name: &str, most: usize) -> Vec<&str> {
        /// Jaro-Winkler similarity below which a suggestion misleads more than it helps.
        const ALIKE: f64 = 0.75;
        /// Above this many names a comparison takes too long for a call that waits.
        const COMPARED: usize = 20_000;
        if self.of_kind(kind).nth(COMPARED).is_some() {
            return Vec::new();
        }
        let wanted = name.to_lowercase();
        let mut alike: Vec<(f64, &str)> = self
            .of_kind(kind)
            .map(|(found, _)| (strsim::jaro_winkler(&wanted, &found.to_lowercase()), found))
            .filter(|(score, _)| *score >= ALIKE)
            .collect();
        alike.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(b.1)));
        alike.into_iter().take(most).map(|(_, found)| found).collect()
    }

    /// All names of a kind with their ids, sorted by name.
    pub fn of_kind(&self, kind: NameKind) -> impl Iterator<Item = (&str, Uuid)> {
        let first = self.entries.partition_point(|entry| entry.kind < kind);
        let of_kind = self.entries[first..].iter().take_while(move |entry| entry.kind == kind);
        of_kind.map(|entry| (self.name(entry), entry.id))
    }

    /// How many names it has.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn name(&self, entry: &NameEntry) -> &str {
        let start = entry.start as usize;
        &self.names[start..start + usize::from(entry.length)]
    }

    fn order(&self, entry: &NameEntry, kind: NameKind, name: &str) -> Ordering {
        entry.kind.cmp(&kind).then_with(|| self.name(entry).cmp(name))
    }
}

/// Why a name is not taken into a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameRefused {
    /// Nothing stands there.
    #[error("the name is empty")]
    Empty,
    /// Longer than [`MAX_NAME_BYTES`].
    #[error("the name has {0} bytes; at most {MAX_NAME_BYTES} are allowed")]
    TooLong(usize),
    /// More than [`MAX_ENTRIES`].
    #[error("more than {MAX_ENTRIES} names; leave out kinds or users that no event speaks of")]
    TooMany,
    /// More bytes than a map holds.
    #[error("all names together have more than {MAX_NAMES_BYTES} bytes")]
    TooLarge,
}

/// Two entries of one name with two ids, by the order in which they were added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ambiguous {
    /// The kind.
    pub kind: NameKind,
    /// Nth entry that was added, from 0.
    pub first: usize,
    /// The one that contradicts it.
    pub second: usize,
}

/// Gathers a map.
#[derive(Debug, Default)]
pub struct IdMapBuilder {
    map: IdMap,
}

impl IdMapBuilder {
    /// Adds a name.
    ///
    /// # Errors
    /// See [`NameRefused`]; the map is as before then.
    pub fn add(&mut self, kind: NameKind, name: &str, id: Uuid) -> Result<(), NameRefused> {
        let length = match u16::try_from(name.len()) {
            Ok(0) => return Err(NameRefused::Empty),
            Ok(length) if usize::from(length) <= MAX_NAME_BYTES => length,
            _ => return Err(NameRefused::TooLong(name.len())),
        };
        if self.map.entries.len() >= MAX_ENTRIES {
            return Err(NameRefused::TooMany);
        }
        if self.map.names.len() + name.len() > MAX_NAMES_BYTES {
            return Err(NameRefused::TooLarge);
        }
        let start = u32::try_from(self.map.names.len()).map_err(|_| NameRefused::TooLarge)?;
        if self.map.names.capacity() - self.map.names.len() < name.len() {
            // Never twice what is needed: that would take the map over its bound.
            self.map.names.reserve_exact(name.len().max(1 << 20));
        }
        self.map.names.push_str(name);
        self.map.entries.push(NameEntry { kind, start, length, id });
        Ok(())
    }

    /// The map, sorted; the same name with the same id counts once.
    ///
    /// # Errors
    /// The first pair of entries that give one name two ids.
    pub fn finish(self) -> Result<IdMap, Ambiguous> {
        let IdMap { names, entries } = self.map;
        let map = IdMap { names, entries: Vec::new() };
        let mut order: Vec<u32> = (0..).zip(&entries).map(|(nth, _)| nth).collect();
        let key = |nth: &u32| {
            let entry = &entries[*nth as usize];
            (entry.kind, map.name(entry))
        };
        order.sort_by(|a, b| key(a).cmp(&key(b)).then(a.cmp(b)));
        let mut sorted: Vec<NameEntry> = Vec::with_capacity(entries.len());
        let mut before: Option<u32> = None;
        for nth in order {
            let entry = entries[nth as usize];
            match before.filter(|before| key(before) == key(&nth)) {
                Some(first) if entries[first as usize].id != entry.id => {
                    return Err(Ambiguous { kind: entry.kind, first: first as usize, second: nth as usize });
                }
                Some(_) => {}
                None => {
                    sorted.push(entry);
                    before = Some(nth);
                }
            }
        }
        sorted.shrink_to_fit();
        Ok(IdMap { names: map.names, entries: sorted })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map_of(entries: &[(NameKind, &str, u128)]) -> Result<IdMap, Ambiguous> {
        let mut builder = IdMapBuilder::default();
        for (kind, name, id) in entries {
            builder.add(*kind, name, Uuid::from_u128(*id)).unwrap();
        }
        builder.finish()
    }

    #[test]
    fn a_name_is_found_in_its_own_kind_only() {
        let map = map_of(&[
            (NameKind::Queue, "Support", 1),
            (NameKind::User, "1042", 2),
            (NameKind::User, "Müller, \"Jo\"", 3),
        ])
        .unwrap();

        assert_eq!(map.find(NameKind::Queue, "Support"), Some(Uuid::from_u128(1)));
        assert_eq!(map.find(NameKind::User, "Müller, \"Jo\""), Some(Uuid::from_u128(3)));
        assert_eq!(map.find(NameKind::User, "Support"), None);
        assert_eq!(map.find(NameKind::Queue, "support"), None);
        assert_eq!(map.len(), 3);
    }

    #[test]
    fn one_name_with_two_ids_is_refused_and_with_one_id_counts_once() {
        let twice = [(NameKind::User, "b", 1), (NameKind::User, "a", 2), (NameKind::User, "b", 1)];
        let two_ids = [(NameKind::User, "b", 1), (NameKind::User, "a", 2), (NameKind::User, "b", 3)];

        assert_eq!(map_of(&twice).unwrap().len(), 2);
        let refused = map_of(&two_ids).unwrap_err();
        assert_eq!(refused, Ambiguous { kind: NameKind::User, first: 0, second: 2 });
    }

    #[test]
    fn suggestions_are_alike_and_of_the_kind() {
        let map = map_of(&[
            (NameKind::Queue, "Support", 1),
            (NameKind::Queue, "Sales", 2),
            (NameKind::User, "Support", 3),
        ])
        .unwrap();

        assert_eq!(map.nearest(NameKind::Queue, "suport", 3), ["Support"]);
        assert!(map.nearest(NameKind::Queue, "zzz", 3).is_empty());
        assert!(map.nearest(NameKind::Wrapup, "Support", 3).is_empty());
    }

    #[test]
    fn a_map_has_bounds() {
        let mut builder = IdMapBuilder::default();

        assert_eq!(builder.add(NameKind::User, "", Uuid::nil()), Err(NameRefused::Empty));
        let long = "x".repeat(MAX_NAME_BYTES + 1);
        assert_eq!(builder.add(NameKind::User, &long, Uuid::nil()), Err(NameRefused::TooLong(long.len())));
        for nth in 0..MAX_ENTRIES {
            builder.add(NameKind::User, &nth.to_string(), Uuid::from_u128(nth as u128)).unwrap();
        }
        assert_eq!(builder.add(NameKind::User, "one more", Uuid::nil()), Err(NameRefused::TooMany));
        assert_eq!(std::mem::size_of::<NameEntry>(), 24);
    }
}
