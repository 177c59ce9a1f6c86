//! What goes wrong, and when: rates drawn from a seeded generator. Pure.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};
use serde::{Deserialize, Serialize};

/// Longest wait before an answer. Longer than any client waits; `1M` is a month.
const MAX_LATENCY_MS: u64 = 3_600_000;

/// Faults in force. Rates are parts of 1.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Faults {
    /// Status of failing requests, 300 to 599; 503 if only a rate is given.
    pub status: Option<u16>,
    /// Part of requests that fail; all of them if only a status is given.
    pub fail_rate: Option<f64>,
    /// `Retry-After` of 429 and 503, seconds.
    pub retry_after_seconds: Option<u64>,
    /// Wait before each answer, milliseconds or text with a unit.
    #[serde(deserialize_with = "latency")]
    pub latency_ms: u64,
    /// Part of events listed as not retryable.
    pub reject_event_rate: f64,
    /// Part of events listed as retryable.
    pub retry_event_rate: f64,
    /// Part of requests whose connection ends before anything was done.
    pub reset_rate: f64,
    /// Part of requests that are done and whose answer is lost.
    pub lost_answer_rate: f64,
    /// Part of requests answered with a page, status 200.
    pub html_rate: f64,
    /// Every request is a 401.
    pub unauthorized: bool,
    /// Permission that is missing: its path answers 403.
    pub deny: Option<String>,
    /// Organisation that tokens belong to; the nil UUID by default.
    pub organisation: Option<String>,
    /// Every login is refused.
    pub refuse_login: bool,
    /// How far the `Date` of answers is from the time here, seconds.
    pub date_offset_seconds: i64,
}

fn latency<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Wait {
        Ms(u64),
        Text(String),
    }
    match Wait::deserialize(deserializer)? {
        Wait::Ms(ms) => Ok(ms),
        Wait::Text(text) => {
            let wait = humantime::parse_duration(&text).map_err(serde::de::Error::custom)?;
            u64::try_from(wait.as_millis()).map_err(serde::de::Error::custom)
        }
    }
}

/// A change of the faults while the sandbox runs: what is not named stays; `null` is the default.
#[derive(Clone, Debug)]
pub struct FaultsPatch(pub serde_json::Map<String, serde_json::Value>);

/// An unknown fault, or a value that it cannot have.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct FaultsError(String);

impl Faults {
    /// These faults with `patch` applied.
    ///
    /// # Errors
    /// If a name or value is not one of a fault.
    pub fn patched(&self, patch: FaultsPatch) -> Result<Self, FaultsError> {
        let invalid = |error: serde_json::Error| FaultsError(error.to_string());
        let mut value = serde_json::to_value(self).map_err(invalid)?;
        let defaults = serde_json::to_value(Faults::default()).map_err(invalid)?;
        for (name, mut new) in patch.0 {
            let name = if name == "latency" { "latency_ms".to_owned() } else { name };
            if new.is_null() {
                new = defaults.get(&name).cloned().unwrap_or_default();
            }
            value[name] = new;
        }
        let faults: Faults = serde_json::from_value(value).map_err(invalid)?;
        let rates = [
            faults.fail_rate.unwrap_or_default(),
            faults.reject_event_rate,
            faults.retry_event_rate,
            faults.reset_rate,
            faults.lost_answer_rate,
            faults.html_rate,
        ];
        if rates.into_iter().any(|rate| !(0.0..=1.0).contains(&rate)) {
            return Err(FaultsError("a rate is a number from 0 to 1".to_owned()));
        }
        if faults.latency_ms > MAX_LATENCY_MS {
            return Err(FaultsError("latency is at most 1h".to_owned()));
        }
        if faults.status.is_some_and(|status| !(300..600).contains(&status)) {
            return Err(FaultsError("status is a number from 300 to 599".to_owned()));
        }
        Ok(faults)
    }

    /// How long an answer takes.
    pub(super) fn wait(&self) -> Duration {
        Duration::from_millis(self.latency_ms)
    }
}

/// What happens to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RequestFate {
    Served,
    Status(u16),
    Reset,
    LostAnswer,
    Html,
}

/// What happens to an event of a served request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EventFate {
    Taken,
    Rejected,
    Retryable,
}

/// The generator.
#[derive(Debug)]
pub(super) struct Dice(StdRng);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(StdRng::seed_from_u64(seed))
    }

    fn hits(&mut self, rate: f64) -> bool {
        rate > 0.0 && self.0.random::<f64>() < rate
    }

    pub(super) fn request(&mut self, faults: &Faults) -> RequestFate {
        if self.hits(faults.reset_rate) {
            return RequestFate::Reset;
        }
        let fail_rate = faults.fail_rate.unwrap_or(if faults.status.is_some() { 1.0 } else { 0.0 });
        if self.hits(fail_rate) {
            return RequestFate::Status(faults.status.unwrap_or(503));
        }
        if self.hits(faults.html_rate) {
            return RequestFate::Html;
        }
        if self.hits(faults.lost_answer_rate) {
            return RequestFate::LostAnswer;
        }
        RequestFate::Served
    }

    pub(super) fn event(&mut self, faults: &Faults) -> EventFate {
        if self.hits(faults.reject_event_rate) {
            EventFate::Rejected
        } else if self.hits(faults.retry_event_rate) {
            EventFate::Retryable
        } else {
            EventFate::Taken
        }
    }

    pub(super) fn number(&mut self) -> u64 {
        self.0.next_u64()
    }
}
