//! `config check --online`: what an operator would otherwise find out from the log.
//!
//! A request with zero events is answered 400 `zero.events.submitted` to who may send some, and 403 to who
//! may not. That is how permissions are inferred; nothing is injected.

use std::time::Duration;

use bytes::Bytes;

use super::client::{Client, TokenOwner};
use super::http::HostPort;
use super::skew::SKEW_MAX_SECONDS;
use super::types::{Outbound, Upstream, Verdict};
use crate::config;
use crate::event::Lane;

/// What the API answers to a body without events.
const ZERO_EVENTS: &str = "zero.events.submitted";

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What.
    pub name: String,
    /// What was found, or what is wrong and what to do.
    pub result: Result<String, String>,
}

/// Looks at name resolution, proxy, login, clock, organisation, and each lane's permission. Stops where
/// going on can tell nothing new.
pub async fn probe(client: &Client, settings: &config::UpstreamConfig) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut found = |name: &str, result: Result<String, String>| {
        let is_good = result.is_ok();
        findings.push(Finding { name: name.to_owned(), result });
        is_good
    };
    // The daemon's way: behind a proxy this host may know no names at all.
    let proxies = client.proxies();
    let hosts =
        [(&settings.endpoints.login_url, &proxies.login), (&settings.endpoints.api_url, &proxies.api)];
    for (url, proxy) in hosts {
        let (name, result) = match proxy {
            Some(proxy) => ("proxy", Ok(format!("{} by {proxy}; names are resolved there", host(url)))),
            None => ("name", resolve(url, settings.connect_timeout).await),
        };
        if !found(name, result) {
            return findings;
        }
    }
    let login = client.log_in().await;
    let result = match login.fault {
        None => Ok("logged in".to_owned()),
        Some(fault) => Err(fault),
    };
    if !found("login", result) {
        return findings;
    }
    match client.token_owner().await {
        TokenOwner::Known { name, id, .. } => {
            found("organisation", Ok(format!("{name} ({id})")));
        }
        TokenOwner::Unknown(why) => {
            found("organisation", Err(why));
        }
    }
    for lane in Lane::ALL {
        let answer = client.send(Outbound { lane, body: Bytes::from_static(b"{}") }).await;
        found(lane.name(), permission(lane, &answer.verdict));
    }
    found("clock", clock(client.clock_skew_seconds()));
    findings
}

fn host(url: &str) -> String {
    HostPort::of(url).map_or_else(|| url.to_owned(), |found| found.host)
}

async fn resolve(url: &str, within: Duration) -> Result<String, String> {
    let HostPort { host, port } = HostPort::of(url).ok_or("no host in the address")?;
    let looking = tokio::net::lookup_host((host.as_str(), port));
    let Ok(looked_up) = tokio::time::timeout(within, looking).await else {
        let within = humantime::format_duration(within);
        return Err(format!("{host}: DNS lookup timed out after {within}; check this host's DNS"));
    };
    match looked_up.map(|mut addresses| addresses.next()) {
        Ok(Some(address)) => Ok(format!("{host} is {}", address.ip())),
        Ok(None) => Err(format!("{host} has no address; check this host's DNS")),
        Err(error) => {
            Err(format!("{host} cannot be resolved ({error}); check this host's DNS, or set upstream.proxy"))
        }
    }
}

fn permission(lane: Lane, verdict: &Verdict) -> Result<String, String> {
    match verdict {
        Verdict::Invalid { code, .. } if code == ZERO_EVENTS => {
            Ok("permitted (inferred from an empty request)".to_owned())
        }
        Verdict::Forbidden { reason } => Err(format!(
            "not permitted, {reason}; give it to a role of the OAuth client, or do not use this lane"
        )),
        Verdict::Unauthorized { reason } => Err(format!("the API does not accept the token: {reason}")),
        Verdict::Misconfigured { reason } => {
            Err(format!("{} answers {reason}; check upstream.region and any proxy in between", lane.path()))
        }
        Verdict::Unavailable { reason, .. } => Err(format!("no answer: {reason}")),
        Verdict::Taken { .. } | Verdict::NotTheApi => {
            Err("the answer is not from the API; something in between sent it".to_owned())
        }
        Verdict::Invalid { code, .. } => Err(format!("an empty request is answered with {code:?}")),
        Verdict::Conflict { .. } | Verdict::TooLarge { .. } => Err("an unexpected answer".to_owned()),
    }
}

fn clock(skew: Option<i64>) -> Result<String, String> {
    match skew {
        None => Ok("not known: the answers had no date".to_owned()),
        Some(seconds) if seconds.unsigned_abs() > SKEW_MAX_SECONDS => Err(format!(
            "this host's clock is {} by {} s; this breaks reports; synchronise it with NTP",
            if seconds > 0 { "fast" } else { "slow" },
            seconds.abs()
        )),
        Some(seconds) => Ok(format!("within {} s of the API's", seconds.abs() + 1)),
    }
}
