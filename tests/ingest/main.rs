//! How producers hand in events: both doors, and the commands, examples and SDKs that use them.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../common/mod.rs"]
mod common;

mod emit;
mod examples;
mod http;
mod kit;
mod peers;
mod sdk;
mod send;
mod stream;
