//! What an operator and the service manager see and do: admin API, commands, reload, runbook, systemd.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../common/mod.rs"]
mod common;

mod activation;
mod admin;
mod commands;
mod doors;
mod reload;
mod runbook;
mod systemd;
mod top;
mod trace_and_dead_letters;
