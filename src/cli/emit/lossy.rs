//! Bytes that are not UTF-8: a caller's name in Latin-1 must not lose the event of the call. In free text they
//! become U+FFFD; ids, times and values of a list have to be right.

use serde_json::Value;

use crate::event::{Field, FieldKind};

/// Whether the value at `key` is text for people, which may lose a letter. `kind`: `None` where the table
/// does not have the field.
pub(super) fn is_free_text(key: &str, kind: Option<FieldKind>) -> bool {
    let is_text = matches!(kind, None | Some(FieldKind::Text | FieldKind::TextList));
    is_text && !is_id(key) && key != "eventDateTime"
}

/// Whether the field at `key` holds an id or a list of them, by its name.
pub(super) fn is_id(key: &str) -> bool {
    let name = key.rsplit('.').next().unwrap_or(key);
    name.ends_with("Id") || name.ends_with("Ids")
}

/// Adds to `replaced` the key of each free text in `event` that has a U+FFFD.
///
/// # Errors
/// The key of another value or of a name that has one.
pub(super) fn find_replaced(
    event: &Value,
    fields: Option<&'static [Field]>,
    replaced: &mut Vec<String>,
) -> Result<(), String> {
    let Value::Object(members) = event else { return Ok(()) };
    for (name, value) in members {
        let kind = fields.and_then(|fields| fields.iter().find(|field| field.name == name));
        walk(name.clone(), value, kind.map(|field| field.kind), replaced)?;
    }
    Ok(())
}

fn walk(
    key: String,
    value: &Value,
    kind: Option<FieldKind>,
    replaced: &mut Vec<String>,
) -> Result<(), String> {
    let is_replaced = |text: &str| text.contains('\u{fffd}');
    if is_replaced(&key) {
        return Err(key);
    }
    match value {
        Value::String(text) if is_replaced(text) => {
            if !is_free_text(&key, kind) {
                return Err(key);
            }
            if !replaced.contains(&key) {
                replaced.push(key);
            }
        }
        Value::Array(items) => {
            for item in items {
                walk(key.clone(), item, kind, replaced)?;
            }
        }
        Value::Object(members) => {
            for (name, value) in members {
                let inner = match kind {
                    Some(FieldKind::Object(fields)) => fields.iter().find(|field| field.name == name),
                    _ => None,
                };
                walk(format!("{key}.{name}"), value, inner.map(|field| field.kind), replaced)?;
            }
        }
        _ => {}
    }
    Ok(())
}
