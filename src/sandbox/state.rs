//! All that a sandbox remembers. It is one lock: a sandbox is no place for cleverness.

use std::collections::VecDeque;
use std::time::Duration;

use super::faults::{Dice, Faults};
use super::oauth::IssuedTokens;
use super::record::RequestRecord;
use crate::clock::Mono;

/// The time that the rate limit counts.
pub(super) const MINUTE: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(super) struct SandboxState {
    pub(super) faults: Faults,
    pub(super) dice: Dice,
    pub(super) tokens: IssuedTokens,
    pub(super) record: RequestRecord,
    pub(super) window: VecDeque<Mono>,
    pub(super) requests_per_minute: u32,
    pub(super) requests: u64,
}
