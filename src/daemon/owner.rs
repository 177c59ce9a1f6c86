//! Decides whether queued events may be sent to the configured account.
//!
//! The gate blocks tokens of accounts that are not cleared, without a race; the relay is told to withhold when that
//! lasts, and shows why. Both follow from the gate's standing; there is no other state.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::fault::in_full;
use crate::admin::{Adopted, Destination};
use crate::queue::{Owner, Ownership};
use crate::upstream::{AccountInUse, Client, LoginStatus, SendGate, Standing, TokenOwner};
use crate::{config, relay};

/// Wait before the API is asked again whose token it gave.
const ASK_AGAIN: Duration = Duration::from_secs(60);

/// How often the token's age is looked at.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// Whose events these are, as the configuration says.
pub fn owner(upstream: &config::UpstreamConfig) -> Owner {
    let endpoints = &upstream.endpoints;
    let client_id = match &upstream.credentials {
        config::Credentials::Client { id, .. } => Some(id.clone()),
        config::Credentials::AccessTokenFile(_) => None,
    };
    Owner {
        region: endpoints.region.clone().unwrap_or_else(|| endpoints.api_url.clone()),
        client_id,
        organisation: None,
    }
}

/// Decides whether what is queued may leave. All that changes that goes through here.
#[derive(Clone)]
pub(super) struct OwnershipGuard {
    client: Client,
    ownership: Ownership,
    destination: watch::Sender<Destination>,
    commands: mpsc::Sender<relay::Command>,
}

impl OwnershipGuard {
    /// Before the relay runs: it withholds already if `is_withheld`.
    pub(super) fn new(
        client: Client,
        ownership: Ownership,
        destination: watch::Sender<Destination>,
        commands: mpsc::Sender<relay::Command>,
        is_withheld: bool,
    ) -> Self {
        client.gate().guard(if is_withheld { Standing::Unconfirmed } else { Standing::Cleared });
        Self { client, ownership, destination, commands }
    }

    /// For whom events are accepted.
    pub(super) fn owner(&self) -> Owner {
        self.destination.borrow().owner.clone()
    }

    /// Learns the organisation in a task of its own.
    pub(super) fn learn(&self) -> JoinHandle<()> {
        tokio::spawn(self.clone().learn_organisation())
    }

    /// Events are for another account from now on. Why those that are queued stay, if they do.
    pub(super) async fn change(&self, next: Owner) -> Result<Option<String>, String> {
        let withheld = self.claim(next.clone()).await?;
        self.destination.send_replace(Destination { owner: next, organisation_name: None });
        let AccountInUse { epoch, standing } = self.gate().account();
        match &withheld {
            Some(reason) => self.withhold(epoch, Standing::Unconfirmed, reason).await,
            None if standing.is_withheld() => {
                let _ = self.commands.send(relay::Command::Release).await;
                self.gate().decide(epoch, Standing::Pending);
            }
            None => {}
        }
        Ok(withheld)
    }

    /// What is queued may leave for the account now, whichever account it was meant for.
    pub(super) async fn adopt(&self) -> Result<Adopted, String> {
        let AccountInUse { epoch, standing } = self.gate().account();
        let mut owner = self.owner();
        if !standing.is_known() {
            // The one that is known is that of an earlier token.
            owner.organisation = None;
        }
        let (ownership, current) = (self.ownership.clone(), owner.clone());
        let adopted = tokio::task::spawn_blocking(move || ownership.adopt(&current)).await;
        let before = adopted.map_err(|error| error.to_string())?.map_err(|error| in_full(&error))?;
        self.destination.send_modify(|known| {
            known.organisation_name.take_if(|_| owner.organisation.is_none());
            known.owner = owner.clone();
        });
        self.let_go(epoch).await;
        Ok(Adopted { owner, before })
    }

    fn gate(&self) -> &SendGate {
        self.client.gate()
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
            let epoch = self.gate().account().epoch;
            let mut is_told = false;
            if is_in {
                match self.client.token_owner().await {
                    TokenOwner::Known { id, name, epoch } => {
                        is_told = true;
                        self.told(id, name, epoch).await;
                    }
                    TokenOwner::Unknown(why) => self.not_told(&why).await,
                }
            }
            if is_told && self.is_cleared() {
                self.stay_logged_in(&mut login).await;
                continue;
            }
            tokio::select! {
                () = tokio::time::sleep(ASK_AGAIN) => {}
                Ok(_) = login.wait_for(|login| {
                    self.gate().account().epoch != epoch || (!is_in && login.fault.is_none())
                }) => {}
            }
        }
    }

    fn is_cleared(&self) -> bool {
        self.gate().account().standing == Standing::Cleared
    }

    /// Renews the token ahead of its end also while there is nothing to send: a secret that was revoked shows
    /// before an event has to wait for it. While the token is fresh no request is made. Returns when the
    /// token may be of another organisation.
    async fn stay_logged_in(&self, login: &mut watch::Receiver<LoginStatus>) {
        while self.is_cleared() {
            tokio::select! {
                () = tokio::time::sleep(LOOK_AGAIN) => {
                    self.client.log_in().await;
                }
                Ok(()) = login.changed() => {}
            }
        }
    }

    async fn told(&self, id: String, name: String, epoch: u64) {
        self.destination.send_modify(|known| {
            known.owner.organisation = Some(id);
            known.organisation_name = Some(name).filter(|name| !name.is_empty());
        });
        let is_withheld = self.gate().account().standing.is_withheld();
        match self.claim(self.owner()).await {
            Ok(None) => {
                if is_withheld {
                    tracing::info!("the queued events belong to the same organisation; sending them");
                }
                self.let_go(epoch).await;
            }
            // Another organisation's token, though client and region are the same or not known.
            Ok(Some(reason)) => {
                if !is_withheld {
                    tracing::error!(reason, "accepting events but sending none");
                }
                self.withhold(epoch, Standing::Foreign, &reason).await;
            }
            Err(error) => tracing::error!(error, "cannot read or save the queue's owner"),
        }
    }

    /// Where no organisation was ever known there is none that events could be meant for.
    async fn not_told(&self, why: &str) {
        let AccountInUse { epoch, standing } = self.gate().account();
        if standing != Standing::Pending {
            return;
        }
        if self.destination.borrow().owner.organisation.is_none() {
            return self.let_go(epoch).await;
        }
        let reason = format!("the token's organisation is not known yet: {why}");
        tracing::error!(reason, "accepting events but sending none");
        self.withhold(epoch, Standing::Unconfirmed, &reason).await;
    }

    /// The account may have what is queued. Lanes that waited for that try at once. Cut short in the middle it
    /// leaves the account as one that is not cleared: the next task that learns of it does the rest.
    async fn let_go(&self, epoch: u64) {
        let account = self.gate().account();
        if account.epoch != epoch || account.standing == Standing::Cleared {
            return;
        }
        if account.standing.is_withheld() {
            let _ = self.commands.send(relay::Command::Release).await;
        }
        self.gate().decide(epoch, Standing::Cleared);
        let _ = self.commands.send(relay::Command::TryNow).await;
    }

    /// Holds all lanes, unless another account has taken the place of the one of `epoch`.
    async fn withhold(&self, epoch: u64, standing: Standing, reason: &str) {
        if self.gate().decide(epoch, standing) {
            let _ = self.commands.send(relay::Command::Withhold(Arc::from(reason))).await;
        }
    }
}
