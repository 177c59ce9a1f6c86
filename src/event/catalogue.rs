//! Looks event types up by array name or on-disk id; holds the types that the operator added.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use super::lane::Lane;
use super::types::{EventType, TYPES};

/// Every array that the API takes, in the order of the on-disk ids.
pub fn types() -> &'static [EventType] {
    TYPES
}

/// The type whose on-disk id is `id`.
pub fn by_id(id: u16) -> Option<&'static EventType> {
    let event_type = TYPES.get(usize::from(id).checked_sub(1)?)?;
    debug_assert_eq!(event_type.id, id);
    Some(event_type)
}

/// The type of the events in `array`.
pub fn by_name(array: &str) -> Option<&'static EventType> {
    TYPES.iter().find(|known| known.array == array)
}

/// Names the array an event is in.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Array {
    /// One that this build knows.
    Known(KnownArray),
    /// One that the operator added under `ingest.extra_arrays`.
    Extra(Arc<str>),
}

/// A row of the table of types, compared by its id.
#[derive(Clone, Copy, Debug)]
pub struct KnownArray(pub &'static EventType);

impl PartialEq for KnownArray {
    fn eq(&self, other: &Self) -> bool {
        self.0.id == other.0.id
    }
}

impl Eq for KnownArray {}

impl std::hash::Hash for KnownArray {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.0.id.hash(state);
    }
}

impl Array {
    /// Name in a request body.
    pub fn name(&self) -> &str {
        match self {
            Array::Known(known) => known.0.array,
            Array::Extra(name) => name,
        }
    }
}

impl fmt::Display for Array {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// An array that the operator added: a type newer than this build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExtraArray {
    /// Name in a request body.
    pub name: Arc<str>,
    /// Endpoint that takes it.
    pub lane: Lane,
    /// Field whose value orders its events; `None`: each event stands alone.
    pub key: Option<String>,
}

/// All arrays that the doors take: the table and the operator's additions.
#[derive(Clone, Debug)]
pub struct Catalogue {
    by_name: HashMap<Arc<str>, CatalogueEntry>,
}

/// What the catalogue knows of an array.
#[derive(Clone, Debug)]
pub enum CatalogueEntry {
    /// A type of the table.
    Known(&'static EventType),
    /// An operator's addition.
    Extra(ExtraArray),
}

impl CatalogueEntry {
    /// Endpoint's lane.
    pub fn lane(&self) -> Lane {
        match self {
            CatalogueEntry::Known(event_type) => event_type.lane,
            CatalogueEntry::Extra(extra) => extra.lane,
        }
    }

    /// The name that travels with an event.
    pub fn array(&self) -> Array {
        match self {
            CatalogueEntry::Known(event_type) => Array::Known(KnownArray(event_type)),
            CatalogueEntry::Extra(extra) => Array::Extra(extra.name.clone()),
        }
    }
}

impl Catalogue {
    /// The table plus `extra`; an addition of a known name does not replace the table's row.
    pub fn new(extra: &[ExtraArray]) -> Self {
        let mut by_name: HashMap<Arc<str>, CatalogueEntry> =
            extra.iter().map(|array| (array.name.clone(), CatalogueEntry::Extra(array.clone()))).collect();
        for event_type in TYPES {
            by_name.insert(event_type.array.into(), CatalogueEntry::Known(event_type));
        }
        Self { by_name }
    }

    /// What stands under `array` in a request body.
    pub fn find(&self, array: &str) -> Option<&CatalogueEntry> {
        self.by_name.get(array)
    }

    /// Names of all arrays, unsorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.by_name.keys().map(AsRef::as_ref)
    }
}
