//! `trunkline config check|show|reference`: what they print. Offline; nothing is changed.

use std::fmt::Write as _;
use std::path::Path;

use crate::config::{self, ConfigError};

/// Validates; says what was checked.
///
/// # Errors
/// Why there is no configuration.
pub fn check(path: Option<&Path>) -> Result<String, ConfigError> {
    let loaded = config::load(path)?;
    Ok(match loaded.file {
        Some(file) => format!("{} is valid\n", file.display()),
        None => "the environment is valid; there is no configuration file\n".to_owned(),
    })
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
