//! Reads secrets from files within a deadline; at most one thread hangs. Errors name the path, never the content.

use std::io;
use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret, SecretString};

use crate::config::credential;
use crate::files::{FileReader, READ_WITHIN};

/// Bytes of a secret file that are read at most. Tokens of the login host have under 200.
const SECRET_MAX: usize = 64 * 1024;

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
pub(super) async fn read_first(reader: &mut FileReader, files: &[PathBuf]) -> Result<SecretString, String> {
    for path in files {
        match read(reader, path).await {
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

async fn read(reader: &mut FileReader, path: &Path) -> Result<SecretString, Unreadable> {
    let bytes = reader.read(path, READ_WITHIN).await.map_err(|error| describe(path, &error))?;
    secret(&bytes, is_systemds_copy(path))
        .map_err(|words| Unreadable::Other(format!("{} {words}", path.display())))
}

/// What is wrong with the file's content is the end of a sentence that begins with its path.
fn secret(bytes: &[u8], is_copy: bool) -> Result<SecretString, String> {
    if bytes.len() > SECRET_MAX {
        return Err("is over 64 KiB; it should hold the secret alone".to_owned());
    }
    if let [0xff, 0xfe, ..] | [0xfe, 0xff, ..] = bytes {
        return Err("is UTF-16; write only the secret into it, as plain text".to_owned());
    }
    let text = std::str::from_utf8(bytes).map_err(|_| "is not UTF-8; write only the secret into it")?;
    match credential(text) {
        Err(stray) => Err(format!("contains {stray}, which a secret cannot; write only the secret into it")),
        Ok("") if is_copy => Err("is empty; the service was started without a secret; write it to /etc/trunkline/client_secret and restart".to_owned()),
        Ok("") => Err("is empty; write the secret into it".to_owned()),
        Ok(secret) => Ok(SecretString::from(secret.to_owned())),
    }
}

fn describe(path: &Path, error: &io::Error) -> Unreadable {
    let shown = path.display();
    match error.kind() {
        io::ErrorKind::NotFound => Unreadable::Missing,
        io::ErrorKind::PermissionDenied => Unreadable::Other(format!(
            "{shown} may not be read by uid {}; change its owner or mode",
            nix::unistd::geteuid()
        )),
        io::ErrorKind::TimedOut => Unreadable::Other(format!("{shown} is {error}")),
        kind => Unreadable::Other(format!("{shown} can't be read ({kind}); check the path")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_at_the_ends_is_taken_off_and_what_no_secret_has_is_named() {
        let good: [&[u8]; 5] =
            [b"csecret", b"csecret\r\n", b"csecret \n", b"\xef\xbb\xbfcsecret\r\n", b"\n csecret\t"];
        let bad: [(&[u8], &str); 7] = [
            (b"csecret\0", "NUL"),
            (b"c\0s\0e\0\n\0", "NUL"),
            (b"\xff\xfec\0s\0", "UTF-16"),
            (b"one\ntwo\n", "a line break"),
            (b"s\xe9cret", "not UTF-8"),
            ("sécret".as_bytes(), "not ASCII"),
            (b" \r\n", "is empty"),
        ];

        for bytes in good {
            assert_eq!(secret(bytes, false).unwrap().expose_secret(), "csecret");
        }
        for (bytes, kind) in bad {
            let told = secret(bytes, false).unwrap_err();
            assert!(told.contains(kind) && !told.contains("cret\0"), "{told}");
        }
    }
}
