//! Durable writes of small files and directories, and reads with a deadline; a read error never counts as absence.
//!
//! Invariants
//! - The caller of [`read_within`] goes on after the deadline: a mount that hangs, or a pipe that nobody writes to,
//!   blocks nobody.
//! - What a function here made or replaced is on stable storage when it returns.
//! - A file counts as absent only if the directory does not list it.
//! - A file is replaced as a whole: after a crash the old one is there or the new one.
//!
//! Not here: the queue's databases, which sync each commit themselves (`queue::log::store`).

use std::fs::{self, DirBuilder, File};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use tokio::sync::oneshot::{self, error::TryRecvError};

/// How long a file may take. Source: a local file takes microseconds, one on a mount that is well milliseconds.
pub const READ_WITHIN: Duration = Duration::from_secs(5);
/// Largest file that is read: a bundle of certificates has a few hundred kilobytes.
const MAX_BYTES: u64 = 8 * 1024 * 1024;

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
pub fn replace_from(dir: &Path, name: &str, content: &mut dyn Read) -> io::Result<()> {
    let new = dir.join(format!("{name}.new"));
    let mut file = File::create(&new)?;
    io::copy(content, &mut file)?;
    file.flush()?;
    file.sync_all()?;
    fs::rename(&new, dir.join(name))?;
    sync_dir(dir)
}

/// Opens a file of the directory to read; `None` if there is none. A system that finds no file although
/// the directory lists it is not believed: that may pass.
///
/// # Errors
/// If it cannot be opened, or the directory not read.
pub fn open_if_there(dir: &Path, name: &str) -> io::Result<Option<File>> {
    let error = match File::open(dir.join(name)) {
        Ok(file) => return Ok(Some(file)),
        Err(error) if error.kind() == ErrorKind::NotFound => error,
        Err(error) => return Err(error),
    };
    for entry in fs::read_dir(dir)? {
        if entry?.file_name() == name {
            return Err(error);
        }
    }
    Ok(None)
}

/// Reads a small file of the directory; `None` if there is none.
///
/// # Errors
/// If it cannot be read.
pub fn read_if_there(dir: &Path, name: &str) -> io::Result<Option<Vec<u8>>> {
    let Some(mut file) = open_if_there(dir, name)? else { return Ok(None) };
    let mut content = Vec::new();
    file.read_to_end(&mut content)?;
    Ok(Some(content))
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

/// Reads the whole file, but gives up after `limit`. The thread that reads then waits on by itself, and ends with the
/// process at the latest: do not call this again and again for a file that hangs.
///
/// # Errors
/// [`ErrorKind::TimedOut`] after `limit`, [`ErrorKind::FileTooLarge`] above 8 MiB, else what the system says.
pub fn read_within(path: &Path, limit: Duration) -> io::Result<Vec<u8>> {
    let path = path.to_owned();
    within(limit, move || read(&path))?
}

/// What `reading` gives, but gives up after `limit`, as [`read_within`] does.
///
/// # Errors
/// [`ErrorKind::TimedOut`] after `limit`, or if no thread can be started.
pub fn within<T: Send + 'static>(
    limit: Duration,
    reading: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    let (done, waited) = sync_channel(1);
    std::thread::Builder::new().name("file".to_owned()).spawn(move || {
        // Whoever waited may have given up.
        let _ = done.send(reading());
    })?;
    waited.recv_timeout(limit).map_err(|_| not_read_within(limit))
}

/// Reads files for one who asks again and again: while a read hangs, no other thread is begun for the same file.
#[derive(Debug, Default)]
pub struct FileReader {
    under_way: Option<(PathBuf, oneshot::Receiver<io::Result<Vec<u8>>>)>,
}

impl FileReader {
    /// As [`read_within`], and holds up no thread of the runtime, also not its end.
    ///
    /// # Errors
    /// As [`read_within`]; at once while an earlier read of the same file hangs.
    pub async fn read(&mut self, path: &Path, limit: Duration) -> io::Result<Vec<u8>> {
        if let Some((earlier, reading)) = &mut self.under_way
            && earlier == path
            && matches!(reading.try_recv(), Err(TryRecvError::Empty))
        {
            return Err(not_read_within(limit));
        }
        // What an earlier read found may be old by now.
        let (done, reading) = oneshot::channel();
        let thread_path = path.to_owned();
        std::thread::Builder::new().name("file".to_owned()).spawn(move || {
            // Whoever waited may have given up.
            let _ = done.send(read(&thread_path));
        })?;
        let (_, reading) = self.under_way.insert((path.to_owned(), reading));
        let Ok(read) = tokio::time::timeout(limit, reading).await else {
            return Err(not_read_within(limit));
        };
        self.under_way = None;
        read.unwrap_or_else(|_| Err(io::Error::other("the thread that read it has ended")))
    }
}

fn not_read_within(limit: Duration) -> io::Error {
    let limit = humantime::format_duration(limit);
    let text = format!("not read within {limit}: a mount that hangs, or a pipe that nobody writes to?");
    io::Error::new(ErrorKind::TimedOut, text)
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(io::Error::new(ErrorKind::FileTooLarge, "larger than 8 MiB"));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use nix::sys::stat::Mode;
    use nix::unistd::mkfifo;

    use super::*;

    #[test]
    fn a_file_is_read_whole_and_a_pipe_without_a_writer_ends_with_the_deadline() {
        let dir = tempfile::tempdir().unwrap();
        let (file, pipe) = (dir.path().join("file"), dir.path().join("pipe"));
        std::fs::write(&file, "text").unwrap();
        mkfifo(&pipe, Mode::S_IRWXU).unwrap();

        let whole = read_within(&file, Duration::from_secs(60));
        let hanging = read_within(&pipe, Duration::from_millis(1));
        let missing = read_within(&dir.path().join("none"), Duration::from_secs(60));

        assert_eq!(whole.unwrap(), b"text");
        assert_eq!(hanging.unwrap_err().kind(), ErrorKind::TimedOut);
        assert_eq!(missing.unwrap_err().kind(), ErrorKind::NotFound);
    }

    #[tokio::test]
    async fn while_a_read_hangs_no_other_is_begun_and_the_file_is_read_once_it_comes() {
        let dir = tempfile::tempdir().unwrap();
        let (pipe, limit) = (dir.path().join("pipe"), Duration::from_millis(1));
        mkfifo(&pipe, Mode::S_IRWXU).unwrap();
        let mut reader = FileReader::default();

        let first = reader.read(&pipe, limit).await;
        // It would wait an hour if it began a read of its own.
        let second = reader.read(&pipe, Duration::from_secs(3600)).await;
        std::fs::write(&pipe, "late").unwrap();
        std::fs::remove_file(&pipe).unwrap();
        std::fs::write(&pipe, "text").unwrap();
        let third = loop {
            match reader.read(&pipe, Duration::from_secs(60)).await {
                Err(error) if error.kind() == ErrorKind::TimedOut => tokio::task::yield_now().await,
                result => break result,
            }
        };

        assert_eq!(first.unwrap_err().kind(), ErrorKind::TimedOut);
        assert_eq!(second.unwrap_err().kind(), ErrorKind::TimedOut);
        assert_eq!(third.unwrap(), b"text");
    }
}
