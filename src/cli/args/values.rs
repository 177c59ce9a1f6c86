//! Values on the command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};

use crate::admin::FieldValue;
use crate::config::parse_duration;
use crate::event::{Lane, catalogue};

/// Any name; the table's are offered for completion.
#[derive(Clone)]
pub(super) struct ArrayName;

impl TypedValueParser for ArrayName {
    type Value = String;

    fn parse_ref(
        &self,
        command: &clap::Command,
        _arg: Option<&clap::Arg>,
        value: &std::ffi::OsStr,
    ) -> Result<String, clap::Error> {
        let text = value.to_str().map(str::to_owned);
        text.ok_or_else(|| clap::Error::new(clap::error::ErrorKind::InvalidUtf8).with_cmd(command))
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = clap::builder::PossibleValue> + '_>> {
        let names = catalogue::types().iter().map(|known| known.array);
        Some(Box::new(names.map(clap::builder::PossibleValue::new)))
    }
}

/// A point in time on the command line.
#[derive(Clone, Copy, Debug)]
pub(in crate::cli) enum Since {
    /// So long ago.
    Ago(Duration),
    /// Then, milliseconds since 1970.
    Time(i64),
}

impl Since {
    /// Milliseconds since 1970.
    pub(in crate::cli) fn at_ms(self, now_ms: i64) -> i64 {
        match self {
            Since::Time(ms) => ms,
            Since::Ago(age) => now_ms.saturating_sub(i64::try_from(age.as_millis()).unwrap_or(i64::MAX)),
        }
    }
}

pub(super) fn since(text: &str) -> Result<Since, String> {
    if let Ok(time) = text.parse::<jiff::Timestamp>() {
        return Ok(Since::Time(time.as_millisecond()));
    }
    let expected = "expected an age such as 24h or a time such as 2026-11-24T08:00:00Z";
    parse_duration(text).map(Since::Ago).map_err(|error| format!("{expected}: {error}"))
}

/// How long a demonstration lasts.
pub(super) fn demo_time(text: &str) -> Result<Duration, String> {
    at_least(Duration::from_millis(1), text)
}

/// Time between two looks at the daemon: each is a request, and a redrawn screen.
pub(super) fn look_interval(text: &str) -> Result<Duration, String> {
    at_least(Duration::from_millis(100), text)
}

fn at_least(least: Duration, text: &str) -> Result<Duration, String> {
    let time = parse_duration(text)?;
    if time < least {
        return Err(format!("must be at least {}", humantime::format_duration(least)));
    }
    Ok(time)
}

/// A lane by its name; help and errors list them.
pub(super) fn lane() -> impl TypedValueParser<Value = Lane> {
    let names = PossibleValuesParser::new(Lane::ALL.map(Lane::name));
    names.map(|name| Lane::from_name(&name).expect("only names of lanes are possible"))
}

pub(super) fn field_value(text: &str) -> Result<FieldValue, String> {
    match text.split_once('=') {
        Some((field, value)) if !field.is_empty() => {
            Ok(FieldValue { field: field.to_owned(), value: value.to_owned() })
        }
        _ => Err("expected FIELD=VALUE, e.g. sourceConfiguration.sourceId=pbx-1".to_owned()),
    }
}

pub(super) fn rate(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(rate) if (0.0..=1.0).contains(&rate) => Ok(rate),
        _ => Err("expected a number from 0 to 1".to_owned()),
    }
}

pub(super) fn admin_address(text: &str) -> Result<PathBuf, String> {
    let path = text.strip_prefix("unix:").unwrap_or(text);
    if path.is_empty() || path.starts_with('@') {
        return Err("expected unix:/path or a path; abstract sockets are not supported".to_owned());
    }
    Ok(PathBuf::from(path))
}
