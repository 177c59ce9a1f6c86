//! From the text of a word to the value that its field wants. Pure.

use std::borrow::Cow;

use serde_json::value::{RawValue, to_raw_value};
use uuid::Uuid;

use super::build_error::BuildError;
use super::lossy;
use super::names::{self, Names};
use crate::event::{FieldKind, raw_text};

/// Namespace of `uuid:TEXT`: any fixed UUID; changing it changes every id.
const NAMESPACE: Uuid = Uuid::from_u128(0x7e5a_3c1e_9b0d_4f6a_8c21_d5e4_f3b2_a190);

/// An id that is the same for the same text, in the shape of version 4 that the API asks for.
pub(super) fn stable_id(text: &str) -> Uuid {
    uuid::Builder::from_random_bytes(Uuid::new_v5(&NAMESPACE, text.as_bytes()).into_bytes()).into_uuid()
}

/// The value as its field wants it; of an array that the table does not have, as text.
pub(super) fn typed(
    key: &str,
    value: &str,
    kind: Option<FieldKind>,
    names: Option<Names<'_>>,
) -> Result<Box<RawValue>, BuildError> {
    let resolved = |value| resolved(key, value, names);
    let Some(kind) = kind else {
        return Ok(raw_text(&resolved(value)?));
    };
    let bad = || BuildError::BadValue {
        key: key.to_owned(),
        found: value.to_owned(),
        allowed: super::describe::kind(&kind),
    };
    match kind {
        FieldKind::Bool if matches!(value, "true" | "false") => Ok(raw_json(value)),
        FieldKind::Number if is_number(value) => Ok(raw_json(value)),
        FieldKind::TextList => {
            let items: Result<Vec<_>, _> = value.split(',').map(|item| resolved(item.trim())).collect();
            Ok(to_raw_value(&items?).expect("strings always serialise"))
        }
        FieldKind::Enum(values) if values.contains(&value) => Ok(raw_text(value)),
        FieldKind::Text | FieldKind::Uuid4 | FieldKind::Uuid | FieldKind::Time => {
            Ok(raw_text(&resolved(value)?))
        }
        FieldKind::Bool | FieldKind::Number | FieldKind::Enum(_) => Err(bad()),
        FieldKind::Object(_) | FieldKind::TextMap => Err(bad()),
    }
}

/// `uuid:TEXT`, or a name of the map, as the id it stands for; any other text as it is.
fn resolved<'v>(key: &str, value: &'v str, names: Option<Names<'_>>) -> Result<Cow<'v, str>, BuildError> {
    match value.strip_prefix("uuid:") {
        Some(text) if !text.chars().any(char::is_alphanumeric) => Err(BuildError::EmptyId(key.to_owned())),
        Some(text) => Ok(stable_id(text).to_string().into()),
        None if value.trim().is_empty() && lossy::is_id(key) => Err(BuildError::NoId(key.to_owned())),
        None => Ok(names::find(key, value, names)?.map_or(value.into(), Cow::Owned)),
    }
}

/// Any JSON number, however large or exact.
fn is_number(text: &str) -> bool {
    text.starts_with(|first: char| first == '-' || first.is_ascii_digit())
        && serde_json::from_str::<&RawValue>(text).is_ok()
        && text.trim().len() == text.len()
}

/// `text`, which is known to be JSON.
fn raw_json(text: &str) -> Box<RawValue> {
    RawValue::from_string(text.to_owned()).expect("it was found to be JSON")
}
