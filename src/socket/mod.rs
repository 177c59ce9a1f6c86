//! What listens: sockets with or without a file of ours, the loop that accepts, who connects, and how long a
//! peer may keep a connection for nothing.
//!
//! Invariants
//! - At no instant can more people connect to a socket file than the operator allows.
//! - A file that somebody listens on is never replaced, and only our own is removed.
//! - A removed socket file of ours is reported and created again.
//!
//! Not here: what is said on a connection (`ingest`, `admin`); which sockets systemd hands over (`activation`).

mod accept;
mod file;
mod http1;
mod idle_timeout;
mod listener;
mod reject;

use std::io;

use tokio::net::UnixStream;

pub use accept::{Accepted, Listener, accept_loop};
pub use file::{BindError, group_id};
pub use http1::Http1;
pub use idle_timeout::{PeerLimits, Watch};
pub use listener::{FileState, UnixSocket, adopt_tcp, bind_tcp};
pub use reject::Rejections;

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

    /// Its uid, if the kernel knows it.
    pub fn known_uid(&self) -> Option<u32> {
        (*self != Self::UNKNOWN).then_some(self.uid)
    }

    /// Peer of a unix socket.
    ///
    /// # Errors
    /// If the kernel does not tell.
    pub fn of(stream: &UnixStream) -> io::Result<Self> {
        let credentials = stream.peer_cred()?;
        Ok(Self { uid: credentials.uid(), pid: credentials.pid() })
    }
}
