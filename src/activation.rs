//! Sockets that systemd made and hands over at the start.
//!
//! They are told apart by their names (`FileDescriptorName=`): `stream`, `http`, `admin`.

use std::net::TcpListener;
use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;

use listenfd::ListenFd;
use nix::sys::socket::{getsockopt, sockopt};

/// What was handed over. Empty when the process was started by hand.
#[derive(Debug, Default)]
pub struct Activation {
    /// `stream`
    pub stream: Option<UnixListener>,
    /// `http`
    pub http: Option<HttpSocket>,
    /// `admin`
    pub admin: Option<UnixListener>,
}

/// The HTTP door may be either.
#[derive(Debug)]
pub enum HttpSocket {
    /// On loopback.
    Tcp(TcpListener),
    /// A socket file.
    Unix(UnixListener),
}

/// A socket that is of no use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ActivationError {
    /// A name that we have no door for.
    #[error(
        "systemd handed over a socket named {0:?}; the names are stream, http, admin (FileDescriptorName= in the socket unit)"
    )]
    UnknownName(String),
    /// Two sockets of one name: a door has one, and clients of the other would wait for ever.
    #[error(
        "systemd handed over {found} sockets named {name}; a door takes one: leave one ListenStream= in the socket unit \
         (an empty ListenStream= before yours takes away those above it)"
    )]
    Repeated {
        /// Their name.
        name: String,
        /// How many have it.
        found: usize,
    },
    /// It would never have a connection: `accept` fails on it for ever.
    #[error(
        "the socket named {0} does not listen; hand over one on which listen() was called, as systemd does for \
         ListenStream= with Accept=no"
    )]
    NotListening(String),
    /// The socket is of another kind.
    #[error("the socket named {name} is not a {wanted}: {reason}")]
    WrongKind {
        /// Its name.
        name: String,
        /// What the door needs.
        wanted: &'static str,
        /// The system's words.
        reason: String,
    },
}

impl Activation {
    /// Takes what the environment names (`LISTEN_FDS`, `LISTEN_PID`, `LISTEN_FDNAMES`).
    ///
    /// # Errors
    /// If a socket has a name or a kind that no door takes, does not listen, or two have one name.
    pub fn from_env() -> Result<Self, ActivationError> {
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut sockets = ListenFd::from_env();
        let mut taken = Self::default();
        let names: Vec<&str> = names.split(':').take(sockets.len()).collect();
        for at in 0..sockets.len() {
            let name = names.get(at).copied().unwrap_or_default();
            let found = names.iter().filter(|other| **other == name).count();
            match name {
                "stream" | "admin" | "http" if found > 1 => {
                    return Err(ActivationError::Repeated { name: name.to_owned(), found });
                }
                "stream" => taken.stream = take_unix(&mut sockets, at, name)?,
                "admin" => taken.admin = take_unix(&mut sockets, at, name)?,
                "http" => taken.http = take_http(&mut sockets, at, name)?,
                _ => return Err(ActivationError::UnknownName(name.to_owned())),
            }
        }
        Ok(taken)
    }
}

fn take_unix(sockets: &mut ListenFd, at: usize, name: &str) -> Result<Option<UnixListener>, ActivationError> {
    let taken = sockets.take_unix_listener(at);
    let socket = taken.map_err(|error| wrong_kind(name, "unix stream socket", &error))?;
    socket.map(|socket| listening(socket, name)).transpose()
}

fn take_http(sockets: &mut ListenFd, at: usize, name: &str) -> Result<Option<HttpSocket>, ActivationError> {
    // One of another kind is left in its place.
    if let Ok(socket) = sockets.take_unix_listener(at) {
        return Ok(socket.map(|socket| listening(socket, name)).transpose()?.map(HttpSocket::Unix));
    }
    let taken = sockets.take_tcp_listener(at);
    let socket = taken.map_err(|error| wrong_kind(name, "unix or TCP stream socket", &error))?;
    Ok(socket.map(|socket| listening(socket, name)).transpose()?.map(HttpSocket::Tcp))
}

fn wrong_kind(name: &str, wanted: &'static str, error: &std::io::Error) -> ActivationError {
    ActivationError::WrongKind { name: name.to_owned(), wanted, reason: error.to_string() }
}

fn listening<S: AsFd>(socket: S, name: &str) -> Result<S, ActivationError> {
    match getsockopt(&socket, sockopt::AcceptConn) {
        Ok(true) => Ok(socket),
        _ => Err(ActivationError::NotListening(name.to_owned())),
    }
}
