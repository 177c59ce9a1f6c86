//! What the operator wrote, checked: raw file and environment in, one [`Config`] out.
//!
//! Invariants
//! - A [`Config`] that exists is valid: ranges, units and contradictions were checked when it was made.
//! - Every key is declared once, with default and meaning, and everything else (`reference`, `show`,
//!   errors, the sample files' test) is made from that declaration.
//! - Secrets are [`secrecy::SecretString`]s from the moment they are read.
//!
//! Not here: reading secret files (`upstream` reads them anew when a login fails).

mod admin;
mod contact;
mod daemon;
mod emit;
mod error;
mod ingest;
mod key;
mod layers;
mod load;
mod log;
mod queue;
pub mod regions;
mod relay;
mod secret;
mod show;
mod upstream;
mod values;

pub use admin::Admin;
pub use contact::{Contact, Need, contact};
pub use daemon::Daemon;
pub use emit::Emit;
pub use error::{ConfigError, Fault, Faults, Origin};
pub use ingest::{Http, Ingest, Stream, UnknownPolicy};
pub use key::{Key, Kind};
pub use load::{Loaded, from_toml_str, load, load_with};
pub use log::{Log, LogFormat};
pub use queue::Queue;
pub use relay::Relay;
pub use secret::{MASK, mask_url};
pub use show::{Change, Shown, changes, reference};
pub use upstream::{Credentials, Endpoints, Upstream};

/// Every key, in the order of the sections.
pub fn keys() -> impl Iterator<Item = &'static Key> {
    [ingest::KEYS, emit::KEYS, queue::KEYS, relay::KEYS, upstream::KEYS, admin::KEYS, log::KEYS, daemon::KEYS]
        .into_iter()
        .flatten()
}

/// The whole configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// `[ingest]`
    pub ingest: Ingest,
    /// `[emit]`
    pub emit: Emit,
    /// `[queue]`
    pub queue: Queue,
    /// `[relay]`
    pub relay: Relay,
    /// `[upstream]`
    pub upstream: Upstream,
    /// `[admin]`
    pub admin: Admin,
    /// `[log]`
    pub log: Log,
    /// `[daemon]`
    pub daemon: Daemon,
}
