//! What is known of the token: which one is in use, when it ages, and when the next login may be. Pure.

use crate::clock::Mono;
use crate::upstream::grant::{self, Grant, LoginFault, LoginFaultKind};
use crate::upstream::secret::Token;

/// The token in use, by what is to be done about it.
pub(super) enum Cached {
    /// It may be used.
    Fresh(Token),
    /// It may be used, and its successor should be fetched.
    Ageing(Token),
    /// Nobody can send before a login.
    Missing,
}

/// The token in use, and how logins went.
#[derive(Default)]
pub(super) struct TokenState {
    /// Of the newest token.
    generation: u64,
    current: Option<TokenInUse>,
    /// Failed logins in a row.
    failures: u32,
    /// The last failure and when its pause ends.
    paused: Option<(Mono, LoginFault)>,
    /// Fresh tokens in a row that the API refused.
    refused_fresh: u32,
    /// No other login before this, unless the fresh token is taken.
    trial_until: Option<Mono>,
}

struct TokenInUse {
    token: Token,
    /// Age and end, if it has an end.
    life: Option<Life>,
    /// It replaces one that the API refused and has not been taken yet.
    on_trial: bool,
}

#[derive(Clone, Copy)]
struct Life {
    renew_at: Mono,
    ends_at: Mono,
    ends_at_ms: i64,
}

impl TokenState {
    /// The token in use.
    pub(super) fn cached(&self, now: Mono) -> Cached {
        let Some(current) = &self.current else {
            return Cached::Missing;
        };
        match current.life {
            Some(life) if life.ends_at <= now => Cached::Missing,
            Some(life) if life.renew_at <= now => Cached::Ageing(current.token.clone()),
            _ => Cached::Fresh(current.token.clone()),
        }
    }

    /// When the token in use ends, milliseconds since 1970.
    pub(super) fn ends_at_ms(&self, now: Mono) -> Option<i64> {
        let life = self.current.as_ref()?.life?;
        (now < life.ends_at).then_some(life.ends_at_ms)
    }

    /// Whether a login may be made now; if not, the fault that is waited out.
    pub(super) fn may_log_in(&self, now: Mono) -> Result<(), LoginFault> {
        match &self.paused {
            Some((until, fault)) if now < *until => return Err(fault.clone()),
            _ => {}
        }
        match self.trial_until {
            Some(until) if now < until => Err(refused_fresh()),
            _ => Ok(()),
        }
    }

    /// A login went well. While the API refuses one fresh token after the other the next login waits as after
    /// a refused one: what is granted and not taken helps nobody.
    pub(super) fn granted(&mut self, grant: Grant, epoch: u64, now: Mono, now_ms: i64) -> Token {
        self.failures = 0;
        self.paused = None;
        self.generation += 1;
        let token = Token::new(self.generation, epoch, grant.token);
        let on_trial = self.refused_fresh > 0;
        let has_end = grant.life.is_some();
        self.trial_until = (has_end && on_trial).then(|| now.plus(refused_fresh().pause(self.refused_fresh)));
        let life = grant.life.map(|life| Life {
            renew_at: now.plus(grant::renewal_age(life)),
            ends_at: now.plus(life),
            ends_at_ms: now_ms.saturating_add(i64::try_from(life.as_millis()).unwrap_or(i64::MAX)),
        });
        self.current = Some(TokenInUse { token: token.clone(), life, on_trial });
        token
    }

    /// A login failed: the next one waits.
    pub(super) fn failed(&mut self, fault: LoginFault, now: Mono) {
        self.failures = self.failures.saturating_add(1);
        self.paused = Some((now.plus(fault.pause(self.failures)), fault));
    }

    /// The API refused this token. Another than the one in use is none of our business any more.
    pub(super) fn refused(&mut self, token: &Token) {
        if let Some(current) = self.current.take_if(|current| current.token.is_same(token)) {
            self.refused_fresh =
                if current.on_trial { self.refused_fresh + 1 } else { self.refused_fresh.max(1) };
        }
    }

    /// The API took this token.
    pub(super) fn taken(&mut self, token: &Token) {
        if let Some(current) = &mut self.current
            && current.token.is_same(token)
        {
            current.on_trial = false;
            self.refused_fresh = 0;
            self.trial_until = None;
        }
    }

    /// Nobody waits any more for what went wrong before. Whether anything did.
    pub(super) fn retry_at_once(&mut self) -> bool {
        let had_failed = self.paused.take().is_some();
        let was_refused = std::mem::take(&mut self.refused_fresh) > 0;
        self.trial_until = None;
        had_failed || was_refused
    }

    /// The account is another: nothing of the one before counts.
    pub(super) fn reset(&mut self) {
        *self = Self { generation: self.generation, ..Self::default() };
    }
}

fn refused_fresh() -> LoginFault {
    LoginFault::new(LoginFaultKind::Refused, "the API refuses tokens that were just issued")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use secrecy::SecretString;

    use super::*;

    fn at(seconds: u64) -> Mono {
        Mono::from_duration(Duration::from_secs(seconds))
    }

    fn grant(life: Option<u64>) -> Grant {
        Grant { token: SecretString::from("t"), life: life.map(Duration::from_secs) }
    }

    fn unavailable() -> LoginFault {
        LoginFault::new(LoginFaultKind::Unavailable, "x")
    }

    fn granted(state: &mut TokenState, life: Option<u64>, seconds: u64) -> Token {
        state.granted(grant(life), 0, at(seconds), 0)
    }

    #[test]
    fn a_token_ages_and_ends() {
        let mut state = TokenState::default();
        let before = matches!(state.cached(at(0)), Cached::Missing);
        granted(&mut state, Some(1000), 0);

        assert!(before);
        assert!(matches!(state.cached(at(899)), Cached::Fresh(_)));
        assert!(matches!(state.cached(at(900)), Cached::Ageing(_)));
        assert_eq!(state.ends_at_ms(at(999)), Some(1_000_000));
        assert!(matches!(state.cached(at(1000)), Cached::Missing));
        assert_eq!(state.ends_at_ms(at(1000)), None);
    }

    #[test]
    fn a_token_without_an_end_is_used_until_it_is_refused() {
        let mut state = TokenState::default();
        let token = granted(&mut state, None, 0);
        let years_later = matches!(state.cached(at(1_000_000_000)), Cached::Fresh(_));

        state.refused(&token);

        assert!(years_later);
        assert!(matches!(state.cached(at(1)), Cached::Missing));
        assert!(state.may_log_in(at(1)).is_ok());
    }

    #[test]
    fn a_failed_login_is_waited_out_and_leaves_the_token_in_use() {
        let mut state = TokenState::default();
        granted(&mut state, Some(1000), 0);

        state.failed(unavailable(), at(950));

        assert!(state.may_log_in(at(950)).is_err());
        assert!(state.may_log_in(at(951)).is_ok());
        assert!(matches!(state.cached(at(950)), Cached::Ageing(_)));
    }

    #[test]
    fn fresh_tokens_that_are_refused_are_fetched_ever_more_rarely_until_one_is_taken() {
        let mut state = TokenState::default();
        let mut now = 0;
        let mut pauses = Vec::new();
        let mut token = granted(&mut state, Some(1000), now);
        for _ in 0..4 {
            state.refused(&token);
            let from = now;
            while state.may_log_in(at(now)).is_err() {
                now += 1;
            }
            pauses.push(now - from);
            token = granted(&mut state, Some(1000), now);
        }

        state.taken(&token);
        state.refused(&token);

        assert_eq!(pauses, [0, 1, 2, 4]);
        assert!(state.may_log_in(at(now)).is_ok());
    }

    #[test]
    fn what_is_said_of_an_earlier_token_does_nothing_to_the_one_in_use() {
        let mut state = TokenState::default();
        let first = granted(&mut state, Some(1000), 0);
        granted(&mut state, Some(1000), 950);

        state.refused(&first);

        assert!(matches!(state.cached(at(950)), Cached::Fresh(_)));
    }

    #[test]
    fn an_operator_ends_the_wait_and_another_account_forgets_all() {
        let mut state = TokenState::default();
        granted(&mut state, Some(1000), 0);
        state.failed(unavailable(), at(0));

        let is_due = state.retry_at_once();
        let may_now = state.may_log_in(at(0)).is_ok();
        let is_due_again = state.retry_at_once();
        state.reset();

        assert_eq!((is_due, may_now, is_due_again), (true, true, false));
        assert!(matches!(state.cached(at(0)), Cached::Missing));
    }
}
