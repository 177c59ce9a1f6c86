//! The daemon and the sandbox as processes: what is accepted is delivered, once and in order, through faults and kills.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../common/mod.rs"]
mod common;

mod adopt;
mod answers;
mod bad_disk;
mod environment;
mod faults;
mod idle;
mod kill;
mod main_job;
mod sandbox;
mod weather;
