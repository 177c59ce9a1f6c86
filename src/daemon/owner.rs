//! Whose events these are: what the configuration says, and what a login tells. Whether they may leave.
//!
//! Two things hold events back. The client sends with no token whose account is not cleared: that has no gap
//! between a token's change and our hearing of it. The relay is told to withhold once it is known to be for
//! long, and shows why.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::fault::in_full;
use crate::admin::{Adopted, Destination};
use crate::queue::{Owner, Ownership};
use crate::{relay, upstream};

/// Wait before the API is asked again whose token it gave.
const ASK_AGAIN: Duration = Duration::from_secs(60);

/// How often the token's age is looked at.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// Whose events these are, as the configuration says.
pub fn owner(upstream: &crate::config::Upstream) -> Owner {
    let endpoints = &upstream.endpoints;
    let client_id = match &upstream.credentials {
        crate::config::Credentials::Client { id, .. } => Some(id.clone()),
        crate::config::Credentials::AccessTokenFile(_) => None,
    };
    Owner {
        region: endpoints.region.clone().unwrap_or_else(|| endpoints.api_url.clone()),
        client_id,
        organisation: None,
    }
}

/// Knows whether what is queued may leave. All that changes that goes through here.
#[derive(Clone)]
pub(super) struct Custody {
    client: upstream::Client,
    ownership: Ownership,
    account: watch::Sender<Destination>,
    commands: mpsc::Sender<relay::Command>,
    /// The relay was told to send nothing.
    withheld: Arc<AtomicBool>,
    /// The account whose organisation was told last.
    told: Arc<AtomicU64>,
}

impl Custody {
    /// Before the relay runs: it withholds already if `is_withheld`.
    pub(super) fn new(
        client: upstream::Client,
        ownership: Ownership,
        account: watch::Sender<Destination>,
        commands: mpsc::Sender<relay::Command>,
        is_withheld: bool,
    ) -> Self {
        client.guard();
        if !is_withheld {
            client.clear(client.epoch());
        }
        let withheld = Arc::new(AtomicBool::new(is_withheld));
        Self { client, ownership, account, commands, withheld, told: Arc::default() }
    }

    /// For whom events are accepted.
    pub(super) fn owner(&self) -> Owner {
        self.account.borrow().owner.clone()
    }

    /// Learns the organisation in a task of its own.
    pub(super) fn learn(&self) -> JoinHandle<()> {
        tokio::spawn(self.clone().learn_organisation())
    }

    /// Events are for another account from now on. Why those that are queued stay, if they do.
    pub(super) async fn change(&self, next: Owner) -> Result<Option<String>, String> {
        let withheld = self.claim(next.clone()).await?;
        self.account.send_replace(Destination { owner: next, organisation_name: None });
        match &withheld {
            Some(reason) => self.withhold(reason).await,
            None => self.release().await,
        }
        Ok(withheld)
    }

    /// What is queued may leave for the account now, whoever it was meant for.
    pub(super) async fn adopt(&self) -> Result<Adopted, String> {
        let epoch = self.client.epoch();
        let mut owner = self.owner();
        if !self.client.is_cleared() && self.told.load(Ordering::SeqCst) != epoch {
            // The one that is known is that of an earlier token.
            owner.organisation = None;
        }
        let (ownership, current) = (self.ownership.clone(), owner.clone());
        let adopted = tokio::task::spawn_blocking(move || ownership.adopt(&current)).await;
        let before = adopted.map_err(|error| error.to_string())?.map_err(|error| in_full(&error))?;
        self.account.send_modify(|account| {
            account.organisation_name.take_if(|_| owner.organisation.is_none());
            account.owner = owner.clone();
        });
        self.let_go(epoch).await;
        Ok(Adopted { owner, before })
    }

    async fn claim(&self, owner: Owner) -> Result<Option<String>, String> {
        let ownership = self.ownership.clone();
        let claimed = tokio::task::spawn_blocking(move || ownership.claim(&owner)).await;
        claimed.map_err(|error| error.to_string())?.map_err(|error| in_full(&error))
    }

    /// Writes down whose organisation the events are for, once a login tells, and stays logged in. Where
    /// events were queued for another client or token of the same organisation, they may leave.
    async fn learn_organisation(self) {
        let mut login = self.client.login();
        loop {
            // Also without an event to send: an operator learns at once whether the credentials are good.
            let is_in = self.client.log_in().await.fault.is_none();
            let epoch = self.client.epoch();
            let mut is_known = false;
            if is_in {
                match self.client.me().await {
                    upstream::Me::Known { id, name, epoch } => {
                        is_known = true;
                        self.told(id, name, epoch).await;
                    }
                    upstream::Me::Unknown(why) => self.not_told(&why).await,
                }
            }
            if is_known && self.client.is_cleared() && !self.withheld.load(Ordering::SeqCst) {
                self.stay_logged_in(&mut login).await;
                continue;
            }
            tokio::select! {
                () = tokio::time::sleep(ASK_AGAIN) => {}
                Ok(_) = login.wait_for(|login| {
                    self.client.epoch() != epoch || (!is_in && login.fault.is_none())
                }) => {}
            }
        }
    }

    /// Renews the token ahead of its end also while there is nothing to send: a secret that was revoked shows
    /// before an event has to wait for it. While the token is fresh no request is made. Returns when the
    /// token may be of another organisation.
    async fn stay_logged_in(&self, login: &mut watch::Receiver<upstream::Login>) {
        while self.client.is_cleared() {
            tokio::select! {
                () = tokio::time::sleep(LOOK_AGAIN) => {
                    self.client.log_in().await;
                }
                Ok(()) = login.changed() => {}
            }
        }
    }

    async fn told(&self, id: String, name: String, epoch: u64) {
        self.account.send_modify(|account| {
            account.owner.organisation = Some(id);
            account.organisation_name = Some(name).filter(|name| !name.is_empty());
        });
        self.told.store(epoch, Ordering::SeqCst);
        let is_withheld = self.withheld.load(Ordering::SeqCst);
        match self.claim(self.owner()).await {
            Ok(None) => {
                if is_withheld {
                    tracing::info!("the queued events are of the same organisation: they are sent");
                }
                self.let_go(epoch).await;
            }
            // Another organisation's token, though client and region are the same or not known.
            Ok(Some(reason)) => {
                if !is_withheld {
                    tracing::error!(reason, "events are accepted, and none are sent");
                }
                self.withhold(&reason).await;
            }
            Err(error) => tracing::error!(error, "whose the queue is cannot be written down"),
        }
    }

    /// Where no organisation was ever told there is none that events could be meant for.
    async fn not_told(&self, why: &str) {
        if self.client.is_cleared() || self.withheld.load(Ordering::SeqCst) {
            return;
        }
        if self.account.borrow().owner.organisation.is_none() {
            return self.let_go(self.client.epoch()).await;
        }
        let reason = format!("whose token this is, is not known yet: {why}");
        tracing::error!(reason, "events are accepted, and none are sent");
        self.withhold(&reason).await;
    }

    /// The account may have what is queued. Lanes that waited for that try at once.
    async fn let_go(&self, epoch: u64) {
        let was_held = self.withheld.load(Ordering::SeqCst) || !self.client.is_cleared();
        self.client.clear(epoch);
        self.release().await;
        if was_held {
            let _ = self.commands.send(relay::Command::TryNow).await;
        }
    }

    // Cut short between its two steps, each of these leaves events held back and the flag up: whoever learns
    // next lets them go.
    async fn withhold(&self, reason: &str) {
        self.withheld.store(true, Ordering::SeqCst);
        let _ = self.commands.send(relay::Command::Withhold(Arc::from(reason))).await;
    }

    async fn release(&self) {
        if self.withheld.load(Ordering::SeqCst) {
            let _ = self.commands.send(relay::Command::Release).await;
            self.withheld.store(false, Ordering::SeqCst);
        }
    }
}
