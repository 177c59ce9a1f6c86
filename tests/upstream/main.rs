//! The way to the API: requests, tokens, TLS and proxies, against servers on loopback.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../common/mod.rs"]
mod common;

mod check_online;
mod client;
mod connections;
mod kit;
mod network;
mod proxy;
mod tls;
mod token;
mod token_file;
