//! The token, and secrets as they are read from files, on a blocking thread. What goes wrong is told with the
//! path and one thing to do, never with what the file holds.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret, SecretString};

/// Bytes of a secret file that are read at most. Tokens of the login host have under 200.
const SECRET_MAX: u64 = 64 * 1024;

/// A token to send with. Tells which one it was when the API refuses it.
#[derive(Clone)]
pub(super) struct Token {
    generation: u64,
    /// Of whose account it is.
    epoch: u64,
    secret: SecretString,
}

impl Token {
    /// The `generation`th token, of the account of `epoch`.
    pub(super) fn new(generation: u64, epoch: u64, secret: SecretString) -> Self {
        Self { generation, epoch, secret }
    }

    /// The token itself.
    pub(super) fn expose(&self) -> &str {
        self.secret.expose_secret()
    }

    /// Of whose account it is: what was begun for another may not be sent with it.
    pub(super) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Whether both come from one login.
    pub(super) fn is_same(&self, other: &Token) -> bool {
        self.generation == other.generation
    }
}

/// The first secret that lies in one of `files`; a file that exists but can't be used ends the search.
pub(super) async fn read_first(files: Vec<PathBuf>) -> Result<SecretString, String> {
    let found = tokio::task::spawn_blocking(move || read_first_blocking(&files)).await;
    found.unwrap_or_else(|_| Err("reading the secret was cut short".to_owned()))
}

fn read_first_blocking(files: &[PathBuf]) -> Result<SecretString, String> {
    for path in files {
        match read(path) {
            Ok(secret) => return Ok(secret),
            Err(Unreadable::Missing) => {}
            Err(Unreadable::Other(words)) => return Err(words),
        }
    }
    let [path, others @ ..] = files else {
        return Err("no secret file is configured; set upstream.client_secret_file".to_owned());
    };
    let mut looked = path.display().to_string();
    for other in others {
        looked = format!("{looked}, {}", other.display());
    }
    Err(format!("no secret found in {looked}; put it there, readable by the daemon's user only"))
}

/// Whether systemd made it at the start of the service (`LoadCredential=`): a change of the original is not
/// seen before the next.
pub(super) fn is_systemds_copy(path: &Path) -> bool {
    path.starts_with("/run/credentials")
}

enum Unreadable {
    Missing,
    Other(String),
}

fn read(path: &Path) -> Result<SecretString, Unreadable> {
    let shown = path.display();
    let file = File::open(path).map_err(|error| describe(path, &error))?;
    let mut text = String::new();
    file.take(SECRET_MAX + 1).read_to_string(&mut text).map_err(|error| describe(path, &error))?;
    let secret = SecretString::from(text.trim_end_matches(['\r', '\n']).to_owned());
    if text.len() as u64 > SECRET_MAX {
        return Err(Unreadable::Other(format!("{shown} is over 64 KiB; it should hold the secret alone")));
    }
    if text.trim().is_empty() {
        let what_to_do = match is_systemds_copy(path) {
            true => {
                "the service was started without a secret; write it to /etc/trunkline/client_secret and restart"
            }
            false => "write the secret into it",
        };
        return Err(Unreadable::Other(format!("{shown} is empty; {what_to_do}")));
    }
    Ok(secret)
}

fn describe(path: &Path, error: &io::Error) -> Unreadable {
    let shown = path.display();
    match error.kind() {
        io::ErrorKind::NotFound => Unreadable::Missing,
        io::ErrorKind::PermissionDenied => Unreadable::Other(format!(
            "{shown} may not be read by uid {}; change its owner or mode",
            nix::unistd::geteuid()
        )),
        io::ErrorKind::InvalidData => {
            Unreadable::Other(format!("{shown} is not UTF-8; it should hold the secret alone"))
        }
        kind => Unreadable::Other(format!("{shown} can't be read ({kind}); check the path")),
    }
}
