//! What commands print: results to stdout, faults to stderr.

use std::io::Write;
use std::os::fd::AsFd;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::escape::escaped_lines;
use super::exit::Exit;

/// How long stderr may take to have room for a line.
pub(super) const STDERR_TAKES_WITHIN: Duration = Duration::from_secs(1);
/// Bytes that a pipe with room takes without blocking. Source: pipe(7), `PIPE_BUF`.
const PIECE: usize = 4_096;

/// Writes to stdout.
pub(super) fn say(text: &str) -> anyhow::Result<Exit> {
    let mut out = std::io::stdout().lock();
    is_read(out.write_all(text.as_bytes()).and_then(|()| out.flush()))?;
    Ok(Exit::Done)
}

/// Whether somebody still reads what was `written` to stdout. A reader that went away (`| head`) is not a fault: what
/// only prints ends well, and what changes something goes on.
pub(super) fn is_read(written: std::io::Result<()>) -> std::io::Result<bool> {
    match written {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(std::io::Error::new(error.kind(), format!("cannot write to stdout: {error}"))),
    }
}

/// Writes a line to stderr, fit for a terminal; there is nowhere to report that this failed. A reader of stderr that
/// is stuck does not block us: a command ends all the same.
pub(super) fn complain(text: &str) {
    complain_within(STDERR_TAKES_WITHIN, text);
}

/// The same, if stderr has room `within` that time.
pub(super) fn complain_within(within: Duration, text: &str) {
    let mut stderr = std::io::stderr();
    let timeout = PollTimeout::try_from(within).unwrap_or(PollTimeout::MAX);
    let line = format!("{}\n", escaped_lines(text));
    for piece in line.as_bytes().chunks(PIECE) {
        let can_write = {
            let mut asked = [PollFd::new(stderr.as_fd(), PollFlags::POLLOUT)];
            poll(&mut asked, timeout).is_ok_and(|ready| ready > 0)
        };
        if !can_write || stderr.write_all(piece).is_err() {
            return;
        }
    }
}
