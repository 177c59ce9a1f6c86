//! Reads effective values by their keys' types and gathers every fault on the way.
//!
//! An invalid value reads as empty, so that all errors are reported at once; the resulting configuration is discarded.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use config::ValueKind;

use super::error::{ConfigFault, Origin};
use super::key::{ConfigKey, ValueType};
use super::layers::SourcedValue;
use super::parse;
use super::secret;

/// Effective values under examination.
pub(super) struct Values<'a> {
    found: &'a BTreeMap<&'static str, SourcedValue>,
    base_dir: &'a Path,
    faults: Vec<ConfigFault>,
    bad: BTreeSet<&'static str>,
}

impl<'a> Values<'a> {
    /// `faults` were found before.
    pub(super) fn new(
        found: &'a BTreeMap<&'static str, SourcedValue>,
        base_dir: &'a Path,
        faults: Vec<ConfigFault>,
    ) -> Self {
        Self { found, base_dir, faults, bad: BTreeSet::new() }
    }

    pub(super) fn into_faults(self) -> Vec<ConfigFault> {
        self.faults
    }

    /// The declared key and its value.
    fn sourced(&self, name: &str) -> &'a SourcedValue {
        self.found.get(name).expect("sections read only keys that they declare")
    }

    /// Whether `name` has a value.
    pub(super) fn is_set(&self, name: &str) -> bool {
        self.raw(name).is_some()
    }

    /// The value as it was written, if there is one.
    pub(super) fn raw(&self, name: &str) -> Option<&'a ValueKind> {
        Some(&self.sourced(name).value).filter(|value| !matches!(value, ValueKind::Nil))
    }

    /// Tells that `name` is at fault.
    pub(super) fn fault(&mut self, name: &'static str, allowed: String, advice: String) {
        let SourcedValue { key, origin, .. } = self.sourced(name);
        let found = match self.raw(name) {
            Some(value) => secret::display(key, value),
            None => "nothing".to_owned(),
        };
        self.bad.insert(name);
        self.faults.push(ConfigFault {
            key: name.to_owned(),
            found,
            allowed,
            origin: origin.clone(),
            advice,
        });
    }

    /// Tells that keys contradict each other, at the one that was written, unless one is already at fault.
    pub(super) fn require(&mut self, holds: bool, names: &[&'static str], allowed: &str, advice: &str) {
        if holds || names.iter().any(|name| self.bad.contains(name)) {
            return;
        }
        let written =
            |name: &&&'static str| self.sourced(name).origin != Origin::Default && self.is_set(name);
        let name = names.iter().find(written).unwrap_or(&names[0]);
        self.fault(name, allowed.to_owned(), advice.to_owned());
    }

    fn wrong(&mut self, key: &'static ConfigKey, value: &ValueKind) {
        self.fault(key.name, key.kind.allowed(), key.kind.advice(value));
    }

    /// Value of `name` by `read`; a fault if there is one that `read` does not take.
    fn take<T>(
        &mut self,
        name: &'static str,
        read: impl Fn(&ValueKind, ValueType) -> Option<T>,
    ) -> Option<T> {
        let value = self.raw(name)?;
        let key = self.sourced(name).key;
        let taken = read(value, key.kind);
        if taken.is_none() {
            self.wrong(key, value);
        }
        taken
    }

    /// Whether the value came from TOML, where numbers and flags have types of their own.
    fn typed(&self, name: &str) -> bool {
        matches!(self.sourced(name).origin, Origin::File(_))
    }

    pub(super) fn duration(&mut self, name: &'static str) -> Duration {
        let read = |value: &ValueKind, kind| match (value, kind) {
            (ValueKind::String(text), ValueType::Duration { off }) => parse::duration(text, off),
            _ => None,
        };
        self.take(name, read).unwrap_or_default()
    }

    pub(super) fn size(&mut self, name: &'static str) -> u64 {
        let read = |value: &ValueKind, kind| match (value, kind) {
            (ValueKind::String(text), ValueType::Size { min }) => parse::size(text, min),
            _ => None,
        };
        self.take(name, read).unwrap_or_default()
    }

    /// A size of something held in memory.
    pub(super) fn length(&mut self, name: &'static str) -> usize {
        usize::try_from(self.size(name)).unwrap_or(usize::MAX)
    }

    pub(super) fn percent(&mut self, name: &'static str) -> f64 {
        let read = |value: &ValueKind, kind| match (value, kind) {
            (ValueKind::String(text), ValueType::Percent { max }) => parse::percent(text, max),
            _ => None,
        };
        self.take(name, read).unwrap_or_default()
    }

    pub(super) fn mode(&mut self, name: &'static str) -> u32 {
        self.take(name, |value, _| text_of(value).and_then(parse::mode)).unwrap_or_default()
    }

    pub(super) fn flag(&mut self, name: &'static str) -> bool {
        let typed = self.typed(name);
        let read = |value: &ValueKind, _| match value {
            ValueKind::Boolean(flag) => Some(*flag),
            ValueKind::String(text) if !typed => text.parse().ok(),
            _ => None,
        };
        self.take(name, read).unwrap_or_default()
    }

    /// A whole number within its key's range, which fits 32 bits.
    pub(super) fn number(&mut self, name: &'static str) -> u32 {
        let typed = self.typed(name);
        let read = |value: &ValueKind, kind| {
            let number = match value {
                ValueKind::I64(number) => *number,
                ValueKind::String(text) if !typed => text.parse().ok()?,
                _ => return None,
            };
            match kind {
                ValueType::Integer { min, max } if (min..=max).contains(&number) => {
                    u32::try_from(number).ok()
                }
                _ => None,
            }
        };
        self.take(name, read).unwrap_or_default()
    }

    /// One of the key's words, as its position in the declaration.
    pub(super) fn choice(&mut self, name: &'static str) -> usize {
        let read = |value: &ValueKind, kind| match (value, kind) {
            (ValueKind::String(text), ValueType::Choice(words)) => words.iter().position(|word| word == text),
            _ => None,
        };
        self.take(name, read).unwrap_or_default()
    }

    pub(super) fn text(&mut self, name: &'static str) -> Option<String> {
        let is_good = |text: &&str| !text.is_empty() && !text.chars().any(char::is_control);
        self.take(name, |value, _| text_of(value).filter(is_good).map(str::to_owned))
    }

    /// A client's id or secret, without what surrounds it.
    pub(super) fn credential(&mut self, name: &'static str) -> Option<String> {
        let text = text_of(self.raw(name)?);
        let read = text.map(parse::credential);
        match read {
            Some(Ok(good)) if !good.is_empty() => Some(good.to_owned()),
            Some(Err(stray)) => {
                let advice = format!("it has {stray}; remove it");
                self.fault(name, "printable ASCII characters".to_owned(), advice);
                None
            }
            _ => {
                self.fault(name, "a non-empty string".to_owned(), "put it in quotes".to_owned());
                None
            }
        }
    }

    pub(super) fn list(&mut self, name: &'static str) -> Vec<String> {
        let typed = self.typed(name);
        let read = |value: &ValueKind, _| match value {
            ValueKind::Array(items) => {
                let texts = items.iter().map(|item| match &item.kind {
                    ValueKind::String(text) if !text.is_empty() => Some(text.clone()),
                    // Uids are numbers to those who write them.
                    ValueKind::I64(number) => Some(number.to_string()),
                    _ => None,
                });
                texts.collect()
            }
            ValueKind::String(text) if !typed => Some(
                text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect(),
            ),
            _ => None,
        };
        self.take(name, read).unwrap_or_default()
    }

    pub(super) fn path(&mut self, name: &'static str) -> Option<PathBuf> {
        let base_dir = self.base_dir;
        let read = |value: &ValueKind, _| {
            let text = text_of(value).filter(|text| !text.is_empty() && !text.contains('\0'))?;
            Some(base_dir.join(text))
        };
        self.take(name, read)
    }

    pub(super) fn socket(&mut self, name: &'static str) -> PathBuf {
        let base_dir = self.base_dir;
        let read = |value: &ValueKind, _| {
            let path = base_dir.join(text_of(value).filter(|text| parse::is_socket_text(text))?);
            parse::is_socket_path(&path).then_some(path)
        };
        self.take(name, read).unwrap_or_default()
    }

    pub(super) fn url(&mut self, name: &'static str) -> Option<String> {
        self.take(name, |value, _| text_of(value).and_then(parse::base_url))
    }

    /// A text that `holds` for.
    pub(super) fn checked(&mut self, name: &'static str, holds: fn(&str) -> bool) -> Option<String> {
        self.take(name, |value, _| text_of(value).filter(|text| holds(text)).map(str::to_owned))
    }

    pub(super) fn unix_listen(&mut self, name: &'static str) -> PathBuf {
        let base_dir = self.base_dir;
        let read = |value: &ValueKind, _| {
            let path = base_dir.join(text_of(value).and_then(parse::unix_path)?);
            parse::is_socket_path(&path).then_some(path)
        };
        self.take(name, read).unwrap_or_default()
    }

    pub(super) fn tcp_listen(&mut self, name: &'static str) -> Option<std::net::SocketAddr> {
        self.take(name, |value, _| text_of(value).and_then(|text| text.parse().ok()))
    }

    /// `IP:PORT` on loopback, or `unix:` and a path, a relative one from the configuration file.
    pub(super) fn loopback_listen(&mut self, name: &'static str) -> Option<String> {
        let base_dir = self.base_dir;
        let read = |value: &ValueKind, _| {
            let text = text_of(value).filter(|text| parse::is_loopback_listen(text))?;
            let Some(path) = parse::unix_path(text) else { return Some(text.to_owned()) };
            let path = base_dir.join(path);
            parse::is_socket_path(&path).then(|| path.to_str().map(|path| format!("unix:{path}")))?
        };
        self.take(name, read)
    }
}

fn text_of(value: &ValueKind) -> Option<&str> {
    match value {
        ValueKind::String(text) => Some(text),
        _ => None,
    }
}
