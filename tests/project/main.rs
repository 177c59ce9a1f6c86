//! What the project says about itself: the map of modules, links in documents, the configuration reference and the
//! table of event types.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod architecture;
mod config;
mod docs;
mod event_catalogue;
