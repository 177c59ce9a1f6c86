//! What commands print: results to stdout, faults to stderr.

use std::io::Write;
use std::os::fd::AsFd;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::escape::escaped_lines;
use super::exit::Exit;

/// How long stderr may take to have room for a line.
const STDERR_TAKES_WITHIN_MS: u16 = 1_000;

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
    let mut stderr = std::io::stderr();
    let can_write = {
        let mut asked = [PollFd::new(stderr.as_fd(), PollFlags::POLLOUT)];
        poll(&mut asked, PollTimeout::from(STDERR_TAKES_WITHIN_MS)).is_ok_and(|ready| ready > 0)
    };
    if can_write {
        let _ = writeln!(stderr, "{}", escaped_lines(text));
    }
}
