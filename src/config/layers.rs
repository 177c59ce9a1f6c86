//! Lays default, file and environment over each other; finds keys that nobody declared.

use std::collections::BTreeMap;
use std::path::Path;

use config::{Map, Source, Value, ValueKind};

use super::error::{ConfigError, ConfigFault, Origin};
use super::key::{ConfigKey, ValueType};
use super::nearest::nearest;

/// Prefix of the variables that set keys.
const PREFIX: &str = "TRUNKLINE__";

/// A key's value and where it came from.
#[derive(Clone, Debug)]
pub(super) struct SourcedValue {
    /// Its key.
    pub(super) key: &'static ConfigKey,
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
    fn insert(&mut self, key: &ConfigKey, value: ValueKind, origin: &Origin) {
        let origin = match origin {
            Origin::Default => None,
            Origin::File(path) => Some(format!("file:{}", path.display())),
            Origin::Env(name) => Some(format!("env:{name}")),
        };
        self.0.insert(key.name.to_owned(), Value::new(origin.as_ref(), value));
    }
}

/// What the layers come to.
pub(super) struct Merged {
    /// An entry for every key; [`ValueKind::Nil`] where none of the layers sets it.
    pub(super) values: BTreeMap<&'static str, SourcedValue>,
    /// What is wrong with names.
    pub(super) faults: Vec<ConfigFault>,
}

/// Lays the environment over the file, and both over the defaults of `keys`.
pub(super) fn merge(
    keys: &[&'static ConfigKey],
    file: Option<(&Path, &str)>,
    env: &[(String, String)],
) -> Result<Merged, ConfigError> {
    let mut reading = LayerReader { keys, faults: Vec::new() };
    let file_layer = match file {
        Some((path, text)) => reading.file(path, text)?,
        None => Layer::default(),
    };
    let env_layer = reading.env(env);
    let merged = config::Config::builder()
        .add_source(defaults(keys))
        .add_source(file_layer)
        .add_source(env_layer)
        .build()
        .and_then(|built| built.collect())
        .expect("the layers hold only declared keys, none of which is a section of another");
    let sourced = |key: &&'static ConfigKey| match lookup(&merged, key.name) {
        Some(value) => SourcedValue { key, value: value.kind.clone(), origin: origin_of(value) },
        None => SourcedValue { key, value: ValueKind::Nil, origin: Origin::Default },
    };
    let values = keys.iter().map(|key| (key.name, sourced(key))).collect();
    Ok(Merged { values, faults: reading.faults })
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

fn defaults(keys: &[&'static ConfigKey]) -> Layer {
    let mut layer = Layer::default();
    for key in keys {
        if let Some(default) = key.default {
            layer.insert(key, ValueKind::String(default.to_owned()), &Origin::Default);
        }
    }
    layer
}

/// Reads layers, and remembers what is wrong with names.
struct LayerReader<'k> {
    keys: &'k [&'static ConfigKey],
    faults: Vec<ConfigFault>,
}

impl LayerReader<'_> {
    fn key(&self, name: &str) -> Option<&'static ConfigKey> {
        self.keys.iter().copied().find(|key| key.name == name)
    }

    fn file(&mut self, path: &Path, text: &str) -> Result<Layer, ConfigError> {
        let table: toml::Table = text.parse().map_err(|error: toml::de::Error| ConfigError::Syntax {
            path: path.to_owned(),
            line: error.span().map_or(1, |span| {
                1 + text.as_bytes()[..span.start.min(text.len())]
                    .iter()
                    .filter(|byte| **byte == b'\n')
                    .count()
            }),
            message: error.message().to_owned(),
        })?;
        let origin = Origin::File(path.to_owned());
        let mut layer = Layer::default();
        self.flatten("", table, &origin, &mut layer);
        Ok(layer)
    }

    fn flatten(&mut self, prefix: &str, table: toml::Table, origin: &Origin, layer: &mut Layer) {
        for (part, value) in table {
            let name = if prefix.is_empty() { part } else { format!("{prefix}.{part}") };
            if let Some(key) = self.key(&name) {
                layer.insert(key, kind_of(value), origin);
                continue;
            }
            let section = format!("{name}.");
            let is_section = self.keys.iter().any(|key| key.name.starts_with(&section));
            match value {
                toml::Value::Table(inner) if is_section => self.flatten(&name, inner, origin, layer),
                _ if is_section => self.faults.push(ConfigFault {
                    found: "a value instead of a section".to_owned(),
                    allowed: format!("a section [{name}] with keys"),
                    origin: origin.clone(),
                    advice: format!("write [{name}] on its own line and the keys below it"),
                    key: name,
                }),
                // An unknown section is reported once for each of its keys, so that each gets its neighbour.
                toml::Value::Table(inner) if !inner.is_empty() => self.flatten(&name, inner, origin, layer),
                _ => self.unknown(name, origin),
            }
        }
    }

    fn unknown(&mut self, name: String, origin: &Origin) {
        let near = nearest(&name, self.keys.iter().map(|key| key.name)).and_then(|near| self.key(near));
        let advice = match (origin, near) {
            (Origin::Env(_), Some(near)) => {
                format!("did you mean {}? Otherwise unset the variable", near.variable())
            }
            (Origin::Env(_), None) => "unset the variable".to_owned(),
            (_, Some(near)) => format!("did you mean {}? Otherwise remove it", near.name),
            (_, None) => "remove it".to_owned(),
        };
        self.faults.push(ConfigFault {
            key: name,
            found: "an unknown key".to_owned(),
            allowed: "the keys listed by `trunkline config reference`".to_owned(),
            origin: origin.clone(),
            advice,
        });
    }

    fn env(&mut self, env: &[(String, String)]) -> Layer {
        let mut layer = Layer::default();
        for (variable, text) in env {
            let Some(rest) = variable.strip_prefix(PREFIX) else {
                continue;
            };
            let origin = Origin::Env(variable.clone());
            let name = rest.to_ascii_lowercase().replace("__", ".");
            let Some(key) = self.key(&name) else {
                self.unknown(name, &origin);
                continue;
            };
            // An empty variable takes back what the file set, where a key can be without a value.
            let value = match text.as_str() {
                "" if key.default.is_none() && !matches!(key.kind, ValueType::List) => ValueKind::Nil,
                _ => ValueKind::String(text.clone()),
            };
            layer.insert(key, value, &origin);
        }
        layer
    }
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
