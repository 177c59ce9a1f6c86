//! What holds for the whole process, whoever started it. Set before any thread is started.

use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::SigSet;
use nix::sys::stat::{Mode, umask};

/// Files that we make are ours alone; a crash leaves no image of the calls in memory on a disk, and no other process of
/// our user reads them there; a parent that blocked signals does not keep us from hearing them.
///
/// # Errors
/// If the system refuses one of these.
pub fn harden() -> std::io::Result<()> {
    umask(Mode::from_bits_truncate(0o077));
    setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
    prctl::set_dumpable(false)?;
    SigSet::empty().thread_set_mask()?;
    Ok(())
}
