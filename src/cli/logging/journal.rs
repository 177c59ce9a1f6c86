//! Log entries in the journal's own form, with fields: <https://systemd.io/JOURNAL_NATIVE_PROTOCOL/>.

use std::fmt::{Debug, Write as _};
use std::io;
use std::os::unix::net::UnixDatagram;

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use super::lines::{LogOutput, LogQueue};

/// Where journald listens.
const SOCKET: &str = "/run/systemd/journal/socket";

/// The way to journald: a datagram an entry.
pub(super) struct Journald(UnixDatagram);

impl Journald {
    /// # Errors
    /// If there is no journal.
    pub(super) fn open() -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        // An empty entry is ignored. Sent without waiting: one that is stuck now may go on later.
        socket.set_nonblocking(true)?;
        match socket.send_to(&[], SOCKET) {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
            _ => {}
        }
        socket.set_nonblocking(false)?;
        Ok(Self(socket))
    }
}

impl LogOutput for Journald {
    fn write_line(&mut self, entry: &[u8]) -> io::Result<()> {
        self.0.send_to(entry, SOCKET).map(drop)
    }
}

/// Makes an entry of each event.
pub(super) struct Journal(pub(super) LogQueue);

impl<S: Subscriber> Layer<S> for Journal {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let about = event.metadata();
        let priority = match *about.level() {
            Level::ERROR => "3",
            Level::WARN => "4",
            Level::INFO => "5",
            Level::DEBUG => "6",
            Level::TRACE => "7",
        };
        let mut entry = JournalEntry(Vec::with_capacity(256));
        entry.put("PRIORITY", priority);
        entry.put("SYSLOG_IDENTIFIER", "trunkline");
        entry.put("TARGET", about.target());
        if let (Some(file), Some(line)) = (about.file(), about.line()) {
            entry.put("CODE_FILE", file);
            entry.put("CODE_LINE", &line.to_string());
        }
        event.record(&mut entry);
        self.0.put(entry.0);
    }
}

struct JournalEntry(Vec<u8>);

impl JournalEntry {
    /// With its length, so that the value may be anything.
    fn put(&mut self, name: &str, value: &str) {
        self.0.extend_from_slice(name.as_bytes());
        self.0.push(b'\n');
        self.0.extend_from_slice(&(value.len() as u64).to_le_bytes());
        self.0.extend_from_slice(value.as_bytes());
        self.0.push(b'\n');
    }
}

impl Visit for JournalEntry {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            return self.put("MESSAGE", value);
        }
        // The journal takes capitals, digits and `_`; the prefix keeps our fields apart from its own.
        let letters = field.name().bytes().map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => byte.to_ascii_uppercase() as char,
            _ => '_',
        });
        let name: String = "F_".chars().chain(letters).collect();
        self.put(&name, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let mut text = String::new();
        let _ = write!(text, "{value:?}");
        self.record_str(field, &text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_has_its_length_and_may_hold_line_breaks() {
        let mut entry = JournalEntry(Vec::new());

        entry.put("MESSAGE", "a\nb");

        assert_eq!(entry.0, b"MESSAGE\n\x03\0\0\0\0\0\0\0a\nb\n");
    }
}
