//! `[ingest]`: the doors.

use std::path::PathBuf;

use config::ValueKind;

use super::key::{ConfigKey, ValueType, key, unset};
use super::nearest::nearest;
use super::values::Values;
use crate::event::{Catalogue, ExtraArray, Lane};

/// What to do with fields and values that the catalogue does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnknownPolicy {
    /// Let them through as they came.
    Forward,
    /// Refuse the event.
    Refuse,
}

/// `[ingest]`: the doors together.
#[derive(Clone, Debug)]
pub struct IngestConfig {
    /// Longest line or HTTP body, bytes.
    pub max_line: usize,
    /// Largest event, bytes.
    pub max_event: usize,
    /// Bytes that all doors together hold unanswered.
    pub max_pending: usize,
    /// Connections at all doors; one uid gets at most half.
    pub max_connections: usize,
    /// Lines a connection may have unanswered.
    pub max_unacked: usize,
    /// `ingest.unknown`
    pub unknown: UnknownPolicy,
    /// `[[ingest.extra_arrays]]`
    pub extra_arrays: Vec<ExtraArray>,
    /// `[ingest.stream]`
    pub stream: StreamConfig,
    /// `[ingest.http]`
    pub http: HttpConfig,
}

/// `[ingest.stream]`
#[derive(Clone, Debug)]
pub struct StreamConfig {
    /// Socket file.
    pub path: PathBuf,
    /// Permission bits of the socket file.
    pub mode: u32,
    /// Group of the socket file, name or number.
    pub group: Option<String>,
    /// Who may connect, names or numbers; empty: everybody the file mode lets in.
    pub allow_uids: Vec<String>,
}

/// `[ingest.http]`
#[derive(Clone, Debug)]
pub struct HttpConfig {
    /// `127.0.0.1:PORT`, `[::1]:PORT` or `unix:/path`; `None`: off.
    pub listen: Option<String>,
    /// File with the bearer token.
    pub token_file: Option<PathBuf>,
    /// Any secret and any bearer pass.
    pub allow_anonymous: bool,
}

pub(super) const KEYS: &[ConfigKey] = &[
    key(
        "ingest.max_line",
        "1MiB",
        ValueType::Size { min: 1_000 },
        "Longest line on the stream socket and longest HTTP body.",
    ),
    key("ingest.max_event", "40kB", ValueType::Size { min: 1_000 }, "Largest event; at most max_line."),
    key(
        "ingest.max_pending",
        "16MiB",
        ValueType::Size { min: 1_000 },
        "Bytes that all doors together may hold unanswered; above it, reading pauses. At least max_line.",
    ),
    key(
        "ingest.max_connections",
        "256",
        ValueType::Integer { min: 2, max: 65_536 },
        "Most connections to all doors together; one uid gets at most half.",
    ),
    key(
        "ingest.max_unacked",
        "1024",
        ValueType::Integer { min: 1, max: 1_000_000 },
        "Most unanswered lines of one connection; above it, reading pauses.",
    ),
    key(
        "ingest.unknown",
        "forward",
        ValueType::Choice(&["forward", "refuse"]),
        "What to do with unknown fields and enum values: forward them, or refuse the event (for development).",
    ),
    unset(
        "ingest.extra_arrays",
        "[{ name = \"newEvents\", endpoint = \"conversations\", key = \"conversationId\" }]",
        ValueType::Tables,
        "Event types newer than this build: name of the array, endpoint (name of a lane), key (the field that orders its events).",
    ),
    key(
        "ingest.stream.path",
        "/run/trunkline/events.sock",
        ValueType::Socket,
        "Unix socket that takes events, one JSON object per line.",
    )
    .read_at_start(),
    key("ingest.stream.mode", "0660", ValueType::Mode, "Permission bits of the socket file.").read_at_start(),
    unset(
        "ingest.stream.group",
        "\"asterisk\"",
        ValueType::Text,
        "Group of the socket file, name or number.",
    )
    .read_at_start(),
    unset(
        "ingest.stream.allow_uids",
        "[\"asterisk\", \"1000\"]",
        ValueType::List,
        "Users who may connect, names or numbers. Not set: everyone that the file's mode allows.",
    ),
    unset(
        "ingest.http.listen",
        "\"127.0.0.1:8480\"",
        ValueType::LoopbackListen,
        "Address that serves the Events API's own paths. Not set: off.",
    )
    .read_at_start(),
    unset(
        "ingest.http.token_file",
        "\"/etc/trunkline/http_token\"",
        ValueType::Path,
        "File with the token that HTTP producers must send.",
    ),
    key(
        "ingest.http.allow_anonymous",
        "false",
        ValueType::Bool,
        "Accept any secret and any bearer token; none is logged.",
    ),
];

/// Reads the section.
pub(super) fn read(values: &mut Values<'_>) -> IngestConfig {
    let ingest = IngestConfig {
        max_line: values.length("ingest.max_line"),
        max_event: values.length("ingest.max_event"),
        max_pending: values.length("ingest.max_pending"),
        max_connections: values.number("ingest.max_connections") as usize,
        max_unacked: values.number("ingest.max_unacked") as usize,
        unknown: [UnknownPolicy::Forward, UnknownPolicy::Refuse][values.choice("ingest.unknown")],
        extra_arrays: extra_arrays(values),
        stream: StreamConfig {
            path: values.socket("ingest.stream.path"),
            mode: values.mode("ingest.stream.mode"),
            group: values.text("ingest.stream.group"),
            allow_uids: values.list("ingest.stream.allow_uids"),
        },
        http: HttpConfig {
            listen: values.loopback_listen("ingest.http.listen"),
            token_file: values.path("ingest.http.token_file"),
            allow_anonymous: values.flag("ingest.http.allow_anonymous"),
        },
    };
    values.require(
        ingest.max_event <= ingest.max_line,
        &["ingest.max_event", "ingest.max_line"],
        "ingest.max_event at most ingest.max_line",
        "raise ingest.max_line or lower ingest.max_event",
    );
    values.require(
        ingest.max_line <= ingest.max_pending,
        &["ingest.max_line", "ingest.max_pending"],
        "ingest.max_line at most ingest.max_pending",
        "raise ingest.max_pending or lower ingest.max_line",
    );
    values.require(
        ingest.http.listen.is_none() || ingest.http.token_file.is_some() || ingest.http.allow_anonymous,
        &["ingest.http.listen", "ingest.http.token_file", "ingest.http.allow_anonymous"],
        "ingest.http.listen together with ingest.http.token_file or ingest.http.allow_anonymous = true",
        "set ingest.http.token_file to a file with a token",
    );
    ingest
}

fn extra_arrays(values: &mut Values<'_>) -> Vec<ExtraArray> {
    let name = "ingest.extra_arrays";
    let items = match values.raw(name) {
        None => return Vec::new(),
        Some(ValueKind::Array(items)) => items,
        Some(_) => {
            values.fault(
                name,
                ValueType::Tables.allowed(),
                "write [[ingest.extra_arrays]] in the file".to_owned(),
            );
            return Vec::new();
        }
    };
    let catalogue = Catalogue::new(&[]);
    let mut arrays: Vec<ExtraArray> = Vec::new();
    for item in items {
        match extra_array(&item.kind, &catalogue, &arrays) {
            Ok(array) => arrays.push(array),
            Err(advice) => values.fault(name, ValueType::Tables.allowed(), advice),
        }
    }
    arrays
}

/// The array in a table, or what to do about the table.
fn extra_array(
    item: &ValueKind,
    catalogue: &Catalogue,
    earlier: &[ExtraArray],
) -> Result<ExtraArray, String> {
    let ValueKind::Table(table) = item else {
        return Err("write [[ingest.extra_arrays]] on its own line and the keys below it".to_owned());
    };
    let fields = ["name", "endpoint", "key"];
    if let Some(unknown) = table.keys().find(|field| !fields.contains(&field.as_str())) {
        return Err(match nearest(unknown, fields) {
            Some(near) => format!("unknown key {unknown}; did you mean {near}?"),
            None => format!("unknown key {unknown}; the keys are {}", fields.join(", ")),
        });
    }
    let text = |field: &str| match table.get(field).map(|value| &value.kind) {
        None => Ok(None),
        Some(ValueKind::String(text)) if !text.is_empty() => Ok(Some(text.as_str())),
        Some(_) => Err(format!("{field} must be a non-empty string")),
    };
    let name = text("name")?.ok_or("add `name`: the name of the array in a request body")?;
    if !is_array_name(name) {
        let allowed = "a letter, then letters, digits and _";
        return Err(format!("name {name:?} cannot be the name of an array; write {allowed}"));
    }
    let endpoint = text("endpoint")?.ok_or_else(|| format!("add `endpoint`: one of {}", lane_names()))?;
    let lane = Lane::from_name(endpoint).ok_or_else(|| {
        let near = nearest(endpoint, Lane::ALL.map(Lane::name));
        let near = near.map_or(String::new(), |near| format!("did you mean {near}? "));
        format!("unknown endpoint {endpoint}; {near}It must be one of {}", lane_names())
    })?;
    if catalogue.find(name).is_some() {
        return Err(format!("remove {name}: this build already knows it"));
    }
    if earlier.iter().any(|array| &*array.name == name) {
        return Err(format!("remove the second {name}: each array is declared once"));
    }
    Ok(ExtraArray { name: name.into(), lane, key: text("key")?.map(str::to_owned) })
}

/// Names are sent as they are, so none may end the string that it stands in.
fn is_array_name(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_alphabetic())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn lane_names() -> String {
    Lane::ALL.map(Lane::name).join(", ")
}
