//! Whose events these are: what the configuration says, and what a login tells.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use crate::admin::Account;
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

/// Writes down whose organisation the events are for, once a login tells. Where events were queued for
/// another client of the same organisation, they may leave.
pub(super) async fn learn_organisation(
    client: upstream::Client,
    ownership: Ownership,
    account: watch::Sender<Account>,
    withheld: Arc<AtomicBool>,
    commands: mpsc::Sender<relay::Command>,
) {
    let mut login = client.login();
    loop {
        let is_withheld = withheld.load(Ordering::SeqCst);
        // Also without an event to send: an operator learns at once whether the credentials are good.
        let is_in = client.log_in().await.fault.is_none();
        let mut is_known = false;
        if is_in && let upstream::Me::Known { id, name } = client.me().await {
            account.send_modify(|account| {
                account.owner.organisation = Some(id);
                account.organisation_name = Some(name).filter(|name| !name.is_empty());
            });
            is_known = true;
        }
        if is_known || is_withheld {
            let (owner, ownership) = (account.borrow().owner.clone(), ownership.clone());
            let claimed = tokio::task::spawn_blocking(move || ownership.claim(&owner)).await;
            let command = match claimed {
                Ok(Ok(None)) if is_withheld && is_known => {
                    tracing::info!("the queued events are of the same organisation: they are sent");
                    Some(relay::Command::Release)
                }
                // Another organisation's token, though client and region are the same or not known.
                Ok(Ok(Some(reason))) if is_known => {
                    if !is_withheld {
                        tracing::error!(reason, "events are accepted, and none are sent");
                    }
                    Some(relay::Command::Withhold(Arc::from(reason)))
                }
                _ => None,
            };
            if let Some(command) = command {
                withheld.store(matches!(command, relay::Command::Withhold(_)), Ordering::SeqCst);
                let _ = commands.send(command).await;
            }
        }
        if is_known && !withheld.load(Ordering::SeqCst) {
            return stay_logged_in(&client).await;
        }
        tokio::select! {
            () = tokio::time::sleep(ASK_AGAIN) => {}
            Ok(_) = login.wait_for(|login| !is_in && login.fault.is_none()) => {}
        }
    }
}

/// Renews the token ahead of its end also while there is nothing to send: a secret that was revoked shows
/// before an event has to wait for it. While the token is fresh no request is made.
async fn stay_logged_in(client: &upstream::Client) {
    loop {
        tokio::time::sleep(LOOK_AGAIN).await;
        client.log_in().await;
    }
}
