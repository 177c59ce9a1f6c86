//! `trunkline completions` and `man`: made from the command line's own declaration.

use std::io::Write;

use super::args;
use super::exit::Exit;
use super::output::is_read;

/// A completion script on stdout.
pub(super) fn completions(script: &[u8]) -> anyhow::Result<Exit> {
    is_read(std::io::stdout().write_all(script))?;
    Ok(Exit::Done)
}

/// The manual page on stdout: the command, then each subcommand.
pub(super) fn man() -> anyhow::Result<Exit> {
    let page = args::man_page()?;
    is_read(std::io::stdout().write_all(&page))?;
    Ok(Exit::Done)
}
