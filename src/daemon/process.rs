//! What holds for the whole process, however it was started. Set before any thread is started.

use nix::sys::prctl;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::stat::{Mode, umask};

/// Open files kept for all that is not a producer's connection: the queue, requests and logins, operators and probes,
/// peers that are being turned away. Where there are few, half of them.
const KEPT_FILES: u64 = 512;

/// Files that we make are ours alone; a crash leaves no image of the calls in memory on a disk, and no other process of
/// our user reads them there; the host's limits of open files, file size and processor time are used whole.
///
/// # Errors
/// If the system refuses one of these.
pub fn harden() -> std::io::Result<()> {
    umask(Mode::from_bits_truncate(0o077));
    setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
    prctl::set_dumpable(false)?;
    // The lower limit of open files is for programs that use `select`; those of the file size and the processor time
    // are meant for a command, and would end us or fail our writes.
    for limit in [Resource::RLIMIT_NOFILE, Resource::RLIMIT_FSIZE, Resource::RLIMIT_CPU] {
        let (_, hard) = getrlimit(limit)?;
        setrlimit(limit, hard, hard)?;
    }
    Ok(())
}

/// Most connections of producers that the limit of open files has room for.
pub(super) fn most_connections() -> usize {
    let limit = getrlimit(Resource::RLIMIT_NOFILE).map_or(u64::MAX, |(soft, _)| soft);
    most_of(limit)
}

fn most_of(open_files: u64) -> usize {
    let most = open_files.saturating_sub(KEPT_FILES).max(open_files / 2);
    usize::try_from(most).unwrap_or(usize::MAX)
}

/// Says if fewer connections are taken than are configured.
pub(super) fn warn_of_few_files(max_connections: usize) {
    let most = most_connections();
    if max_connections > most {
        tracing::warn!(
            max_connections,
            most,
            "ingest.max_connections is above what the limit of open files allows: raise it (LimitNOFILE=, ulimit -n)"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_kept_for_the_queue_and_the_login() {
        assert_eq!([256, 1_024, 524_288].map(most_of), [128, 512, 523_776]);
    }
}
