//! How a sandbox is to be, and the configuration of a daemon that goes with it.

use std::net::SocketAddr;
use std::time::Duration;

use super::faults::Faults;

/// How a sandbox is to be.
#[derive(Clone, Debug)]
pub struct Options {
    /// Address to listen on.
    pub listen: SocketAddr,
    /// Faults from the start.
    pub faults: Faults,
    /// Requests allowed in 60 s, all tokens together.
    pub requests_per_minute: u32,
    /// Seed of the faults.
    pub seed: u64,
    /// Life of a token.
    pub token_life: Duration,
}

impl Options {
    /// The defaults on any free port of loopback.
    pub fn on_any_port() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            faults: Faults::default(),
            requests_per_minute: 300,
            seed: 0,
            token_life: Duration::from_secs(86_400),
        }
    }
}

/// Why there is no sandbox.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The address cannot be had.
    #[error("cannot listen on {addr}")]
    Bind {
        /// What was asked for.
        addr: SocketAddr,
        /// The system's word.
        source: std::io::Error,
    },
}

impl SandboxError {
    /// Whether this user may not listen there; else the address is in use, or not this host's.
    pub fn is_permission(&self) -> bool {
        let SandboxError::Bind { source, .. } = self;
        source.kind() == std::io::ErrorKind::PermissionDenied
    }
}

/// The configuration of a daemon for this sandbox.
pub fn ready_config(addr: SocketAddr) -> String {
    format!(
        "# a trunkline configuration for this sandbox; relative paths are relative to this file's directory\n\
         [upstream]\napi_url = \"http://{addr}\"\nlogin_url = \"http://{addr}\"\nclient_id = \"sandbox\"\n\
         client_secret = \"sandbox\"\n\n[queue]\ndir = \"trunkline-sandbox/queue\"\n\n[ingest.stream]\n\
         path = \"trunkline-sandbox/events.sock\"\n\n[admin]\nlisten = \"unix:trunkline-sandbox/admin.sock\"\n"
    )
}
