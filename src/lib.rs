//! trunkline takes contact-centre events on a local socket, keeps them on disk and delivers them to
//! the Genesys Cloud Events API, in order, within its rate, until each is settled.
//!
//! The way of an event is the order of the modules: `config` (what the operator wrote), `event` (what
//! travels), `ingest` (how it enters), `queue` (where it rests), `relay` (when it leaves), `upstream`
//! (where it goes). `ARCHITECTURE.md` has the map and the invariants.

pub mod activation;
pub mod admin;
pub mod cli;
pub mod clock;
pub mod config;
pub mod daemon;
pub mod event;
pub mod fault_log;
pub mod files;
pub mod ids;
pub mod ingest;
pub mod memory;
pub mod metrics;
pub mod panic;
pub mod queue;
pub mod relay;
pub mod sandbox;
pub mod shutdown;
pub mod socket;
pub mod throttle;
pub mod upstream;
