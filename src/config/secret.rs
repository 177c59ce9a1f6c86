//! Keeps secrets out of everything that people see.

use config::ValueKind;

use super::key::{ConfigKey, ValueType};

/// Printed in place of a secret.
pub const MASK: &str = "********";

/// A value as `show` and errors print it: TOML, secrets masked.
pub(super) fn display(key: &ConfigKey, value: &ValueKind) -> String {
    match (key.kind, value) {
        (ValueType::Secret, _) => format!("\"{MASK}\""),
        (ValueType::Proxy | ValueType::Url, ValueKind::String(url)) => quoted(&mask_url(url)),
        (ValueType::Proxy | ValueType::Url, _) => format!("\"{MASK}\""),
        _ => plain(value),
    }
}

/// `url` with user and password masked: they stand before the last `@`.
pub fn mask_url(url: &str) -> String {
    let Some((before, host)) = url.rsplit_once('@') else {
        return url.to_owned();
    };
    let scheme = before.split_once("://").map_or(String::new(), |(scheme, _)| format!("{scheme}://"));
    format!("{scheme}{MASK}@{host}")
}

/// `text` as a TOML string.
pub(super) fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

fn plain(value: &ValueKind) -> String {
    match value {
        ValueKind::String(text) => quoted(text),
        ValueKind::Array(items) => {
            let items: Vec<String> = items.iter().map(|item| plain(&item.kind)).collect();
            format!("[{}]", items.join(", "))
        }
        ValueKind::Table(table) => {
            let mut fields: Vec<String> =
                table.iter().map(|(name, value)| format!("{name} = {}", plain(&value.kind))).collect();
            fields.sort();
            format!("{{ {} }}", fields.join(", "))
        }
        other => other.to_string(),
    }
}
