//! What operators are shown: every key with its meaning, and the effective values with their origins.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hash, Hasher};

use config::ValueKind;

use super::error::Origin;
use super::key::{ConfigKey, ValueType};
use super::layers::SourcedValue;
use super::secret;
use super::table::keys;

/// One key as `config show` prints it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// Dotted name.
    pub key: &'static str,
    /// Effective value as TOML, secrets masked; `None`: not set.
    pub value: Option<String>,
    /// Where it came from.
    pub origin: Origin,
    /// Of the value itself, so that a change of a masked one is seen.
    pub(super) fingerprint: u64,
}

/// A key whose value is another one.
#[derive(Clone, Debug)]
pub struct Change {
    /// The key.
    pub key: &'static ConfigKey,
    /// Before, as it is shown; `None`: not set.
    pub before: Option<String>,
    /// Now.
    pub now: Option<String>,
}

/// What differs between two configurations, in the order of the keys.
pub fn changes(before: &[Shown], now: &[Shown]) -> Vec<Change> {
    let pairs = keys().zip(before.iter().zip(now));
    pairs
        .filter(|(_, (before, now))| before.fingerprint != now.fingerprint)
        .map(|(key, (before, now))| Change { key, before: before.value.clone(), now: now.value.clone() })
        .collect()
}

/// The same for a value however it was spelt by its layer, in this process.
fn fingerprint(key: &ConfigKey, value: &ValueKind) -> u64 {
    let text = match value {
        ValueKind::Nil => None,
        value if key.is_masked() => Some(value.to_string()),
        value => Some(value_text(key, value)),
    };
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

/// Effective values in the order of the keys.
pub(super) fn shown(found: &BTreeMap<&'static str, SourcedValue>) -> Vec<Shown> {
    let show = |found: &SourcedValue| Shown {
        fingerprint: fingerprint(found.key, &found.value),
        key: found.key.name,
        value: (!matches!(found.value, ValueKind::Nil)).then(|| value_text(found.key, &found.value)),
        origin: found.origin.clone(),
    };
    keys().filter_map(|key| found.get(key.name)).map(show).collect()
}

/// Defaults and the environment give texts; they are shown as the file would spell them.
fn value_text(key: &ConfigKey, value: &ValueKind) -> String {
    match (key.kind, value) {
        (ValueType::Bool | ValueType::Integer { .. }, ValueKind::String(text)) => text.clone(),
        (ValueType::List, ValueKind::String(text)) => {
            let items: Vec<String> =
                text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(secret::quoted).collect();
            format!("[{}]", items.join(", "))
        }
        _ => secret::display(key, value),
    }
}

/// Every key with default and meaning, as a file that could be used once region and client are filled in.
pub fn reference() -> String {
    let mut text = String::new();
    let mut section = "";
    for key in keys() {
        let name = key.last_name();
        if key.section() != section {
            section = key.section();
            let _ = writeln!(text, "\n[{section}]");
        }
        let _ = writeln!(text, "# {}", key.meaning);
        let _ = match key.default {
            Some(default) => {
                writeln!(text, "{name} = {}", value_text(key, &ValueKind::String(default.to_owned())))
            }
            None => writeln!(text, "#{name} = {}", key.example),
        };
    }
    text.trim_start().to_owned()
}
