//! Which account may send: what was queued for one organisation is never sent with another's token.
//!
//! Invariants
//! - A token of an account that is not cleared sends nothing, from the moment at which it is read.
//! - A token from a file that is not the one before counts as another account's.
//!
//! Not here: who is cleared (`daemon`).

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use tokio::sync::watch;

/// How long a request waits for the word whether its token may send. Longer is for the relay to wait.
const CLEARED_WITHIN: Duration = Duration::from_secs(5);

/// The account that no token is of.
const NOBODY: u64 = 0;

/// The account now, and the one that may send.
pub(super) struct Clearance {
    /// Rises with each change of the account.
    epoch: AtomicU64,
    /// `None`: nobody decides on that, and each may.
    cleared: watch::Sender<Option<u64>>,
}

impl Default for Clearance {
    fn default() -> Self {
        Self { epoch: AtomicU64::new(NOBODY + 1), cleared: watch::Sender::default() }
    }
}

impl Clearance {
    /// The account now.
    pub(super) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::SeqCst)
    }

    /// Another account from now on.
    pub(super) fn change(&self) {
        self.epoch.fetch_add(1, Ordering::SeqCst);
    }

    /// No account may send from now on unless it is cleared.
    pub(super) fn guard(&self) {
        self.cleared.send_replace(Some(NOBODY));
    }

    /// Tokens of this account may send, and no others.
    pub(super) fn clear(&self, epoch: u64) {
        self.cleared.send_replace(Some(epoch));
    }

    /// Whether tokens of the account now may send.
    pub(super) fn is_cleared(&self) -> bool {
        self.cleared.borrow().is_none_or(|cleared| cleared == self.epoch())
    }

    /// Whether tokens of this account may send, as soon as that is known.
    pub(super) async fn may_send(&self, epoch: u64) -> bool {
        let mut cleared = self.cleared.subscribe();
        let may = cleared.wait_for(|cleared| cleared.is_none_or(|cleared| cleared == epoch));
        tokio::time::timeout(CLEARED_WITHIN, may).await.is_ok_and(|may| may.is_ok())
    }

    /// Whoever wrote the file may have written another organisation's token into it.
    pub(super) fn token_of_file(&self, before: Option<&SecretString>, now: &SecretString) {
        match before.map(ExposeSecret::expose_secret) {
            Some(before) if before == now.expose_secret() => {}
            Some(_) => self.change(),
            // Nothing was sent with the one before: there was none.
            None => {
                self.cleared.send_if_modified(|cleared| cleared.as_mut().map(|one| *one = NOBODY).is_some());
            }
        }
    }
}
