//! A body after the table of event types, mostly right, with faults where the bytes say so: what bytes
//! that change at random reach only after a long time.

use libfuzzer_sys::arbitrary::{Result, Unstructured};
use trunkline::event::{Field, FieldKind, catalogue};

const SPACES: [&str; 8] = ["", "", "", "", "", " ", "\n", "\r\n\t"];

/// Names that mean something somewhere.
const NAMES: [&str; 10] = [
    "eventId",
    "eventDateTime",
    "conversationId",
    "communicationId",
    "interactionId",
    "userId",
    "agentId",
    "roomId",
    "sourceConfiguration",
    "x\\u00e9",
];

const TEXTS: [&str; 16] = [
    "",
    "text",
    "00000000-0000-4000-8000-000000000001",
    "00000000-0000-4000-8000-00000000000A",
    "00000000-0000-1000-8000-000000000001",
    "2026-07-01T12:00:00.000Z",
    "2026-07-01T12:00:00Z",
    "2026-07-01t14:00:00.1234567+02:00",
    "2026-07-01 12:00:60-00:30",
    "0000-01-01T00:00:00+00:01",
    "9999-12-31T23:59:59.999Z",
    "2026-07-01T12:00:00",
    "\\u0061\\n\\\"",
    "\\ud83d\\ude00",
    "\\ud800",
    "é",
];

const WORDS: [&str; 12] = [
    "null",
    "null",
    "true",
    "false",
    "0",
    "-0.0",
    "1e999",
    "12345678901234567890123",
    "7.50",
    "{}",
    "[]",
    "[{}]",
];

/// The text of a body.
pub(crate) fn body(u: &mut Unstructured<'_>) -> Result<String> {
    let mut out = String::from("{");
    for nth in 0..u.int_in_range(1..=3)? {
        let fields = match u.int_in_range(0..=9)? {
            0 => {
                let name = u.choose(&["newEvents", "loneEvents", "noEvents"])?;
                member(u, &mut out, name, nth)?;
                catalogue::types()[0].fields
            }
            _ => {
                let event_type = u.choose(catalogue::types())?;
                member(u, &mut out, event_type.array, nth)?;
                event_type.fields
            }
        };
        out.push('[');
        for nth in 0..u.int_in_range(0..=3)? {
            out.push_str(if nth > 0 { "," } else { "" });
            object(u, &mut out, fields)?;
        }
        out.push(']');
    }
    out.push('}');
    Ok(out)
}

fn object(u: &mut Unstructured<'_>, out: &mut String, fields: &[Field]) -> Result<()> {
    out.push('{');
    let mut count = 0;
    for field in fields {
        let is_missing = !field.required && u.ratio(1, 3)?;
        if is_missing || u.ratio(1, 40)? {
            continue;
        }
        member(u, out, field.name, count)?;
        count += 1;
        if u.ratio(1, 40)? { any(u, out, 0)? } else { value(u, out, &field.kind)? }
    }
    for _ in 0..u.int_in_range(0..=2)? {
        let name = u.choose(&NAMES)?;
        member(u, out, name, count)?;
        count += 1;
        any(u, out, 0)?;
    }
    out.push_str(u.choose(&SPACES)?);
    out.push('}');
    Ok(())
}

/// The name of the object's `nth` member and what stands around it.
fn member(u: &mut Unstructured<'_>, out: &mut String, name: &str, nth: usize) -> Result<()> {
    out.push_str(if nth > 0 { "," } else { "" });
    out.push_str(u.choose(&SPACES)?);
    match name.strip_prefix('e') {
        Some(rest) if u.ratio(1, 20)? => out.push_str(&format!("\"\\u0065{rest}\"")),
        _ => out.push_str(&quoted(name)),
    }
    out.push_str(u.choose(&SPACES)?);
    out.push(':');
    out.push_str(u.choose(&SPACES)?);
    Ok(())
}

/// A value that the kind takes.
fn value(u: &mut Unstructured<'_>, out: &mut String, kind: &FieldKind) -> Result<()> {
    let json = match kind {
        FieldKind::Text => quoted(u.choose(&TEXTS[..14])?),
        FieldKind::Uuid4 | FieldKind::Uuid => quoted(u.choose(&TEXTS[2..4])?),
        FieldKind::Time => quoted(u.choose(&TEXTS[5..11])?),
        FieldKind::Enum(values) => quoted(u.choose(values)?),
        FieldKind::Bool => (*u.choose(&["true", "false"])?).to_owned(),
        FieldKind::Number => (*u.choose(&WORDS[4..9])?).to_owned(),
        FieldKind::TextList => (*u.choose(&["[]", r#"["a"]"#, "[\"a\" ,\n\"b\"]"])?).to_owned(),
        FieldKind::TextMap => (*u.choose(&["{}", r#"{"a":"b"}"#, r#"{"a":"b","":"c"}"#])?).to_owned(),
        FieldKind::Object(fields) => return object(u, out, fields),
    };
    out.push_str(&json);
    Ok(())
}

fn quoted(text: &str) -> String {
    format!("\"{text}\"")
}

fn any(u: &mut Unstructured<'_>, out: &mut String, depth: usize) -> Result<()> {
    match u.int_in_range(0..=6)? {
        0..=2 => out.push_str(&quoted(u.choose(&TEXTS)?)),
        3 | 4 => out.push_str(u.choose(&WORDS)?),
        5 => {
            // Around the deepest that is taken.
            let levels = u.int_in_range(26..=34)?;
            out.push_str(&"[".repeat(levels));
            out.push_str(&"]".repeat(levels));
        }
        _ if depth > 3 => out.push_str("{}"),
        _ => {
            out.push('{');
            for nth in 0..u.int_in_range(0..=3)? {
                let name = u.choose(&NAMES)?;
                member(u, out, name, nth)?;
                any(u, out, depth + 1)?;
            }
            out.push('}');
        }
    }
    Ok(())
}
