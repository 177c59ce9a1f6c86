//! Which account may send: what was queued for one organisation is never sent with another's token.
//!
//! pending ──told──> cleared <──told, adopted── unconfirmed, foreign
//!   ^  └──told: another's──> foreign                  ^
//!   └── another account <── cleared      foreign ──> another account
//!
//! Invariants
//! - Tokens of an account that is not cleared send nothing from the moment they are read; account and standing
//!   change in one step.
//! - A decision about an account does not affect its successor.
//! - A changed token in a token file counts as another account's.
//!
//! Not here: who is cleared (`daemon`).

use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use tokio::sync::watch;

/// How long a request waits to learn whether its token may send. The relay does any longer waiting.
const CLEARED_WITHIN: Duration = Duration::from_secs(5);

/// What is known of the account in use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Standing {
    /// Nobody decides on accounts here: each may send.
    #[default]
    Unguarded,
    /// Whose it is, is not known yet and should be soon: requests wait for it.
    Pending,
    /// Whose it is, is not known yet, and all lanes are held until it is.
    Unconfirmed,
    /// What is queued is meant for it.
    Cleared,
    /// What is queued is meant for another, and all lanes are held.
    Foreign,
}

impl Standing {
    /// All lanes are held because of it.
    pub fn is_withheld(self) -> bool {
        matches!(self, Standing::Unconfirmed | Standing::Foreign)
    }

    /// Whose account it is, is known.
    pub fn is_known(self) -> bool {
        matches!(self, Standing::Cleared | Standing::Foreign)
    }

    fn may_send(self) -> bool {
        matches!(self, Standing::Unguarded | Standing::Cleared)
    }

    /// What is known when another account takes the place of this one.
    fn of_the_next(self) -> Self {
        match self {
            Standing::Unguarded => Standing::Unguarded,
            Standing::Pending | Standing::Cleared => Standing::Pending,
            Standing::Unconfirmed | Standing::Foreign => Standing::Unconfirmed,
        }
    }
}

/// The account in use. Another number is another client, or a token file with another token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AccountInUse {
    /// Rises with each change of the account.
    pub epoch: u64,
    /// What is known of it.
    pub standing: Standing,
}

/// Whether a token may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Permit {
    Granted,
    /// Its account is not the one in use any more.
    Replaced,
    /// Nobody has said so in time.
    Withheld,
}

/// The account in use, and whether it may send.
#[derive(Debug, Default)]
pub struct SendGate(watch::Sender<AccountInUse>);

impl SendGate {
    /// The account in use.
    pub fn account(&self) -> AccountInUse {
        *self.0.borrow()
    }

    /// Somebody decides from now on which account may send.
    pub fn guard(&self, standing: Standing) {
        self.0.send_modify(|account| account.standing = standing);
    }

    /// Says what is known of the account of `epoch`. `false` if another has taken its place: nothing is changed.
    pub fn decide(&self, epoch: u64, standing: Standing) -> bool {
        let mut is_current = false;
        self.0.send_if_modified(|account| {
            is_current = account.epoch == epoch;
            let is_news = is_current && account.standing != standing;
            if is_news {
                account.standing = standing;
            }
            is_news
        });
        is_current
    }

    /// Another account from now on.
    pub(super) fn change(&self) {
        self.0.send_modify(|account| {
            account.epoch += 1;
            account.standing = account.standing.of_the_next();
        });
    }

    /// Whoever wrote the file may have written another organisation's token into it.
    pub(super) fn token_of_file(&self, before: Option<&SecretString>, now: &SecretString) {
        match before.map(ExposeSecret::expose_secret) {
            Some(before) if before == now.expose_secret() => {}
            Some(_) => self.change(),
            // Nothing was sent with the one before: there was none.
            None => self.0.send_modify(|account| account.standing = account.standing.of_the_next()),
        }
    }

    /// Whether tokens of the account of `epoch` may send now.
    pub(super) fn is_open_for(&self, epoch: u64) -> bool {
        let account = self.account();
        account.epoch == epoch && account.standing.may_send()
    }

    /// Whether tokens of the account of `epoch` may send, as soon as that is known.
    pub(super) async fn permit(&self, epoch: u64) -> Permit {
        let mut account = self.0.subscribe();
        let decided = account.wait_for(|account| account.epoch != epoch || account.standing.may_send());
        match tokio::time::timeout(CLEARED_WITHIN, decided).await {
            Ok(Ok(account)) if account.epoch == epoch => Permit::Granted,
            Ok(Ok(_)) => Permit::Replaced,
            Ok(Err(_)) | Err(_) => Permit::Withheld,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Standing; 5] =
        [Standing::Unguarded, Standing::Pending, Standing::Unconfirmed, Standing::Cleared, Standing::Foreign];

    #[tokio::test(start_paused = true)]
    async fn after_a_change_no_account_that_is_guarded_may_send() {
        for standing in ALL {
            let gate = SendGate::default();
            gate.guard(standing);

            gate.change();

            let may = gate.permit(gate.account().epoch).await == Permit::Granted;
            assert_eq!(may, standing == Standing::Unguarded, "{standing:?}");
            assert_eq!(gate.account().standing.is_withheld(), standing.is_withheld(), "{standing:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_decided_about_an_account_does_nothing_to_the_next() {
        let gate = SendGate::default();
        gate.guard(Standing::Pending);
        let before = gate.account().epoch;
        gate.change();

        let is_current = gate.decide(before, Standing::Cleared);

        assert!(!is_current);
        assert_eq!(gate.permit(before).await, Permit::Replaced);
        assert_eq!(gate.permit(gate.account().epoch).await, Permit::Withheld);
    }

    #[test]
    fn a_token_of_a_file_is_another_accounts_unless_it_is_the_one_before() {
        let token = |text: &str| SecretString::from(text);
        let rows = [
            (Some("a"), Standing::Cleared, 0),
            (Some("b"), Standing::Pending, 1),
            (None, Standing::Pending, 0),
        ];

        for (before, standing, epoch) in rows {
            let gate = SendGate::default();
            gate.guard(Standing::Cleared);

            gate.token_of_file(before.map(token).as_ref(), &token("a"));

            assert_eq!(gate.account(), AccountInUse { epoch, standing }, "{before:?}");
        }
    }
}
