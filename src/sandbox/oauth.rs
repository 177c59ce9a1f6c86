//! The login host: any client with a secret gets a token.

use std::collections::HashMap;
use std::time::Duration;

use crate::clock::{Clock, Mono};

use super::faults::Dice;

/// Tokens issued, and when each expires.
#[derive(Debug, Default)]
pub(super) struct IssuedTokens {
    live: HashMap<String, Mono>,
}

impl IssuedTokens {
    /// A new token, good for `life`.
    pub(super) fn issue(&mut self, dice: &mut Dice, clock: &Clock, life: Duration) -> String {
        let now = clock.mono();
        self.live.retain(|_, end| now < *end);
        let token = format!("sandbox-{:016x}{:016x}", dice.number(), dice.number());
        self.live.insert(token.clone(), now.plus(life));
        token
    }

    /// Whether an `Authorization` header carries a good token.
    pub(super) fn accepts(&self, authorization: &str, clock: &Clock) -> bool {
        authorization
            .strip_prefix("Bearer ")
            .and_then(|token| self.live.get(token))
            .is_some_and(|end| clock.mono() < *end)
    }
}
