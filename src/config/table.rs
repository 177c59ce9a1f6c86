//! Every key that there is: the sections' declarations, one after the other.

use super::key::ConfigKey;
use super::{admin, daemon, emit, ids, ingest, log, queue, relay, upstream};

/// Every key, in the order of the sections.
pub fn keys() -> impl Iterator<Item = &'static ConfigKey> {
    let sections = [
        ingest::KEYS,
        emit::KEYS,
        ids::KEYS,
        queue::KEYS,
        relay::KEYS,
        &relay::MAX_AGE_KEYS,
        upstream::KEYS,
        admin::KEYS,
        log::KEYS,
        daemon::KEYS,
    ];
    sections.into_iter().flatten()
}
