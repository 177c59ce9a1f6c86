//! Makes a unix socket's file so that at no instant more people can connect than the operator allows.

use std::ffi::OsStr;
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{Gid, Group, chown};

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
    #[error("{path}: cannot make the socket")]
    Io {
        /// Socket file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A TCP address cannot be had.
    #[error("{0}: cannot listen there; stop who does or set another address")]
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

/// The socket's file. Dropped, it removes the file if it is still ours.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    /// Device and inode.
    identity: (u64, u64),
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let is_ours = identity(&self.path).is_ok_and(|found| found == self.identity);
        if is_ours && let Err(error) = std::fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "cannot remove the socket file");
        }
    }
}

/// Listens on `path` with permission bits `mode` and, if given, `group` (name or number).
///
/// A missing directory is made with mode 0755. A socket file that nobody listens on is replaced.
/// Changes the process's umask for an instant: call it while starting.
///
/// # Errors
/// See [`BindError`].
pub(super) fn bind(
    path: &Path,
    mode: u32,
    group: Option<&str>,
) -> Result<(UnixListener, SocketFile), BindError> {
    if UnixAddr::new(path).is_err() || path.file_name().is_none() || is_abstract(path) {
        return Err(BindError::BadPath(path.to_owned()));
    }
    let gid = group.map(gid_of).transpose()?;
    let fault = |source: io::Error| io_fault(path, source);
    make_parent(path).map_err(fault)?;
    clear(path)?;
    // Nobody but us can connect until owner and mode are what the operator wrote.
    let umask_before = umask(Mode::from_bits_truncate(0o177));
    let bound = UnixListener::bind(path);
    umask(umask_before);
    let listener = bound.map_err(|error| match error.kind() {
        ErrorKind::AddrInUse => BindError::InUse(path.to_owned()),
        _ => io_fault(path, error),
    })?;
    let file = SocketFile { path: path.to_owned(), identity: identity(path).map_err(fault)? };
    if let Some(gid) = gid {
        chown(path, None, Some(gid)).map_err(|errno| io_fault(path, errno.into()))?;
    }
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).map_err(fault)?;
    Ok((listener, file))
}

/// An abstract socket has no file, hence neither mode nor group.
fn is_abstract(path: &Path) -> bool {
    let bytes = OsStr::as_bytes(path.as_os_str());
    matches!(bytes.first(), None | Some(0 | b'@'))
}

fn gid_of(group: &str) -> Result<Gid, BindError> {
    if let Ok(number) = group.parse() {
        return Ok(Gid::from_raw(number));
    }
    match Group::from_name(group) {
        Ok(Some(found)) => Ok(found.gid),
        Ok(None) | Err(_) => Err(BindError::UnknownGroup(group.to_owned())),
    }
}

fn make_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() && !parent.exists() => {
            std::fs::DirBuilder::new().recursive(true).mode(0o755).create(parent)?;
            // The daemon's umask is 0077; producers have to get through.
            std::fs::set_permissions(parent, std::fs::Permissions::from_mode(0o755))
        }
        _ => Ok(()),
    }
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
            tracing::info!(path = %path.display(), "replaces a stale socket file");
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

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = std::fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

fn io_fault(path: &Path, source: io::Error) -> BindError {
    let path = path.to_owned();
    match source.kind() {
        ErrorKind::PermissionDenied => BindError::Permission { path, uid: nix::unistd::geteuid().as_raw() },
        _ => BindError::Io { path, source },
    }
}
