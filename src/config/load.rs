//! From file and environment to a checked configuration: the only file here that reads anything.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::error::{Fault, Faults, Origin};
use super::show::{self, Shown};
use super::values::Values;
use super::{Config, ConfigError, admin, daemon, emit, ingest, layers, log, queue, relay, upstream};

const ADMIN_LISTEN: &str = "admin.listen";

/// Read where no other file is named.
const DEFAULT_FILE: &str = "/etc/trunkline/trunkline.toml";

/// A checked configuration and where its values came from.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// Every key with its effective value, secrets masked.
    pub show: Vec<Shown>,
    /// The file that was read.
    pub file: Option<PathBuf>,
}

/// Reads `path`, else the default file if it exists, and this process's environment.
///
/// # Errors
/// A file that is missing, unreadable or no TOML; all faults of keys and values at once.
pub fn load(path: Option<&Path>) -> Result<Loaded, ConfigError> {
    // A value that is not UTF-8 keeps its marks of replacement, which `check` refuses.
    let lossy = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
    load_with(path, std::env::vars_os().map(|(name, value)| (lossy(name), lossy(value))))
}

/// Where the daemon's admin socket is. A fault in another key is no reason not to find it: it is with a
/// faulty configuration that one most wants to ask the daemon.
///
/// # Errors
/// As [`load`], if the file cannot be read or the address itself is at fault.
pub fn admin_socket(path: Option<&Path>) -> Result<PathBuf, ConfigError> {
    match load(path) {
        Ok(loaded) => Ok(loaded.config.admin.listen),
        Err(ConfigError::Invalid(faults)) if !faults.0.iter().any(|fault| fault.key == ADMIN_LISTEN) => {
            let file = path.unwrap_or(Path::new(DEFAULT_FILE));
            let text = read(file)?.unwrap_or_default();
            let file = absolute(file);
            let env: Vec<(String, String)> = std::env::vars().collect();
            let (found, _) = layers::merge(Some((&file, &text)), &env)?;
            let base_dir = file.parent().unwrap_or(Path::new("/"));
            Ok(admin::read(&mut Values::new(&found, base_dir, Vec::new())).listen)
        }
        Err(error) => Err(error),
    }
}

/// As [`load`], with the environment given.
///
/// # Errors
/// As [`load`].
pub fn load_with(
    path: Option<&Path>,
    env: impl Iterator<Item = (String, String)>,
) -> Result<Loaded, ConfigError> {
    let file = match path {
        Some(path) => {
            Some((absolute(path), read(path)?.ok_or_else(|| ConfigError::Missing { path: path.to_owned() })?))
        }
        None => read(Path::new(DEFAULT_FILE))?.map(|text| (PathBuf::from(DEFAULT_FILE), text)),
    };
    let base_dir =
        file.as_ref().map_or(Path::new(DEFAULT_FILE), |(path, _)| path).parent().unwrap_or(Path::new("/"));
    let given = file.as_ref().map(|(path, text)| (path.as_path(), text.as_str()));
    check(given, base_dir, env)
}

/// Checks `text` as if it were the file `trunkline.toml` in `base_dir`.
///
/// # Errors
/// As [`load`], files aside.
pub fn from_toml_str(
    text: &str,
    base_dir: &Path,
    env: impl Iterator<Item = (String, String)>,
) -> Result<Loaded, ConfigError> {
    check(Some((&base_dir.join("trunkline.toml"), text)), base_dir, env)
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// Text of a file, or `None` if there is no such file.
fn read(path: &Path) -> Result<Option<String>, ConfigError> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Err(ConfigError::Permission {
            path: path.to_owned(),
            uid: nix::unistd::geteuid().as_raw(),
            gid: nix::unistd::getegid().as_raw(),
        }),
        Err(source) => Err(ConfigError::Unreadable { path: path.to_owned(), source }),
    }
}

fn check(
    file: Option<(&Path, &str)>,
    base_dir: &Path,
    env: impl Iterator<Item = (String, String)>,
) -> Result<Loaded, ConfigError> {
    let env: Vec<(String, String)> = env.collect();
    let credentials_dir =
        env.iter().find(|(name, _)| name == "CREDENTIALS_DIRECTORY").map(|(_, dir)| PathBuf::from(dir));
    let (found, mut faults) = layers::merge(file, &env)?;
    faults.extend(
        env.iter()
            .filter(|(name, value)| name.starts_with("TRUNKLINE__") && value.contains('\u{fffd}'))
            .map(not_utf8),
    );

    let mut values = Values::new(&found, base_dir, faults);
    let config = Config {
        ingest: ingest::read(&mut values),
        emit: emit::read(&mut values),
        queue: queue::read(&mut values),
        relay: relay::read(&mut values),
        upstream: upstream::read(&mut values, credentials_dir.as_deref()),
        admin: admin::read(&mut values),
        log: log::read(&mut values),
        daemon: daemon::read(&mut values),
    };
    values.require(
        config.relay.batch_max_size >= config.ingest.max_event,
        &["relay.batch_max_size", "ingest.max_event"],
        "relay.batch_max_size at least ingest.max_event",
        "raise relay.batch_max_size or lower ingest.max_event",
    );
    values.require(
        config.ingest.stream.path != config.admin.listen,
        &["ingest.stream.path", "admin.listen"],
        "a socket file for each of ingest.stream.path and admin.listen",
        "change one of the two",
    );
    let faults = values.into_faults();
    if !faults.is_empty() {
        return Err(ConfigError::Invalid(Faults(faults)));
    }
    Ok(Loaded { config, show: show::shown(&found), file: file.map(|(path, _)| path.to_owned()) })
}

fn not_utf8((name, _): &(String, String)) -> Fault {
    Fault {
        key: name.clone(),
        found: "a value that is not UTF-8".to_owned(),
        allowed: "UTF-8".to_owned(),
        origin: Origin::Env(name.clone()),
        advice: "set the variable to UTF-8 text".to_owned(),
    }
}
