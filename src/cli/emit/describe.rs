//! The table of event types in words, for help. Pure.

use std::fmt::Write as _;

use super::names;
use crate::event::{EventType, Field, FieldKind, Lane, catalogue};

/// What a field may hold.
pub fn kind(kind: &FieldKind) -> String {
    match kind {
        FieldKind::Text => "text".to_owned(),
        FieldKind::Uuid4 => "a UUID of version 4, or uuid:TEXT".to_owned(),
        FieldKind::Uuid => "a UUID, or uuid:TEXT".to_owned(),
        FieldKind::Time => "a time with a zone, as 2026-07-01T12:00:00.000Z".to_owned(),
        FieldKind::Bool => "true or false".to_owned(),
        FieldKind::Number => "a number".to_owned(),
        FieldKind::Enum(values) => values.join(" | "),
        FieldKind::TextList => "texts, separated by commas".to_owned(),
        FieldKind::TextMap => "texts by name: KEY.NAME=TEXT".to_owned(),
        FieldKind::Object(_) => "fields of its own".to_owned(),
    }
}

/// All arrays, by endpoint.
pub fn list() -> String {
    let mut text = String::new();
    for lane in Lane::ALL {
        let _ = writeln!(text, "{lane} (POST {})", lane.path());
        for known in catalogue::types().iter().filter(|known| known.lane == lane) {
            let _ = writeln!(text, "  {}", known.array);
        }
    }
    text
}

/// The fields of a type.
pub fn fields(known: &EventType) -> String {
    let mut text = format!("{} ({})\n\nFields (* = required by the API):\n", known.array, known.lane);
    write_fields("", known.fields, &mut text);
    text.push_str(
        "\neventId and eventDateTime are filled in where they are missing; sourceId from emit.source_id.\n",
    );
    let _ = writeln!(text, "\nExample:\n  trunkline emit {} {}", known.array, example(known.fields));
    text
}

fn write_fields(prefix: &str, fields: &[Field], text: &mut String) {
    for field in fields {
        let name = format!("{prefix}{}", field.name);
        let mark = if field.required { "*" } else { " " };
        let or_name =
            names::taken_by(field.name).map_or_else(String::new, |kind| format!(", or {}:NAME", kind.word()));
        let _ = writeln!(text, "  {mark} {name:<44} {}{or_name}", kind(&field.kind));
        if let FieldKind::Object(inside) = field.kind {
            write_fields(&format!("{name}."), inside, text);
        }
    }
}

/// Words for the required fields.
fn example(fields: &[Field]) -> String {
    let filled_in = ["eventId", "eventDateTime", "sourceId"];
    let mut words = Vec::new();
    for field in fields.iter().filter(|field| field.required && !filled_in.contains(&field.name)) {
        match field.kind {
            FieldKind::Object(inside) => {
                for field_inside in
                    inside.iter().filter(|inside| inside.required && !filled_in.contains(&inside.name))
                {
                    words.push(format!(
                        "{}.{}={}",
                        field.name,
                        field_inside.name,
                        sample(&field_inside.kind)
                    ));
                }
            }
            kind => words.push(format!("{}={}", field.name, sample(&kind))),
        }
    }
    words.join(" ")
}

fn sample(kind: &FieldKind) -> &'static str {
    match kind {
        FieldKind::Uuid4 | FieldKind::Uuid => "uuid:call-4711",
        FieldKind::Time => "2026-07-01T12:00:00.000Z",
        FieldKind::Bool => "true",
        FieldKind::Number => "1",
        FieldKind::Enum(values) => values.first().copied().unwrap_or("text"),
        FieldKind::Text | FieldKind::TextList | FieldKind::TextMap | FieldKind::Object(_) => "text",
    }
}
