//! `[ids]`: the map of names to ids.

use std::path::PathBuf;

use super::key::{ConfigKey, ValueType, unset};
use super::values::Values;

/// `[ids]`
#[derive(Clone, Debug)]
pub struct IdsConfig {
    /// The map's file; `None`: names are not looked up.
    pub file: Option<PathBuf>,
}

pub(super) const KEYS: &[ConfigKey] = &[unset(
    "ids.file",
    "\"/etc/trunkline/ids.csv\"",
    ValueType::Path,
    "Map of names to ids, .csv or .toml. With it, `trunkline emit` takes user:1042 or queue:Support for an id.",
)];

/// Reads the section.
pub(super) fn read(values: &mut Values<'_>) -> IdsConfig {
    let file = values.path("ids.file");
    let extension = file.as_ref().map(|file| file.extension().and_then(|extension| extension.to_str()));
    if !matches!(extension, None | Some(Some("csv" | "toml"))) {
        values.fault(
            "ids.file",
            "a file whose name ends in .csv or .toml".to_owned(),
            "rename the file after what it holds".to_owned(),
        );
    }
    IdsConfig { file }
}
