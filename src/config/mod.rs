//! What the operator wrote, checked: raw file and environment in, one [`Config`] out.
//!
//! Invariants
//! - A [`Config`] that exists is valid: ranges, units and contradictions were checked when it was made.
//! - Every key is declared once, with default and meaning, and everything else (`reference`, `show`,
//!   errors, the sample files' test) is made from that declaration.
//! - Secrets are [`secrecy::SecretString`]s from the moment they are read.
//!
//! Not here: reading secret files (`upstream` reads them again when a login fails).

mod admin;
mod contact;
mod daemon;
mod emit;
mod error;
mod ids;
mod ingest;
mod key;
mod layers;
mod load;
mod log;
mod nearest;
mod parse;
mod queue;
pub mod regions;
mod relay;
mod secret;
mod show;
mod table;
mod upstream;
mod values;

pub use admin::AdminConfig;
pub use contact::{Contact, Need, contact};
pub use daemon::DaemonConfig;
pub use emit::EmitConfig;
pub use error::{ConfigError, ConfigFault, ConfigFaults, Origin};
pub use ids::IdsConfig;
pub use ingest::{HttpConfig, IngestConfig, StreamConfig, UnknownPolicy};
pub use key::{ConfigKey, ValueType};
pub use load::{Loaded, from_toml_str, load, load_with};
pub use log::{LogConfig, LogFormat};
pub use nearest::nearest;
pub(crate) use parse::is_proxy;
pub use parse::{credential, is_socket_path, parse_duration, trimmed};
pub use queue::QueueConfig;
pub use regions::Endpoints;
pub use relay::RelayConfig;
pub use secret::{MASK, mask_url};
pub use show::{Change, Shown, changes, reference};
pub use table::keys;
pub use upstream::{Credentials, UpstreamConfig};

/// The whole configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// `[ingest]`
    pub ingest: IngestConfig,
    /// `[emit]`
    pub emit: EmitConfig,
    /// `[ids]`
    pub ids: IdsConfig,
    /// `[queue]`
    pub queue: QueueConfig,
    /// `[relay]`
    pub relay: RelayConfig,
    /// `[upstream]`
    pub upstream: UpstreamConfig,
    /// `[admin]`
    pub admin: AdminConfig,
    /// `[log]`
    pub log: LogConfig,
    /// `[daemon]`
    pub daemon: DaemonConfig,
}
