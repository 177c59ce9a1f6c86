//! How a row of the table is written: an event type, its fields, and what each may hold.

use super::super::lane::Lane;

/// What a field may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldKind {
    /// Any string.
    Text,
    /// A UUID of version 4.
    Uuid4,
    /// A UUID of any version.
    Uuid,
    /// An RFC 3339 date and time with a zone.
    Time,
    /// `true` or `false`.
    Bool,
    /// Any JSON number.
    Number,
    /// One of these strings.
    Enum(&'static [&'static str]),
    /// An array of strings.
    TextList,
    /// An object whose values are strings.
    TextMap,
    /// An object of these fields.
    Object(&'static [Field]),
}

/// One field of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Name in JSON.
    pub name: &'static str,
    /// The API refuses the event without it.
    pub required: bool,
    /// What it may hold.
    pub kind: FieldKind,
}

/// One array of a request body and the shape of its events.
#[derive(Debug, PartialEq, Eq)]
pub struct EventType {
    /// Number in queue records; never reused. 1 to 65,534.
    pub id: u16,
    /// Name of the array in a request body.
    pub array: &'static str,
    /// Endpoint that takes it.
    pub lane: Lane,
    /// Fields in the vendor's order.
    pub fields: &'static [Field],
}

/// A row of the table.
pub(super) const fn row(id: u16, lane: Lane, array: &'static str, fields: &'static [Field]) -> EventType {
    EventType { id, array, lane, fields }
}

/// A field without which the API refuses the event.
pub(super) const fn req(name: &'static str, kind: FieldKind) -> Field {
    Field { name, required: true, kind }
}

/// A field that an event may lack.
pub(super) const fn opt(name: &'static str, kind: FieldKind) -> Field {
    Field { name, required: false, kind }
}
