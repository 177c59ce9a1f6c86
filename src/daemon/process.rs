//! What holds for the whole process.

/// Files that we make are ours alone, and a crash leaves no image of the calls in memory on a disk.
///
/// # Errors
/// If the limit cannot be set.
pub fn harden() -> std::io::Result<()> {
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o077));
    nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_CORE, 0, 0)?;
    Ok(())
}
