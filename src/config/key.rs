//! How a key is declared, and what its value may be. Pure.

use config::ValueKind;

use super::nearest::nearest;
use super::parse;

/// One key of the configuration. Parsing, errors, `reference` and `show` are made from this.
#[derive(Clone, Copy, Debug)]
pub struct ConfigKey {
    /// Dotted name.
    pub name: &'static str,
    /// Default as the environment would give it; `None`: not set.
    pub default: Option<&'static str>,
    /// A value to show where there is no default, as TOML.
    pub example: &'static str,
    /// What its value is.
    pub kind: ValueType,
    /// What it does, in a sentence or two.
    pub meaning: &'static str,
    /// A change takes a restart of the daemon: what it sets is bound, opened or built once, at the start. All
    /// other keys are taken over by `reload`.
    pub needs_restart: bool,
}

/// What a key's value is.
#[derive(Clone, Copy, Debug)]
pub enum ValueType {
    /// Duration with a unit; `off`: `"0s"` is allowed and means off.
    Duration {
        /// Whether `"0s"` is allowed.
        off: bool,
    },
    /// Bytes with a unit.
    Size {
        /// Smallest allowed value.
        min: u64,
    },
    /// Percentage.
    Percent {
        /// Largest allowed percentage.
        max: u32,
    },
    /// Permission bits as an octal string.
    Mode,
    /// `true` or `false`.
    Bool,
    /// Whole number in a range.
    Integer {
        /// Smallest allowed value.
        min: i64,
        /// Largest allowed value.
        max: i64,
    },
    /// One of these words.
    Choice(&'static [&'static str]),
    /// Any text without control characters but the empty one.
    Text,
    /// Any text but the empty one, never shown.
    Secret,
    /// List of texts.
    List,
    /// File or directory; a relative one counts from the configuration file.
    Path,
    /// Path of a unix socket.
    Socket,
    /// `https` URL, or `http` to a loopback host.
    Url,
    /// URL of a proxy, which may hold a password.
    Proxy,
    /// Loopback `IP:PORT` or `unix:/path`.
    LoopbackListen,
    /// `unix:/path`.
    UnixListen,
    /// `IP:PORT`.
    TcpListen,
    /// Array of tables that its section reads itself.
    Tables,
}

/// Key with a default.
pub(super) const fn key(
    name: &'static str,
    default: &'static str,
    kind: ValueType,
    meaning: &'static str,
) -> ConfigKey {
    ConfigKey { name, default: Some(default), example: "", kind, meaning, needs_restart: false }
}

/// Key that is not set by default.
pub(super) const fn unset(
    name: &'static str,
    example: &'static str,
    kind: ValueType,
    meaning: &'static str,
) -> ConfigKey {
    ConfigKey { name, default: None, example, kind, meaning, needs_restart: false }
}

impl ConfigKey {
    /// The same key, read only when the daemon starts.
    pub(super) const fn read_at_start(mut self) -> Self {
        self.needs_restart = true;
        self
    }

    /// Section that it is in, dotted.
    pub fn section(&self) -> &'static str {
        self.name.rsplit_once('.').map_or("", |(section, _)| section)
    }

    /// Last part of its name.
    pub fn last_name(&self) -> &'static str {
        self.name.rsplit_once('.').map_or(self.name, |(_, name)| name)
    }

    /// Variable that sets it.
    pub fn variable(&self) -> String {
        format!("TRUNKLINE__{}", self.name.to_ascii_uppercase().replace('.', "__"))
    }

    /// Whether a part of its value is not shown.
    pub(super) fn is_masked(&self) -> bool {
        matches!(self.kind, ValueType::Secret | ValueType::Proxy | ValueType::Url)
    }

    /// Whether its value is never shown.
    pub fn is_secret(&self) -> bool {
        matches!(self.kind, ValueType::Secret)
    }
}

impl ValueType {
    /// What is allowed, for people.
    pub fn allowed(self) -> String {
        match self {
            ValueType::Duration { off: true } => {
                "a duration with a unit, e.g. \"250ms\", \"30s\", \"24h\"; \"0s\" means off".to_owned()
            }
            ValueType::Duration { off: false } => {
                "a duration with a unit, more than zero, at most 3650d, e.g. \"250ms\", \"30s\", \"24h\""
                    .to_owned()
            }
            ValueType::Size { min } => {
                format!("a size with a unit, e.g. \"500kB\", \"4GiB\"; at least {min} bytes")
            }
            ValueType::Percent { max } => format!("a percentage as a string, \"0%\" to \"{max}%\""),
            ValueType::Mode => {
                "octal permission bits as a string, \"0000\" to \"0777\", e.g. \"0660\"".to_owned()
            }
            ValueType::Bool => "true or false".to_owned(),
            ValueType::Integer { min, max } => format!("a whole number without quotes, {min} to {max}"),
            ValueType::Choice(words) => format!("one of \"{}\"", words.join("\", \"")),
            ValueType::Text | ValueType::Secret => "a non-empty string without control characters".to_owned(),
            ValueType::List => {
                "a list of strings, e.g. [\"asterisk\", \"1000\"]; separated by commas in the environment"
                    .to_owned()
            }
            ValueType::Path => {
                "a path; relative paths start at the configuration file's directory".to_owned()
            }
            ValueType::Socket => {
                "a path of at most 107 bytes; abstract sockets (@name) are refused".to_owned()
            }
            ValueType::Url => {
                "an https URL without user, password or query; http only to a loopback host".to_owned()
            }
            ValueType::Proxy => "an http or https URL of a proxy".to_owned(),
            ValueType::LoopbackListen => {
                "127.0.0.1:PORT, [::1]:PORT or unix:/path; other addresses are refused".to_owned()
            }
            ValueType::UnixListen => {
                "unix:/path of at most 107 bytes; abstract sockets are refused".to_owned()
            }
            ValueType::TcpListen => "IP:PORT, e.g. 127.0.0.1:9464 or [::]:9464".to_owned(),
            ValueType::Tables => {
                "tables in the file with `name`, `endpoint` and, if its events must stay in order, `key`"
                    .to_owned()
            }
        }
    }

    /// What to do about a value that this type does not take.
    pub(super) fn advice(self, found: &ValueKind) -> String {
        let text = match found {
            ValueKind::String(text) => Some(text.as_str()),
            _ => None,
        };
        let is_bare = match (found, text) {
            (ValueKind::I64(_) | ValueKind::Float(_) | ValueKind::U64(_), _) => true,
            (_, Some(text)) => !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()),
            _ => false,
        };
        match (self, text) {
            (ValueType::Duration { .. }, _) if is_bare => "add a unit to the number, e.g. \"30s\"".to_owned(),
            (ValueType::Duration { .. }, Some(text)) if parse::has_month(text) => parse::MONTH.to_owned(),
            (ValueType::Size { .. }, _) if is_bare => {
                "add a unit to the number, e.g. \"500kB\" or \"4GiB\"".to_owned()
            }
            (ValueType::Mode, _) if is_bare => {
                "put it in quotes with a leading zero, e.g. \"0660\"".to_owned()
            }
            (ValueType::Bool, Some(text)) => match nearest(text, ["true", "false"]) {
                Some(near) => format!("write {near} in lower case and without quotes"),
                None => "write true or false without quotes".to_owned(),
            },
            (ValueType::Choice(words), Some(text)) => match nearest(text, words.iter().copied()) {
                Some(near) => format!("did you mean \"{near}\"?"),
                None => "change it to one of these values".to_owned(),
            },
            (ValueType::Proxy, Some(text)) if !text.contains("://") => {
                "write http:// before host and port, e.g. \"http://proxy.example:3128\"".to_owned()
            }
            (ValueType::Choice(_), None) => "write one of these values in quotes".to_owned(),
            _ => "change it to an allowed value".to_owned(),
        }
    }
}
