//! The token of `ingest.http.token_file`, as the file has it now.
//!
//! Each request has the file read first, so a token that is taken away lets nobody in from then on. Reading is
//! done on a blocking thread, one at a time. A file that does not come (a hung mount) holds a request for a
//! second, and the next ones not at all: the token that was known stays good until the file says otherwise.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;
use tokio::task::JoinHandle;

use crate::config::trimmed;
use crate::event::is_utf16;
use crate::panic;

/// How long a request waits for the file.
const READ_LIMIT: Duration = Duration::from_secs(1);

/// Most bytes of the file. Hyper takes no longer header anyway.
const MAX_BYTES: u64 = 16 * 1024;

#[derive(Debug)]
pub(super) struct TokenFile {
    path: PathBuf,
    /// `None`: all requests are refused.
    known: Mutex<Option<SecretString>>,
    /// Who reads.
    turn: tokio::sync::Mutex<()>,
    /// A reading that has not come back within its limit.
    hanging: Mutex<Option<JoinHandle<()>>>,
    /// What the log said last of the file.
    told: Mutex<Option<String>>,
}

/// What a reading of the file says.
#[derive(Debug)]
enum TokenRead {
    /// The token, and what may be wrong with it.
    Token(SecretString, Option<String>),
    /// There is none, and why.
    NoToken(String),
    /// It could not be read for a reason that may pass.
    Unknown(String),
}

impl TokenFile {
    pub(super) fn new(path: PathBuf) -> Self {
        Self {
            path,
            known: Mutex::new(None),
            turn: tokio::sync::Mutex::new(()),
            hanging: Mutex::new(None),
            told: Mutex::new(None),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// In a time that does not depend on where the two differ.
    pub(super) fn is_token(&self, given: &str) -> bool {
        let known = self.known.lock();
        let token = known.as_ref().map(|token| token.expose_secret().as_bytes());
        token.is_some_and(|token| bool::from(token.ct_eq(given.as_bytes())))
    }

    /// Reads the file, unless an earlier reading is stuck. Returns within [`READ_LIMIT`].
    pub(super) async fn look(self: &Arc<Self>) {
        if self.is_stuck() {
            return;
        }
        let file = self.clone();
        // Of its own: a reading that comes late counts, too.
        let mut reading = tokio::spawn(async move { file.read_in_turn().await });
        match tokio::time::timeout(READ_LIMIT, &mut reading).await {
            Ok(read) => panic::pass_on(read),
            Err(_) => {
                *self.hanging.lock() = Some(reading);
                self.tell(Some(format!("it was not read within a second; {}", self.meanwhile())));
            }
        }
    }

    fn is_stuck(&self) -> bool {
        self.hanging.lock().as_ref().is_some_and(|reading| !reading.is_finished())
    }

    /// What holds while the file cannot be read.
    fn meanwhile(&self) -> &'static str {
        if self.known.lock().is_some() {
            "the last known token stays valid"
        } else {
            "no token is known yet; all requests are refused"
        }
    }

    async fn read_in_turn(&self) {
        let _turn = self.turn.lock().await;
        let path = self.path.clone();
        let reading = tokio::task::spawn_blocking(move || read(&path)).await;
        match reading {
            Ok(reading) => self.take(reading),
            Err(_) => panic::pass_on(reading.map(drop)),
        }
    }

    fn take(&self, reading: TokenRead) {
        match reading {
            TokenRead::Token(token, flaw) => {
                *self.known.lock() = Some(token);
                self.tell(flaw);
            }
            TokenRead::NoToken(why) => {
                *self.known.lock() = None;
                self.tell(Some(format!("{why}; all requests are refused")));
            }
            TokenRead::Unknown(why) => self.tell(Some(format!("{why}; {}", self.meanwhile()))),
        }
    }

    /// Once for each fault.
    fn tell(&self, fault: Option<String>) {
        let mut told = self.told.lock();
        if *told == fault {
            return;
        }
        let file = self.path.display();
        match &fault {
            Some(reason) => tracing::warn!(%file, reason, "ingest.http.token_file"),
            None => tracing::info!(%file, "ingest.http.token_file is valid again"),
        }
        *told = fault;
    }
}

fn read(path: &Path) -> TokenRead {
    let mut raw = Vec::new();
    match File::open(path).and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut raw)) {
        Ok(_) => read_text(&raw),
        Err(error) => match error.kind() {
            ErrorKind::NotFound
            | ErrorKind::PermissionDenied
            | ErrorKind::IsADirectory
            | ErrorKind::NotADirectory => TokenRead::NoToken(format!("cannot be read: {error}")),
            _ => TokenRead::Unknown(format!("cannot be read: {error}")),
        },
    }
}

fn read_text(raw: &[u8]) -> TokenRead {
    if raw.len() as u64 > MAX_BYTES {
        return TokenRead::NoToken(format!("is over {MAX_BYTES} bytes"));
    }
    if is_utf16(raw) {
        return TokenRead::NoToken("is UTF-16; save it as UTF-8".to_owned());
    }
    let text = match std::str::from_utf8(raw) {
        Ok(text) => trimmed(text),
        Err(error) => return TokenRead::NoToken(format!("is not UTF-8: byte {}", error.valid_up_to() + 1)),
    };
    if text.is_empty() {
        return TokenRead::NoToken("is empty".to_owned());
    }
    let stray = text.chars().enumerate().find(|(_, letter)| !letter.is_ascii_graphic());
    let flaw = stray.map(|(at, letter)| {
        format!("character {} is U+{:04X}, which a bearer token cannot contain", at + 1, u32::from(letter))
    });
    TokenRead::Token(SecretString::from(text), flaw)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_token(raw: &[u8], given: &str) -> (bool, String) {
        let file = TokenFile::new("unused".into());
        file.take(read_text(raw));
        let told = file.told.lock().clone().unwrap_or_default();
        (file.is_token(given), told)
    }

    #[test]
    fn a_byte_order_mark_and_blanks_around_the_token_are_taken_off() {
        assert_eq!(is_token(b"\xef\xbb\xbfgood\r\n", "good"), (true, String::new()));
        assert_eq!(is_token(b"  good \n\n", "good"), (true, String::new()));
        assert_eq!(is_token("\u{feff}\u{feff}good\u{feff}\n".as_bytes(), "good"), (true, String::new()));
    }

    #[test]
    fn what_is_no_token_lets_nobody_in_and_is_named() {
        let cases: [(&[u8], &str); 5] = [
            (b"\xff\xfeg\0o\0", "is UTF-16; save it as UTF-8; all requests are refused"),
            (b"", "is empty; all requests are refused"),
            (b"\xef\xbb\xbf \n", "is empty; all requests are refused"),
            (b"go\xffod", "is not UTF-8: byte 3; all requests are refused"),
            (&[b'x'; 20_000], "is over 16384 bytes; all requests are refused"),
        ];
        for (raw, told) in cases {
            assert_eq!(is_token(raw, ""), (false, told.to_owned()));
        }
    }

    #[test]
    fn stray_characters_are_named_by_their_place() {
        let (_, told) = is_token("go\u{a0}od".as_bytes(), "x");

        assert_eq!(told, "character 3 is U+00A0, which a bearer token cannot contain");
    }

    #[test]
    fn a_fault_that_may_pass_keeps_the_token_and_one_that_takes_it_away_does_not() {
        let file = TokenFile::new("unused".into());
        file.take(read_text(b"good"));

        file.take(TokenRead::Unknown("cannot be read: EIO".to_owned()));
        let after_fault = file.is_token("good");
        file.take(read(Path::new("/no/such/file")));

        assert!(after_fault && !file.is_token("good"));
    }

    #[tokio::test]
    async fn a_file_that_does_not_come_holds_up_one_request_and_no_others() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
        let file = Arc::new(TokenFile::new(path.clone()));
        file.take(read_text(b"good"));

        file.look().await;
        let is_stuck = file.is_stuck();
        file.look().await;
        let while_stuck = file.is_token("good");
        std::fs::write(&path, "another").unwrap();
        while file.is_stuck() {
            tokio::task::yield_now().await;
        }

        assert!(is_stuck && while_stuck);
        assert!(file.is_token("another"), "a late reading counts");
    }
}
