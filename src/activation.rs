//! Sockets that systemd made and hands over at the start.
//!
//! They are told apart by their names (`FileDescriptorName=`): `stream`, `http`, `admin`.

use std::net::TcpListener;
use std::os::unix::net::UnixListener;

use listenfd::ListenFd;

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
    /// The socket is of another kind.
    #[error("the socket named {name} is no {wanted}: {reason}")]
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
    /// If a socket has a name or a kind that no door takes, or two have one name.
    pub fn from_env() -> Result<Self, ActivationError> {
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut sockets = ListenFd::from_env();
        let mut taken = Self::default();
        let names: Vec<&str> = names.split(':').take(sockets.len()).collect();
        for at in 0..sockets.len() {
            let name = names.get(at).copied().unwrap_or_default().to_owned();
            let found = names.iter().filter(|other| **other == name).count();
            let wrong = |wanted, error: std::io::Error| ActivationError::WrongKind {
                name: name.clone(),
                wanted,
                reason: error.to_string(),
            };
            match name.as_str() {
                "stream" | "admin" | "http" if found > 1 => {
                    return Err(ActivationError::Repeated { name, found });
                }
                "stream" => {
                    taken.stream =
                        sockets.take_unix_listener(at).map_err(|error| wrong("unix stream socket", error))?;
                }
                "admin" => {
                    taken.admin =
                        sockets.take_unix_listener(at).map_err(|error| wrong("unix stream socket", error))?;
                }
                "http" => {
                    // One of another kind is left in its place.
                    taken.http = match sockets.take_unix_listener(at) {
                        Ok(socket) => socket.map(HttpSocket::Unix),
                        Err(_) => sockets
                            .take_tcp_listener(at)
                            .map_err(|error| wrong("unix or TCP stream socket", error))?
                            .map(HttpSocket::Tcp),
                    };
                }
                _ => return Err(ActivationError::UnknownName(name)),
            }
        }
        Ok(taken)
    }
}
