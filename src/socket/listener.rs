//! Sockets that listen: one with a file, which it looks after, and one on a TCP address.

use std::collections::VecDeque;
use std::io;
use std::net::TcpListener as StdTcpListener;
use std::os::unix::net::UnixListener as StdUnixListener;
use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::accept::{Accepted, Listener};
use super::file::{Bound, FileSpec, SocketFile, bind_file, group_id};
use super::{BindError, Peer};

/// How often a socket looks whether its file is still there.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// A unix socket that listens. Dropped, it removes its file, if that is still ours.
#[derive(Debug)]
pub struct UnixSocket {
    // First to be dropped: who finds no file knows that nobody listens.
    file: Option<OwnFile>,
    listener: UnixListener,
    /// Connections that came by a file which is gone.
    left_over: VecDeque<UnixStream>,
}

/// A file that we created, and create again when it is gone.
#[derive(Debug)]
struct OwnFile {
    spec: FileSpec,
    made: Arc<Mutex<SocketFile>>,
    look: Interval,
    /// The fault that was logged last.
    told: Option<String>,
}

/// Whether a socket can be reached by its file. Cheap to clone; does not keep the file.
#[derive(Clone, Debug)]
pub struct FileState(Weak<Mutex<SocketFile>>);

impl FileState {
    /// Why it cannot; looks at the file system. A socket that is closed has no fault.
    pub fn fault(&self) -> Option<String> {
        let made = self.0.upgrade()?;
        let file = made.lock();
        file.fault()
    }
}

impl UnixSocket {
    /// Makes the file `path` with permission bits `mode` and, if given, `group` (name or number). Must be
    /// called within a runtime.
    ///
    /// # Errors
    /// If it cannot be made, is in use, or the group is not known.
    pub fn bind(path: &Path, mode: u32, group: Option<&str>) -> Result<Self, BindError> {
        let spec = FileSpec { path: path.to_owned(), mode, gid: group.map(group_id).transpose()? };
        let Bound { listener, file } = bind_file(&spec)?;
        let mut look = interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        look.reset();
        let made = Arc::new(Mutex::new(file));
        Self::new(listener, Some(OwnFile { spec, made, look, told: None }))
    }

    /// Takes a socket that systemd made; path, mode and group are systemd's then, and so is the file.
    ///
    /// # Errors
    /// If the socket is of no use.
    pub fn adopt(socket: StdUnixListener) -> Result<Self, BindError> {
        Self::new(socket, None)
    }

    fn new(socket: StdUnixListener, file: Option<OwnFile>) -> Result<Self, BindError> {
        Ok(Self { file, listener: listen(socket).map_err(BindError::Socket)?, left_over: VecDeque::new() })
    }

    /// For who asks whether its file is there; `None` if systemd made it.
    pub fn file_state(&self) -> Option<FileState> {
        self.file.as_ref().map(OwnFile::state)
    }

    /// Creates the file again if it is gone.
    fn look_after_file(&mut self) {
        let Some(file) = &mut self.file else { return };
        let Some(fault) = file.state().fault() else {
            file.told = None;
            return;
        };
        match file.make_anew() {
            Ok(listener) => {
                tracing::warn!(
                    reason = fault,
                    "producers could not connect: the socket file was created again"
                );
                let before = std::mem::replace(&mut self.listener, listener);
                self.left_over.extend(waiting_at(before));
            }
            Err(error) => file.tell(format!("{fault}, and cannot be created again: {error}")),
        }
    }
}

impl OwnFile {
    fn state(&self) -> FileState {
        FileState(Arc::downgrade(&self.made))
    }

    fn make_anew(&mut self) -> Result<UnixListener, BindError> {
        let Bound { listener, file } = bind_file(&self.spec)?;
        let listener = listen(listener).map_err(BindError::Socket)?;
        *self.made.lock() = file;
        self.told = None;
        Ok(listener)
    }

    fn tell(&mut self, fault: String) {
        if self.told.as_ref() != Some(&fault) {
            tracing::error!(reason = fault, "nobody can connect to this socket");
            self.told = Some(fault);
        }
    }
}

fn listen(socket: StdUnixListener) -> io::Result<UnixListener> {
    socket.set_nonblocking(true)?;
    UnixListener::from_std(socket)
}

/// Connections that wait to be accepted at a listener whose file is gone: no others can come.
fn waiting_at(listener: UnixListener) -> Vec<UnixStream> {
    let Ok(listener) = listener.into_std() else { return Vec::new() };
    let mut waiting = Vec::new();
    while let Ok((stream, _)) = listener.accept() {
        if stream.set_nonblocking(true).is_ok() {
            waiting.extend(UnixStream::from_std(stream));
        }
    }
    waiting
}

impl Listener for UnixSocket {
    type Stream = UnixStream;

    async fn accept(&mut self) -> io::Result<Accepted<UnixStream>> {
        loop {
            let stream = match self.left_over.pop_front() {
                Some(stream) => stream,
                None => {
                    let look = self.file.as_mut().map(|file| &mut file.look);
                    let accepted = tokio::select! {
                        accepted = self.listener.accept() => Some(accepted?.0),
                        () = tick(look) => None,
                    };
                    let Some(stream) = accepted else {
                        self.look_after_file();
                        continue;
                    };
                    stream
                }
            };
            if let Ok(peer) = Peer::of(&stream) {
                return Ok(Accepted { stream, peer });
            }
        }
    }
}

async fn tick(look: Option<&mut Interval>) {
    match look {
        Some(look) => drop(look.tick().await),
        None => std::future::pending().await,
    }
}

impl Listener for TcpListener {
    type Stream = TcpStream;

    async fn accept(&mut self) -> io::Result<Accepted<TcpStream>> {
        let (stream, _) = TcpListener::accept(self).await?;
        // Disable Nagle: answers are small and awaited.
        let _ = stream.set_nodelay(true);
        Ok(Accepted { stream, peer: Peer::UNKNOWN })
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
