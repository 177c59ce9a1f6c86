//! From file and environment to a checked configuration: the only file here that reads anything.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use super::error::{ConfigError, ConfigFault, ConfigFaults, Origin};
use super::key::ConfigKey;
use super::layers::Merged;
use super::show::{self, Shown};
use super::table::keys;
use super::values::Values;
use super::{Config, admin, daemon, emit, ids, ingest, layers, log, queue, relay, upstream};
use crate::event::is_utf16;
use crate::files;

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
    load_with(path, environment())
}

/// This process's variables. A value that is not UTF-8 keeps its marks of replacement, which `examine` refuses.
pub(super) fn environment() -> impl Iterator<Item = (String, String)> {
    let lossy = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
    std::env::vars_os().map(move |(name, value)| (lossy(name), lossy(value)))
}

/// As [`load`], with the environment given.
///
/// # Errors
/// As [`load`].
pub fn load_with(
    path: Option<&Path>,
    env: impl Iterator<Item = (String, String)>,
) -> Result<Loaded, ConfigError> {
    check(read_file(path)?.as_ref(), env)
}

/// A configuration file that was read.
#[derive(Clone, Debug)]
pub(super) struct File {
    path: PathBuf,
    text: String,
}

/// `path`, else the default file if it exists.
pub(super) fn read_file(path: Option<&Path>) -> Result<Option<File>, ConfigError> {
    let text = read(path.unwrap_or(Path::new(DEFAULT_FILE)))?;
    match (path, text) {
        (Some(path), None) => Err(ConfigError::Missing { path: path.to_owned() }),
        (Some(path), Some(text)) => Ok(Some(File { path: absolute(path), text })),
        (None, text) => Ok(text.map(|text| File { path: DEFAULT_FILE.into(), text })),
    }
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
    check(Some(&File { path: base_dir.join("trunkline.toml"), text: text.to_owned() }), env)
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// Text of a file, or `None` if there is no such file.
fn read(path: &Path) -> Result<Option<String>, ConfigError> {
    let text = files::read_within(path, files::READ_WITHIN).and_then(|bytes| {
        if is_utf16(&bytes) {
            return Err(io::Error::new(ErrorKind::InvalidData, "it is UTF-16; save it as UTF-8"));
        }
        String::from_utf8(bytes).map_err(|error| io::Error::new(ErrorKind::InvalidData, error))
    });
    match text {
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

fn check(file: Option<&File>, env: impl Iterator<Item = (String, String)>) -> Result<Loaded, ConfigError> {
    let Examined { config, show, faults } = examine(file, env)?;
    if !faults.is_empty() {
        return Err(ConfigError::Invalid(ConfigFaults(faults)));
    }
    Ok(Loaded { config, show, file: file.map(|file| file.path.clone()) })
}

/// What was found. With faults, the keys that they name read as empty.
pub(super) struct Examined {
    pub(super) config: Config,
    show: Vec<Shown>,
    pub(super) faults: Vec<ConfigFault>,
}

pub(super) fn examine(
    file: Option<&File>,
    env: impl Iterator<Item = (String, String)>,
) -> Result<Examined, ConfigError> {
    let env: Vec<(String, String)> = env.collect();
    let base_dir = file.map_or(Path::new(DEFAULT_FILE), |file| &file.path).parent().unwrap_or(Path::new("/"));
    let credentials_dir =
        env.iter().find(|(name, _)| name == "CREDENTIALS_DIRECTORY").map(|(_, dir)| PathBuf::from(dir));
    let keys: Vec<&ConfigKey> = keys().collect();
    let Merged { values: found, mut faults } =
        layers::merge(&keys, file.map(|file| (file.path.as_path(), file.text.as_str())), &env)?;
    faults.extend(
        env.iter()
            .filter(|(name, value)| name.starts_with("TRUNKLINE__") && value.contains('\u{fffd}'))
            .map(not_utf8),
    );

    let mut values = Values::new(&found, base_dir, faults);
    let config = Config {
        ingest: ingest::read(&mut values),
        emit: emit::read(&mut values),
        ids: ids::read(&mut values),
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
    require_own_addresses(&config, &mut values);
    Ok(Examined { config, show: show::shown(&found), faults: values.into_faults() })
}

/// No two listeners at one address: the second would fail at the start.
fn require_own_addresses(config: &Config, values: &mut Values<'_>) {
    let (ingest, admin) = (&config.ingest, &config.admin);
    values.require(
        ingest.stream.path != admin.listen,
        &["ingest.stream.path", "admin.listen"],
        "different sockets for ingest.stream.path and admin.listen",
        "change one of the two",
    );
    let Some(http) = ingest.http.listen.as_deref() else { return };
    let http_path = http.strip_prefix("unix:").map(Path::new);
    values.require(
        http_path != Some(&ingest.stream.path) && http_path != Some(&admin.listen),
        &["ingest.http.listen", "ingest.stream.path", "admin.listen"],
        "different sockets for ingest.http.listen, ingest.stream.path and admin.listen",
        "change ingest.http.listen",
    );
    let metrics = admin.metrics_listen.filter(|address| address.port() != 0);
    let is_same = metrics.is_some_and(|metrics| http.parse() == Ok(metrics));
    values.require(
        !is_same,
        &["ingest.http.listen", "admin.metrics_listen"],
        "different addresses for ingest.http.listen and admin.metrics_listen",
        "change the port of one of the two",
    );
}

fn not_utf8((name, _): &(String, String)) -> ConfigFault {
    ConfigFault {
        key: name.clone(),
        found: "a value that is not UTF-8".to_owned(),
        allowed: "UTF-8".to_owned(),
        origin: Origin::Env(name.clone()),
        advice: "set the variable to UTF-8 text".to_owned(),
    }
}
