//! What listens: sockets with or without a file of ours, and who connects to them.
//!
//! Invariants
//! - At no instant can more people connect to a socket file than the operator allows.
//! - A file that somebody listens on is never replaced, and only our own is removed.
//!
//! Not here: what is said on a connection (`ingest`, `admin`); which sockets systemd hands over (`activation`).

mod file;

use std::io;
use std::net::TcpListener as StdTcpListener;
use std::os::unix::net::UnixListener as StdUnixListener;
use std::path::Path;

use tokio::net::{TcpListener, UnixListener, UnixStream};

pub use file::BindError;
use file::SocketFile;

/// A unix socket that listens. Dropped, it removes its file, if that is still ours.
#[derive(Debug)]
pub struct UnixSocket {
    // First to be dropped: who finds no file knows that nobody listens.
    _file: Option<SocketFile>,
    listener: UnixListener,
}

impl UnixSocket {
    /// Makes the file `path` with permission bits `mode` and, if given, `group` (name or number). Must be
    /// called within a runtime, while starting: it changes the process's umask for an instant.
    ///
    /// # Errors
    /// If it cannot be made, is in use, or the group is not known.
    pub fn bind(path: &Path, mode: u32, group: Option<&str>) -> Result<Self, BindError> {
        let (socket, file) = file::bind(path, mode, group)?;
        Self::listen(socket, Some(file))
    }

    /// Takes a socket that systemd made; path, mode and group are systemd's then.
    ///
    /// # Errors
    /// If the socket is of no use.
    pub fn adopt(socket: StdUnixListener) -> Result<Self, BindError> {
        Self::listen(socket, None)
    }

    fn listen(socket: StdUnixListener, file: Option<SocketFile>) -> Result<Self, BindError> {
        socket.set_nonblocking(true).map_err(BindError::Socket)?;
        let listener = UnixListener::from_std(socket).map_err(BindError::Socket)?;
        Ok(Self { _file: file, listener })
    }

    /// The next connection.
    ///
    /// # Errors
    /// What the system says, such as that there are no file descriptors left.
    pub async fn accept(&self) -> io::Result<UnixStream> {
        Ok(self.listener.accept().await?.0)
    }
}

/// Listens on a TCP address. Must be called within a runtime.
///
/// # Errors
/// If the address cannot be had.
pub fn bind_tcp(address: &str) -> Result<TcpListener, BindError> {
    let socket =
        StdTcpListener::bind(address).map_err(|error| BindError::Address(address.to_owned(), error))?;
    adopt_tcp(socket)
}

/// Takes a TCP socket that is bound already.
///
/// # Errors
/// If it is of no use.
pub fn adopt_tcp(socket: StdTcpListener) -> Result<TcpListener, BindError> {
    socket.set_nonblocking(true).map_err(BindError::Socket)?;
    TcpListener::from_std(socket).map_err(BindError::Socket)
}

/// The process that made a connection, as the kernel says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its effective uid when it connected; `u32::MAX` where unknown.
    pub uid: u32,
    /// Its process id, if the kernel knows it.
    pub pid: Option<i32>,
}

impl Peer {
    /// Peer of a TCP connection: the kernel does not tell.
    pub const UNKNOWN: Self = Self { uid: u32::MAX, pid: None };

    /// Peer of a unix socket.
    ///
    /// # Errors
    /// If the kernel does not tell.
    pub fn of(stream: &UnixStream) -> io::Result<Self> {
        let credentials = stream.peer_cred()?;
        Ok(Self { uid: credentials.uid(), pid: credentials.pid() })
    }
}
