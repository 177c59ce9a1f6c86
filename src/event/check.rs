//! Holds one event against its row of the table and notes where its ids and times lie.
//!
//! One walk over the text; nothing is copied unless a string has escapes.

use std::borrow::Cow;
use std::ops::Range;

use uuid::{Uuid, Variant};

use super::MAX_DEPTH;
use super::cursor::{JsonCursor, Shape, Text};
use super::fault::{EventFault, MAX_FAULTS, Path, allowed, found, printable};
use super::refusal::{UnknownKind, UnknownRule};
use super::splice::Edit;
use super::time::{self, TimeFault};
use super::types::{Field, FieldKind};

/// Most unknown fields and values reported of one event.
const MAX_UNKNOWN: usize = 16;

/// What an event of an added array must have; the rest of it is the operator's matter.
pub(super) const EXTRA_FIELDS: &[Field] = &[
    Field { name: "eventId", required: true, kind: FieldKind::Uuid },
    Field { name: "eventDateTime", required: true, kind: FieldKind::Time },
];

/// What an event is held against.
#[derive(Clone, Copy, Debug)]
pub(super) struct Expected<'c> {
    pub(super) fields: &'static [Field],
    /// `None`: fields beyond `fields` are neither reported nor refused.
    pub(super) unknown: Option<UnknownRule>,
    /// Fields that may hold the key, the first that does wins.
    pub(super) keys: &'c [&'c str],
}

/// The string that orders an event.
#[derive(Debug)]
pub(super) struct FoundKey<'a> {
    /// Position of its field in [`Expected::keys`].
    pub(super) rank: usize,
    pub(super) id: Cow<'a, str>,
}

/// A field or value that the table does not have.
#[derive(Debug)]
pub(super) struct FoundUnknown {
    /// Its path.
    pub(super) field: String,
    pub(super) kind: UnknownKind,
}

/// What the walk found.
#[derive(Debug, Default)]
pub(super) struct Checked<'a> {
    /// As given, whatever it is worth.
    pub(super) event_id: Option<Cow<'a, str>>,
    pub(super) uuid: Option<Uuid>,
    pub(super) time_ms: Option<i64>,
    pub(super) key: Option<FoundKey<'a>>,
    /// Where `null` stands for an id or a time that is to be filled in.
    pub(super) null_id: Option<Range<usize>>,
    pub(super) null_time: Option<Range<usize>>,
    pub(super) edits: Vec<Edit>,
    pub(super) faults: Vec<EventFault>,
    pub(super) faults_total: usize,
    pub(super) unknown: Vec<FoundUnknown>,
    /// The object has no member: what is filled in needs no comma.
    pub(super) is_empty: bool,
}

impl Checked<'_> {
    pub(super) fn fault(&mut self, reason: &'static str, message: impl FnOnce() -> String) {
        self.faults_total += 1;
        if self.faults.len() < MAX_FAULTS {
            self.faults.push(EventFault { reason, message: message() });
        }
    }
}

/// Walks over `event`, the text of one well-formed JSON value.
pub(super) fn check<'a>(event: &'a str, expected: Expected<'_>) -> Checked<'a> {
    let mut walk =
        Walk { cursor: JsonCursor::new(event), expected, out: Checked::default(), keys: Vec::new() };
    match walk.cursor.shape() {
        Shape::Object => walk.object(Some(expected.fields), &Path::Root, 1),
        other => walk.out.fault("wrong_type", || format!("found {}, must be an object", found(other, None))),
    }
    walk.out
}

struct Walk<'a, 'c> {
    cursor: JsonCursor<'a>,
    expected: Expected<'c>,
    out: Checked<'a>,
    /// Names in the objects that are open, the innermost last.
    keys: Vec<Cow<'a, str>>,
}

/// A string of the body.
struct StringToken<'a> {
    /// Where it is, with its quotes.
    at: Range<usize>,
    value: Cow<'a, str>,
}

impl<'a> Walk<'a, '_> {
    /// `fields`: `None` where nothing is known of the object.
    fn object(&mut self, fields: Option<&'static [Field]>, path: &Path<'_>, depth: usize) {
        let mut seen = 0_u64;
        let is_empty = self.members(path, |walk, name| {
            let known = fields.and_then(|all| all.iter().position(|field| field.name == name));
            let is_given = walk.member(fields, known, name, path, depth);
            seen |= known.filter(|_| is_given).map_or(0, |at| 1 << at);
        });
        if matches!(path, Path::Root) {
            self.out.is_empty = is_empty;
        }
        self.refuse_missing(fields.unwrap_or_default(), seen, path);
    }

    /// Hands the name of each member of the object ahead to `member`, which passes its value. Says whether there
    /// was none.
    fn members(&mut self, path: &Path<'_>, mut member: impl FnMut(&mut Self, &str)) -> bool {
        let first_key = self.keys.len();
        self.cursor.take(b'{');
        while !self.cursor.take(b'}') {
            let Some(name) = self.cursor.text() else { break };
            self.cursor.take(b':');
            match name.value {
                Some(name) => {
                    member(self, &name);
                    self.keys.push(name);
                }
                None => {
                    self.out.fault("bad_text", || inside(path, "the name of a field has a lone surrogate"));
                    self.cursor.skip_value();
                }
            }
            self.cursor.take(b',');
        }
        let is_empty = self.keys.len() == first_key;
        self.refuse_duplicates(first_key, path);
        is_empty
    }

    /// One member of an object; says whether it counts as given.
    fn member(
        &mut self,
        fields: Option<&'static [Field]>,
        known: Option<usize>,
        name: &str,
        parent: &Path<'_>,
        depth: usize,
    ) -> bool {
        let path = Path::Field(parent, name);
        let is_root = matches!(parent, Path::Root);
        let shape = self.cursor.shape();
        let start = self.cursor.at();
        if is_root && shape == Shape::Text {
            self.note_key(name);
        }
        let field = fields.zip(known).map(|(all, at)| &all[at]);
        match field {
            Some(_) if shape == Shape::Null => {
                self.cursor.skip_word();
                let range = start..self.cursor.at();
                match name {
                    "eventId" if is_root => self.out.null_id = Some(range),
                    "eventDateTime" if is_root => self.out.null_time = Some(range),
                    _ => {}
                }
                false
            }
            Some(field) => {
                self.value(Some(&field.kind), &path, depth);
                true
            }
            None => {
                if fields.is_some() {
                    self.unknown(&path, UnknownKind::Field);
                }
                self.value(None, &path, depth);
                false
            }
        }
    }

    /// Remembers the string ahead if it is the event's id or a better key than the one so far.
    fn note_key(&mut self, name: &str) {
        let rank = self.expected.keys.iter().position(|key| *key == name);
        let is_better = |rank: usize| self.out.key.as_ref().is_none_or(|best| rank < best.rank);
        let rank = rank.filter(|&rank| is_better(rank));
        let is_id = name == "eventId" && self.out.event_id.is_none();
        if rank.is_none() && !is_id {
            return;
        }
        let Some(value) = self.cursor.peek_text().and_then(|text| text.value) else { return };
        if is_id {
            self.out.event_id = Some(value.clone());
        }
        // An empty id ties unrelated events together.
        if let Some(rank) = rank.filter(|_| !value.is_empty()) {
            self.out.key = Some(FoundKey { rank, id: value });
        }
    }

    fn value(&mut self, kind: Option<&'static FieldKind>, path: &Path<'_>, depth: usize) {
        let shape = self.cursor.shape();
        if matches!(shape, Shape::Object | Shape::Array) && depth >= MAX_DEPTH {
            self.out.fault("too_deep", || inside(path, &format!("nesting over {MAX_DEPTH}")));
            return self.cursor.skip_value();
        }
        match (kind, shape) {
            (None, Shape::Object) => self.object(None, path, depth + 1),
            (None, Shape::Array) => self.array(None, path, depth + 1),
            (None, Shape::Text) => drop(self.text(path)),
            (None, _) => self.cursor.skip_word(),
            (Some(FieldKind::Object(fields)), Shape::Object) => self.object(Some(fields), path, depth + 1),
            (Some(FieldKind::TextMap), Shape::Object) => self.text_map(path, depth + 1),
            (Some(FieldKind::TextList), Shape::Array) => self.array(Some(&FieldKind::Text), path, depth + 1),
            (Some(FieldKind::Bool), Shape::Bool) | (Some(FieldKind::Number), Shape::Number) => {
                self.cursor.skip_word()
            }
            (
                Some(
                    kind @ (FieldKind::Text
                    | FieldKind::Uuid4
                    | FieldKind::Uuid
                    | FieldKind::Time
                    | FieldKind::Enum(_)),
                ),
                Shape::Text,
            ) => {
                if let Some(token) = self.text(path) {
                    self.known_text(kind, token, path);
                }
            }
            (Some(kind), shape) => {
                self.wrong("wrong_type", kind, &found(shape, None), path);
                self.value(None, path, depth);
            }
        }
    }

    fn array(&mut self, kind: Option<&'static FieldKind>, path: &Path<'_>, depth: usize) {
        self.cursor.take(b'[');
        let mut index = 0;
        while !self.cursor.take(b']') {
            let before = self.cursor.at();
            self.value(kind, &Path::Item(path, index), depth);
            index += 1;
            let took_comma = self.cursor.take(b',');
            if !took_comma && self.cursor.at() == before {
                break;
            }
        }
    }

    /// An object whose names are the producer's own and whose values are strings.
    fn text_map(&mut self, path: &Path<'_>, depth: usize) {
        self.members(path, |walk, name| walk.value(Some(&FieldKind::Text), &Path::Field(path, name), depth));
    }

    fn text(&mut self, path: &Path<'_>) -> Option<StringToken<'a>> {
        let Text { start, end, value } = self.cursor.text()?;
        if value.is_none() {
            self.out.fault("bad_text", || inside(path, "a string has a lone surrogate"));
        }
        Some(StringToken { at: start..end, value: value? })
    }

    fn known_text(&mut self, kind: &FieldKind, StringToken { at, value }: StringToken<'_>, path: &Path<'_>) {
        let value = &*value;
        let is_event_id = matches!(path, Path::Field(Path::Root, "eventId"));
        let is_event_time = matches!(path, Path::Field(Path::Root, "eventDateTime"));
        match kind {
            FieldKind::Uuid | FieldKind::Uuid4 => match read_uuid(value).filter(|id| *kind == FieldKind::Uuid || is_v4(id)) {
                Some(id) if is_event_id => self.out.uuid = Some(id),
                Some(_) => {}
                None => self.wrong("bad_id", kind, &found(Shape::Text, Some(value.chars().count())), path),
            },
            FieldKind::Time => match time::read(value) {
                Ok(read) => {
                    if is_event_time {
                        self.out.time_ms = Some(read.ms);
                    }
                    if let Some(spelling) = read.spelling {
                        self.out.edits.push(Edit { range: at, text: format!("\"{spelling}\"") });
                    }
                }
                Err(TimeFault::NoZone) => self.out.fault("bad_time", || {
                    inside(path, "the time has no zone; it is probably a local time without its offset. End it with Z or +hh:mm")
                }),
                Err(TimeFault::OffsetTooLarge) => self.out.fault("bad_time", || {
                    inside(path, "the time's offset is a day or more; RFC 3339 has -23:59 to +23:59")
                }),
                Err(TimeFault::NoLeapSecond) => self.out.fault("bad_time", || {
                    inside(path, "the time has second 60, and no leap second can be at its minute")
                }),
                Err(TimeFault::OutOfRange) => self.out.fault("bad_time", || {
                    inside(path, "the time is out of range: in UTC it is not in the years 0000 to 9999")
                }),
                Err(TimeFault::Malformed) => {
                    self.wrong("bad_time", kind, &found(Shape::Text, Some(value.chars().count())), path);
                }
            },
            FieldKind::Enum(values) if !values.contains(&value) => {
                if self.expected.unknown == Some(UnknownRule::Refuse) {
                    let found = found(Shape::Text, Some(value.chars().count()));
                    self.wrong("unknown_value", kind, &found, path);
                } else {
                    self.unknown(path, UnknownKind::Value);
                }
            }
            _ => {}
        }
    }

    fn unknown(&mut self, path: &Path<'_>, kind: UnknownKind) {
        match self.expected.unknown {
            None => {}
            Some(UnknownRule::Refuse) => {
                self.out.fault("unknown_field", || inside(path, "unknown field"));
            }
            Some(UnknownRule::Forward) if self.out.unknown.len() < MAX_UNKNOWN => {
                self.out.unknown.push(FoundUnknown { field: path.render(), kind });
            }
            Some(UnknownRule::Forward) => {}
        }
    }

    fn wrong(&mut self, reason: &'static str, kind: &FieldKind, found: &str, path: &Path<'_>) {
        self.out.fault(reason, || inside(path, &format!("found {found}, must be {}", allowed(kind))));
    }

    fn refuse_duplicates(&mut self, first_key: usize, path: &Path<'_>) {
        let names = &mut self.keys[first_key..];
        names.sort_unstable();
        let mut last = None;
        for pair in names.windows(2).filter(|pair| pair[0] == pair[1]) {
            if last != Some(&pair[0]) {
                let at = Path::Field(path, &pair[0]).render();
                self.out.fault("duplicate_key", || format!("{at}: appears twice"));
            }
            last = Some(&pair[0]);
        }
        self.keys.truncate(first_key);
    }

    fn refuse_missing(&mut self, fields: &'static [Field], seen: u64, path: &Path<'_>) {
        for (at, field) in fields.iter().enumerate() {
            let is_filled_in =
                matches!(path, Path::Root) && matches!(field.name, "eventId" | "eventDateTime");
            if field.required && seen & (1 << at) == 0 && !is_filled_in {
                let path = Path::Field(path, field.name);
                self.out.fault("missing_field", || {
                    inside(&path, &format!("missing, must be {}", allowed(&field.kind)))
                });
            }
        }
    }
}

fn inside(path: &Path<'_>, what: &str) -> String {
    match path {
        Path::Root => what.to_owned(),
        _ => format!("{}: {what}", path.render()),
    }
}

/// Only the form with hyphens, the API's.
fn read_uuid(text: &str) -> Option<Uuid> {
    if text.len() == 36 { Uuid::try_parse_ascii(text.as_bytes()).ok() } else { None }
}

fn is_v4(id: &Uuid) -> bool {
    id.get_version_num() == 4 && id.get_variant() == Variant::RFC4122
}

/// Name of an array in messages; `known` names are ours, others only if they look like a name.
pub(super) fn array_label(name: &str, known: bool) -> &str {
    if known || printable(name) == name { name } else { "unknown" }
}
