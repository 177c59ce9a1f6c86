//! The file system of `queue.dir`: how much is free on it, whether it is full, and whether it is fit to hold a queue.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use nix::fcntl::posix_fallocate;
use nix::sys::statfs::statfs;
use nix::sys::statvfs::{Statvfs, statvfs};

use super::error;

/// A file system with less is full: a segment's database alone takes more.
const FULL_BELOW: u64 = 1024 * 1024;
/// Name of the file that finds out whether there is room. It is never seen: it has no name while it has bytes.
const PROBE: &str = "probe";

/// A file system that is not fit for a queue.
struct Unfit {
    /// Its number. Source: `linux/magic.h`, and for 9P, AFS, CIFS and SMB2 the heads of their drivers.
    magic: u32,
    name: &'static str,
    why: &'static str,
}

const IN_MEMORY: &str = "its files are in memory: a reboot or a power cut loses all events";
const IN_CONTAINER: &str =
    "it usually belongs to a container: its events are lost with the container; use a volume";
const REMOTE: &str =
    "a network file system: locks and syncs may not do what the queue relies on; use a local disk";

const UNFIT: [Unfit; 11] = [
    Unfit { magic: 0x0102_1994, name: "tmpfs", why: IN_MEMORY },
    Unfit { magic: 0x8584_58f6, name: "ramfs", why: IN_MEMORY },
    Unfit { magic: 0x794c_7630, name: "overlay", why: IN_CONTAINER },
    Unfit { magic: 0x0000_6969, name: "NFS", why: REMOTE },
    Unfit { magic: 0x0000_517b, name: "SMB", why: REMOTE },
    Unfit { magic: 0xff53_4d42, name: "CIFS", why: REMOTE },
    Unfit { magic: 0xfe53_4d42, name: "SMB2", why: REMOTE },
    Unfit { magic: 0x00c3_6400, name: "Ceph", why: REMOTE },
    Unfit { magic: 0x0102_1997, name: "9P", why: REMOTE },
    Unfit { magic: 0x5346_414f, name: "AFS", why: REMOTE },
    Unfit { magic: 0x6b41_4653, name: "AFS", why: REMOTE },
];

/// Why the file system of `dir` should not hold a queue, for the operator. Blocks: a mount may hang.
pub(super) fn warning(dir: &Path) -> Option<String> {
    let magic = statfs(dir).ok().and_then(|stat| u32::try_from(stat.filesystem_type().0 & 0xffff_ffff).ok());
    warning_of(magic, statvfs(dir).is_ok_and(|stat| stat.blocks() == 0))
}

fn warning_of(magic: Option<u32>, hides_size: bool) -> Option<String> {
    let unfit = UNFIT.iter().find(|unfit| Some(unfit.magic) == magic);
    let unfit = unfit.map(|Unfit { name, why, .. }| format!("queue.dir is on {name}: {why}"));
    let size = "the file system of queue.dir does not report its size: queue.min_free_disk cannot be checked";
    let warnings: Vec<String> = unfit.into_iter().chain(hides_size.then(|| size.to_owned())).collect();
    (!warnings.is_empty()).then(|| warnings.join("; "))
}

/// Bytes free on the file system of `dir`; `None` if it does not report its size.
///
/// # Errors
/// If it cannot be asked.
pub(crate) fn free_bytes(dir: &Path) -> io::Result<Option<u64>> {
    Ok(free_of(&statvfs(dir)?))
}

fn free_of(stat: &Statvfs) -> Option<u64> {
    (stat.blocks() > 0).then(|| stat.blocks_available() * stat.fragment_size())
}

/// Whether nothing more can be written below `dir`. A quota shows only in a try.
pub(crate) fn is_full(dir: &Path) -> bool {
    let is_full = statvfs(dir).is_ok_and(|stat| {
        free_of(&stat).is_some_and(|free| free < FULL_BELOW)
            || (stat.files() > 0 && stat.files_available() == 0)
    });
    is_full || probe(dir).is_err_and(|fault| error::is_full(fault.kind()))
}

/// Allocates and gives back what makes a file system full if it is missing.
fn probe(dir: &Path) -> io::Result<()> {
    let path = dir.join(PROBE);
    let file = File::create(&path)?;
    fs::remove_file(&path)?;
    Ok(posix_fallocate(&file, 0, FULL_BELOW.cast_signed())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_system_that_loses_events_or_hides_its_size_is_warned_about() {
        let table = [
            (Some(0x0102_1994), false, Some("queue.dir is on tmpfs: its files are in memory")),
            (Some(0x794c_7630), false, Some("queue.dir is on overlay: it usually belongs to a container")),
            (Some(0xff53_4d42), false, Some("queue.dir is on CIFS: a network file system")),
            (
                Some(0x6969),
                true,
                Some("use a local disk; the file system of queue.dir does not report its size"),
            ),
            (Some(0x6573_5546), true, Some("the file system of queue.dir does not report its size")),
            (Some(0xef53), false, None),
            (None, false, None),
        ];
        for (magic, hides_size, wanted) in table {
            let warning = warning_of(magic, hides_size);

            assert_eq!(warning.is_some(), wanted.is_some(), "{warning:?}");
            assert!(warning.unwrap_or_default().contains(wanted.unwrap_or_default()), "{wanted:?}");
        }
    }

    #[test]
    fn looking_for_room_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();

        let is_full = is_full(dir.path());

        assert!(!is_full && free_bytes(dir.path()).unwrap() > Some(FULL_BELOW));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
