//! Lays default, file and environment over each other; finds keys that nobody declared.

use std::collections::BTreeMap;
use std::path::Path;

use config::{Map, Source, Value, ValueKind};

use super::error::{Fault, Origin};
use super::key::{Key, Kind, nearest};
use super::{ConfigError, keys};

/// Prefix of the variables that set keys.
const PREFIX: &str = "TRUNKLINE__";

/// A key's value and where it came from.
#[derive(Clone, Debug)]
pub(super) struct Found {
    /// As it was written.
    pub(super) value: ValueKind,
    /// Where.
    pub(super) origin: Origin,
}

/// One layer: dotted keys with values that remember their origin.
#[derive(Clone, Debug, Default)]
struct Layer(Map<String, Value>);

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, config::ConfigError> {
        Ok(self.0.clone())
    }
}

impl Layer {
    fn insert(&mut self, key: &Key, value: ValueKind, origin: &Origin) {
        let origin = match origin {
            Origin::Default => None,
            Origin::File(path) => Some(format!("file:{}", path.display())),
            Origin::Env(name) => Some(format!("env:{name}")),
        };
        self.0.insert(key.name.to_owned(), Value::new(origin.as_ref(), value));
    }
}

/// Effective values by key, and what was wrong with names.
pub(super) fn merge(
    file: Option<(&Path, &str)>,
    env: &[(String, String)],
) -> Result<(BTreeMap<&'static str, Found>, Vec<Fault>), ConfigError> {
    let mut faults = Vec::new();
    let file_layer = match file {
        Some((path, text)) => file_layer(path, text, &mut faults)?,
        None => Layer::default(),
    };
    let env_layer = env_layer(env, &mut faults);
    let merged = config::Config::builder()
        .add_source(default_layer())
        .add_source(file_layer)
        .add_source(env_layer)
        .build()
        .and_then(|built| built.collect())
        .expect("the layers hold only declared keys, none of which is a section of another");

    let mut values = BTreeMap::new();
    for key in keys() {
        if let Some(value) = lookup(&merged, key.name) {
            values.insert(key.name, Found { origin: origin_of(value), value: value.kind.clone() });
        }
    }
    Ok((values, faults))
}

fn origin_of(value: &Value) -> Origin {
    let Some(origin) = value.origin() else {
        return Origin::Default;
    };
    match origin.split_once(':') {
        Some(("env", name)) => Origin::Env(name.to_owned()),
        Some((_, path)) => Origin::File(path.into()),
        None => Origin::Default,
    }
}

fn lookup<'a>(table: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    match name.split_once('.') {
        None => table.get(name),
        Some((section, rest)) => match &table.get(section)?.kind {
            ValueKind::Table(inner) => lookup(inner, rest),
            _ => None,
        },
    }
}

fn default_layer() -> Layer {
    let mut layer = Layer::default();
    for key in keys() {
        if let Some(default) = key.default {
            layer.insert(key, ValueKind::String(default.to_owned()), &Origin::Default);
        }
    }
    layer
}

fn file_layer(path: &Path, text: &str, faults: &mut Vec<Fault>) -> Result<Layer, ConfigError> {
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| ConfigError::Syntax {
        path: path.to_owned(),
        line: error.span().map_or(1, |span| {
            1 + text.as_bytes()[..span.start.min(text.len())].iter().filter(|byte| **byte == b'\n').count()
        }),
        message: error.message().to_owned(),
    })?;
    let origin = Origin::File(path.to_owned());
    let mut layer = Layer::default();
    flatten("", table, &origin, &mut layer, faults);
    Ok(layer)
}

fn flatten(prefix: &str, table: toml::Table, origin: &Origin, layer: &mut Layer, faults: &mut Vec<Fault>) {
    for (part, value) in table {
        let name = if prefix.is_empty() { part } else { format!("{prefix}.{part}") };
        if let Some(key) = keys().find(|key| key.name == name) {
            layer.insert(key, kind_of(value), origin);
            continue;
        }
        let section = format!("{name}.");
        let is_section = keys().any(|key| key.name.starts_with(&section));
        match value {
            toml::Value::Table(inner) if is_section => flatten(&name, inner, origin, layer, faults),
            _ if is_section => faults.push(Fault {
                found: "a value where a section is wanted".to_owned(),
                allowed: format!("a table [{name}] of keys"),
                origin: origin.clone(),
                advice: format!("write [{name}] on a line of its own and its keys below"),
                key: name,
            }),
            // An unknown section is told once for each of its keys, so that each gets its neighbour.
            toml::Value::Table(inner) if !inner.is_empty() => flatten(&name, inner, origin, layer, faults),
            _ => faults.push(unknown(name, origin)),
        }
    }
}

fn unknown(name: String, origin: &Origin) -> Fault {
    let near = nearest_key(&name);
    let advice = match origin {
        Origin::Env(_) => format!("did you mean {}? Otherwise unset the variable", near.variable()),
        _ => format!("did you mean {}? Otherwise remove it", near.name),
    };
    Fault {
        key: name,
        found: "a key that does not exist".to_owned(),
        allowed: "the keys that `trunkline config reference` lists".to_owned(),
        origin: origin.clone(),
        advice,
    }
}

fn nearest_key(name: &str) -> &'static Key {
    let near = nearest(name, keys().map(|key| key.name));
    keys().find(|key| key.name == near).expect("the name was taken from the same keys")
}

fn env_layer(env: &[(String, String)], faults: &mut Vec<Fault>) -> Layer {
    let mut layer = Layer::default();
    for (variable, text) in env {
        let Some(rest) = variable.strip_prefix(PREFIX) else {
            continue;
        };
        let origin = Origin::Env(variable.clone());
        let name = rest.to_ascii_lowercase().replace("__", ".");
        let Some(key) = keys().find(|key| key.name == name) else {
            faults.push(unknown(name, &origin));
            continue;
        };
        // An empty variable takes back what the file set, where a key can be without a value.
        let value = match text.as_str() {
            "" if key.default.is_none() && !matches!(key.kind, Kind::List) => ValueKind::Nil,
            _ => ValueKind::String(text.clone()),
        };
        layer.insert(key, value, &origin);
    }
    layer
}

fn kind_of(value: toml::Value) -> ValueKind {
    match value {
        toml::Value::String(text) => ValueKind::String(text),
        toml::Value::Integer(number) => ValueKind::I64(number),
        toml::Value::Float(number) => ValueKind::Float(number),
        toml::Value::Boolean(flag) => ValueKind::Boolean(flag),
        toml::Value::Datetime(time) => ValueKind::String(time.to_string()),
        toml::Value::Array(items) => {
            ValueKind::Array(items.into_iter().map(|item| Value::new(None, kind_of(item))).collect())
        }
        toml::Value::Table(table) => ValueKind::Table(
            table.into_iter().map(|(name, item)| (name, Value::new(None, kind_of(item)))).collect(),
        ),
    }
}
