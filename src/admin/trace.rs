//! What became of a call: the shape of what `/trace` says.

use serde::{Deserialize, Serialize};

/// Everything that is known of an id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trace {
    /// What was asked for.
    pub id: String,
    /// Region's name, or the API's base URL where that was set.
    pub region: String,
    /// Organisation's id, once known.
    pub organisation: Option<String>,
    /// Its name.
    pub organisation_name: Option<String>,
    /// API's host.
    pub api_host: String,
    /// By time of acceptance.
    pub parts: Vec<TracePart>,
    /// There are more than are listed here.
    pub is_cut: bool,
    /// Lanes, and parts of the ledger, that could not be read, each with its fault: more may be there.
    #[serde(default)]
    pub unread: Vec<String>,
}

/// One event, or one turn of its way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TracePart {
    /// `eventId`
    pub event_id: String,
    /// Array of the request body.
    pub array: String,
    /// Lane.
    pub lane: String,
    /// Position in its lane; of an end of a dead letter, its number there.
    pub seq: u64,
    /// When it was accepted, milliseconds since 1970.
    pub accepted_at_ms: i64,
    /// Way it came in.
    pub door: String,
    /// The producer's uid, where known.
    pub uid: Option<u32>,
    /// `conversationId`
    pub conversation: Option<String>,
    /// `communicationId`
    pub communication: Option<String>,
    /// `interactionId`
    pub interaction: Option<String>,
    /// `userId`
    pub user: Option<String>,
    /// `agentId`
    pub agent: Option<String>,
    /// Requests it stood in, as far as known.
    pub attempts: u32,
    /// What became of it.
    pub state: TraceState,
}

/// What became of an event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "is")]
pub enum TraceState {
    /// On disk, not settled.
    Queued {
        /// Where, and why it waits, in plain words.
        place: String,
        /// Time until it may leave at the earliest, if that is known.
        earliest_seconds: Option<u64>,
    },
    /// The ledger has its end.
    Settled {
        /// `delivered`, `dead`, `discarded`, `replayed`, `superseded`, `expired`.
        fate: String,
        /// Code of a dead letter's reason.
        reason: Option<String>,
        /// When, milliseconds since 1970.
        at_ms: i64,
        /// HTTP status of the last answer.
        status: Option<u16>,
        /// `ININ-Correlation-Id` of the last answer.
        correlation_id: Option<String>,
    },
}
