//! Makes a unix socket's file so that at no instant more people can connect than the operator allows.
//!
//! ```text
//! bind ──> open the file (O_PATH) ──> is it ours? ──> group, mode by descriptor ──> listen
//! ```
//!
//! Nobody can connect before `listen`, so the umask need not be touched: other threads make files meanwhile.
//! Group and mode go to the file that was opened, whatever somebody puts at the path in between.

use std::ffi::OsStr;
use std::io::{self, ErrorKind};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, open};
use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, connect, listen, socket};
use nix::sys::stat::{Mode, fstat};
use nix::unistd::{Gid, Group, fchownat, geteuid};

/// Why there is no socket. [`BindError::exit_code`] has the command's exit code.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Somebody listens there.
    #[error("{0}: a running process listens on this socket; stop it or set another path")]
    InUse(PathBuf),
    /// Something else lies there.
    #[error("{0}: exists and is not a socket; move it away or set another path")]
    NotASocket(PathBuf),
    /// We may not make it.
    #[error("{path}: permission denied for uid {uid}; give it the directory or set another path")]
    Permission {
        /// Socket file.
        path: PathBuf,
        /// Our effective uid.
        uid: u32,
    },
    /// The path does not fit into a socket address.
    #[error("{0}: not a path for a socket; it must name a file in at most 107 bytes")]
    BadPath(PathBuf),
    /// `group` is not known.
    #[error("no group {0:?} on this host; give a name that `getent group` lists, or a number")]
    UnknownGroup(String),
    /// Any other fault with the file.
    #[error("{path}: cannot create the socket")]
    Io {
        /// Socket file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A TCP address cannot be had.
    #[error("{0}: cannot listen on this address; stop the process that does, or set another")]
    Address(String, #[source] io::Error),
    /// The socket itself cannot be used.
    #[error("cannot use the socket")]
    Socket(#[source] io::Error),
}

impl BindError {
    /// 73 cannot be made or in use, 77 permission, 78 configuration.
    pub const fn exit_code(&self) -> u8 {
        match self {
            BindError::InUse(_)
            | BindError::NotASocket(_)
            | BindError::Io { .. }
            | BindError::Address(..)
            | BindError::Socket(_) => 73,
            BindError::Permission { .. } => 77,
            BindError::BadPath(_) | BindError::UnknownGroup(_) => 78,
        }
    }
}

/// What a socket file is to be.
#[derive(Clone, Debug)]
pub(super) struct FileSpec {
    pub(super) path: PathBuf,
    /// Permission bits.
    pub(super) mode: u32,
    /// Looked up once: a directory server may take its time.
    pub(super) gid: Option<Gid>,
}

/// A socket and its file.
#[derive(Debug)]
pub(super) struct Bound {
    pub(super) listener: UnixListener,
    pub(super) file: SocketFile,
}

/// The socket's file. Dropped, it removes the file if it is still ours.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    identity: FileIdentity,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FileIdentity {
    device: u64,
    inode: u64,
}

impl SocketFile {
    /// Why nobody can reach the socket by its file; `None` while all is well. One look at the file system.
    pub(super) fn fault(&self) -> Option<String> {
        let path = self.path.display();
        match identity(&self.path) {
            Ok(found) if found == self.identity => None,
            Ok(_) => Some(format!("{path}: another file lies in place of our socket")),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                Some(format!("{path}: the socket file was removed"))
            }
            Err(error) => Some(format!("{path}: cannot check the socket file: {error}")),
        }
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let is_ours = identity(&self.path).is_ok_and(|found| found == self.identity);
        if is_ours && let Err(error) = std::fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "cannot remove the socket file");
        }
    }
}

/// Listens on the path of `spec`.
///
/// A missing directory is made with mode 0755. A socket file that nobody listens on is replaced.
///
/// # Errors
/// See [`BindError`].
pub(super) fn bind_file(spec: &FileSpec) -> Result<Bound, BindError> {
    let path = &spec.path;
    if UnixAddr::new(path).is_err() || path.file_name().is_none() || is_abstract(path) {
        return Err(BindError::BadPath(path.to_owned()));
    }
    let fault = |source: io::Error| io_fault(path, source);
    let system = |errno: Errno| io_fault(path, errno.into());
    make_parent(path).map_err(fault)?;
    clear(path)?;
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let listener = socket(AddressFamily::Unix, SockType::Stream, flags, None).map_err(system)?;
    let address = UnixAddr::new(path).map_err(system)?;
    bind(listener.as_raw_fd(), &address).map_err(|errno| match errno {
        Errno::EADDRINUSE => BindError::InUse(path.to_owned()),
        errno => system(errno),
    })?;
    let made = open_made(path).map_err(fault)?;
    let stat = fstat(&made).map_err(system)?;
    let file = SocketFile {
        path: path.to_owned(),
        identity: FileIdentity { device: stat.st_dev, inode: stat.st_ino },
    };
    if let Some(gid) = spec.gid {
        fchownat(&made, "", None, Some(gid), AtFlags::AT_EMPTY_PATH).map_err(system)?;
    }
    set_mode(&made, spec.mode).map_err(fault)?;
    // As many waiting connections as the host allows (net.core.somaxconn).
    listen(&listener, Backlog::MAXALLOWABLE).map_err(system)?;
    Ok(Bound { listener: UnixListener::from(listener), file })
}

/// Opens what `bind` made, and nothing else: in a directory that others may write to, it may have been swapped.
fn open_made(path: &Path) -> io::Result<OwnedFd> {
    let made = open(path, OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Mode::empty())?;
    let stat = fstat(&made)?;
    let is_socket = stat.st_mode & nix::libc::S_IFMT == nix::libc::S_IFSOCK;
    if is_socket && stat.st_uid == geteuid().as_raw() {
        return Ok(made);
    }
    Err(io::Error::other("another file was put in place of the socket: others can write to its directory"))
}

/// `fchmod` takes no descriptor of this kind; its name under `/proc` leads to the same file and to no other.
fn set_mode(made: &OwnedFd, mode: u32) -> io::Result<()> {
    let name = format!("/proc/self/fd/{}", made.as_raw_fd());
    std::fs::set_permissions(name, std::fs::Permissions::from_mode(mode))
}

/// An abstract socket has no file, hence neither mode nor group.
fn is_abstract(path: &Path) -> bool {
    let bytes = OsStr::as_bytes(path.as_os_str());
    matches!(bytes.first(), None | Some(0 | b'@'))
}

/// The number of a group, given by name or number.
///
/// # Errors
/// [`BindError::UnknownGroup`]
pub fn group_id(group: &str) -> Result<Gid, BindError> {
    if let Ok(number) = group.parse() {
        return Ok(Gid::from_raw(number));
    }
    match Group::from_name(group) {
        Ok(Some(found)) => Ok(found.gid),
        Ok(None) | Err(_) => Err(BindError::UnknownGroup(group.to_owned())),
    }
}

fn make_parent(path: &Path) -> io::Result<()> {
    let above = path.ancestors().skip(1);
    let missing: Vec<&Path> = above.take_while(|dir| !dir.as_os_str().is_empty() && !dir.exists()).collect();
    for dir in missing.into_iter().rev() {
        match std::fs::create_dir(dir) {
            // Somebody else has just made it, and decides who may pass.
            Err(error) if error.kind() == ErrorKind::AlreadyExists && dir.is_dir() => continue,
            made => made?,
        }
        // The daemon's umask is 0077; producers have to get through.
        let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let made = std::fs::File::from(open(dir, flags, Mode::empty())?);
        made.set_permissions(std::fs::Permissions::from_mode(0o755))?;
    }
    Ok(())
}

/// Removes a socket file that nobody listens on.
fn clear(path: &Path) -> Result<(), BindError> {
    let metadata = match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(io_fault(path, error)),
        Ok(metadata) => metadata,
    };
    if !metadata.file_type().is_socket() {
        return Err(BindError::NotASocket(path.to_owned()));
    }
    match knock(path) {
        // Only this says that nobody is there; a full backlog (EAGAIN) or another kind of socket is somebody.
        Err(Errno::ECONNREFUSED) => {
            tracing::info!(path = %path.display(), "replacing a stale socket file");
            std::fs::remove_file(path).map_err(|error| io_fault(path, error))
        }
        Err(Errno::ENOENT) => Ok(()),
        Err(errno @ (Errno::EACCES | Errno::EPERM)) => Err(io_fault(path, errno.into())),
        Ok(()) | Err(_) => Err(BindError::InUse(path.to_owned())),
    }
}

/// Connects without waiting: a listener with a full backlog would hold us for ever.
fn knock(path: &Path) -> Result<(), Errno> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let probe = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    connect(probe.as_raw_fd(), &UnixAddr::new(path)?)
}

fn identity(path: &Path) -> io::Result<FileIdentity> {
    let metadata = std::fs::symlink_metadata(path)?;
    Ok(FileIdentity { device: metadata.dev(), inode: metadata.ino() })
}

fn io_fault(path: &Path, source: io::Error) -> BindError {
    let path = path.to_owned();
    match source.kind() {
        ErrorKind::PermissionDenied => BindError::Permission { path, uid: geteuid().as_raw() },
        _ => BindError::Io { path, source },
    }
}
