//! `trunkline config check|show|reference`: what they print. Nothing is changed; only `check --online` uses the network.

use std::fmt::Write as _;
use std::path::Path;

use crate::config::{self, ConfigError, Loaded};
use crate::daemon;

use super::escape::escaped;
use super::exit::Exit;
use super::output::say;
use super::runtime::async_runtime;

/// Validates; says what was checked.
///
/// # Errors
/// Why there is no configuration, or why the daemon would not start with it.
pub fn check(path: Option<&Path>) -> anyhow::Result<String> {
    checked(&config::load(path)?)
}

fn checked(loaded: &Loaded) -> anyhow::Result<String> {
    let mut text = String::new();
    for warning in daemon::check(&loaded.config)? {
        let _ = writeln!(text, "warning: {}", escaped(&warning));
    }
    text.push_str(&match &loaded.file {
        Some(file) => format!("{} is valid\n", file.display()),
        None => "the environment is valid; no configuration file was found\n".to_owned(),
    });
    Ok(text)
}

/// Every key with its effective value, secrets masked, and where it came from.
///
/// # Errors
/// Why there is no configuration.
pub fn show(path: Option<&Path>) -> Result<String, ConfigError> {
    let mut text = String::new();
    for shown in config::load(path)?.show {
        let line = match shown.value {
            Some(value) => format!("{} = {value}", shown.key),
            None => format!("# {} is not set", shown.key),
        };
        let _ = writeln!(text, "{line:<60} # {}", shown.origin);
    }
    Ok(text)
}

/// Every key with default and meaning, as a commented TOML file.
pub fn reference() -> String {
    config::reference()
}

/// Validates, and looks at everything between us and the API.
pub(super) fn check_online(path: Option<&Path>) -> anyhow::Result<Exit> {
    let loaded = config::load(path)?;
    say(&checked(&loaded)?)?;
    let findings = async_runtime()?.block_on(daemon::check_online(&loaded.config))?;
    let mut exit = Exit::Done;
    for finding in findings {
        let (mark, text) = match &finding.result {
            Ok(text) => ("ok   ", text),
            Err(text) => ("fault", text),
        };
        if finding.result.is_err() {
            exit = Exit::Failed;
        }
        say(&format!("{mark} {:<14} {}\n", finding.name, escaped(text)))?;
    }
    Ok(exit)
}
