//! The queue on a disk that fails: power cuts, failed reads and writes, syncs that hang. This binary replaces functions
//! of libc (`layer::calls`), so every file operation of all tests here goes through the layer.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../common/mod.rs"]
mod common;
#[path = "../queue/kit.rs"]
mod kit;

mod fault_model;
mod full;
mod layer;
mod power_cut;
mod read_fault;
mod stalled_sync;
mod write_fault;
