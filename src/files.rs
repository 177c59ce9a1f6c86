//! Directories and small files that survive a power cut.
//!
//! Invariants
//! - What a function here made or replaced is on stable storage when it returns.
//! - A file is replaced as a whole: after a crash the old one is there or the new one.
//!
//! Not here: the queue's databases, which sync each commit themselves (`queue::log::store`).

use std::fs::{self, DirBuilder, File};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

/// Replaces the file `name` of `dir`: writes a new one, syncs it, renames it, syncs the directory.
///
/// # Errors
/// If it cannot be written; the one before is still there then.
pub fn replace(dir: &Path, name: &str, content: &[u8]) -> io::Result<()> {
    replace_from(dir, name, &mut &content[..])
}

/// As [`replace`], with what `content` gives.
///
/// # Errors
/// If `content` cannot be read or the file not written; the one before is still there then.
pub fn replace_from(dir: &Path, name: &str, content: &mut impl io::Read) -> io::Result<()> {
    let new = dir.join(format!("{name}.new"));
    let mut file = File::create(&new)?;
    io::copy(content, &mut file)?;
    file.flush()?;
    file.sync_all()?;
    fs::rename(&new, dir.join(name))?;
    sync_dir(dir)
}

/// Syncs a directory, so that the names in it survive a power cut.
///
/// # Errors
/// If it cannot be opened or synced.
pub fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Makes a directory, mode 0700, with those above it, so that all survive a power cut. One that is there
/// may be so in memory only, when the process that made it was killed: it is synced again.
///
/// # Errors
/// If it cannot be made or synced.
pub fn make_dir(dir: &Path) -> io::Result<()> {
    let new = dir.ancestors().take_while(|above| !above.as_os_str().is_empty() && !above.exists()).count();
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    for parent in dir.ancestors().skip(1).take(new.max(1)).filter(|above| !above.as_os_str().is_empty()) {
        match sync_dir(parent) {
            // Not ours to read, thus not ours to have made anything in.
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {}
            result => result?,
        }
    }
    Ok(())
}
