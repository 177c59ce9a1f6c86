//! What was accepted, and what follows from it: repeats, order, keys in two requests at once.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use serde::Serialize;
use serde_json::{Value, json};

use super::state::MINUTE;
use crate::clock::Mono;
use crate::event::Lane;

/// Events that are kept for `GET /sandbox/events`; older ones are forgotten.
pub const MAX_KEPT: usize = 1_000_000;

/// What `GET /sandbox/stats` answers.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Stats {
    /// Requests to the four paths.
    pub requests: u64,
    /// Them by status; `none` where the connection was ended.
    pub requests_by_status: BTreeMap<String, u64>,
    /// Events taken, repeats included.
    pub events: u64,
    /// Different `eventId`s taken.
    pub distinct: u64,
    /// Events taken again.
    pub duplicates: u64,
    /// Different `eventId`s listed as not retryable.
    pub rejected: u64,
    /// Events taken by lane.
    pub by_lane: BTreeMap<&'static str, u64>,
    /// Events taken by array.
    pub by_array: BTreeMap<String, u64>,
    /// Most events in a request.
    pub max_request_events: u64,
    /// Most bytes in a request.
    pub max_request_bytes: u64,
    /// Most requests under way at once.
    pub max_concurrent: u64,
    /// Requests that shared a key with one under way.
    pub same_key_in_flight: u64,
    /// Events taken for the first time after a later one of their key.
    pub order_violations: u64,
    /// Events no longer kept.
    pub forgotten: u64,
    /// Logins.
    pub logins: u64,
    /// Most requests in any 60 s, logins and questions about the token included.
    pub max_requests_in_60s: u64,
}

/// An event of a request, as the sandbox sees it.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) array: String,
    pub(super) id: String,
    pub(super) key: String,
    pub(super) time: String,
    pub(super) event: Value,
}

/// What a request holds, before anything is judged.
#[derive(Debug, Default)]
pub(super) struct Outline {
    pub(super) events: usize,
    pub(super) keys: HashSet<String>,
    /// Events that stand in their array after a later one of their key.
    pub(super) order_violations: u64,
}

#[derive(Debug, Default)]
pub(super) struct RequestRecord {
    pub(super) stats: Stats,
    lines: VecDeque<String>,
    ids: HashSet<(String, String)>,
    rejected: HashSet<String>,
    latest: HashMap<(Lane, String), String>,
    under_way: HashMap<(Lane, String), u32>,
    concurrent: u64,
    /// When the requests of the last 60 s came.
    recent: VecDeque<Mono>,
}

impl RequestRecord {
    /// A request of any kind came.
    pub(super) fn came(&mut self, now: Mono) {
        while self.recent.front().is_some_and(|oldest| now.since(*oldest) >= MINUTE) {
            self.recent.pop_front();
        }
        self.recent.push_back(now);
        self.stats.max_requests_in_60s = self.stats.max_requests_in_60s.max(self.recent.len() as u64);
    }

    /// A request begins.
    pub(super) fn begin(&mut self, lane: Lane, outline: &Outline, bytes: usize) {
        self.concurrent += 1;
        let stats = &mut self.stats;
        stats.requests += 1;
        stats.max_concurrent = stats.max_concurrent.max(self.concurrent);
        stats.max_request_events = stats.max_request_events.max(outline.events as u64);
        stats.order_violations += outline.order_violations;
        stats.max_request_bytes = stats.max_request_bytes.max(bytes as u64);
        let mut shared = false;
        for key in &outline.keys {
            let under_way = self.under_way.entry((lane, key.clone())).or_default();
            shared |= *under_way > 0;
            *under_way += 1;
        }
        stats.same_key_in_flight += u64::from(shared);
    }

    /// It ends, before its answer leaves: the sender may send the next at once.
    pub(super) fn end(&mut self, lane: Lane, keys: &HashSet<String>, status: Option<u16>) {
        self.concurrent -= 1;
        for key in keys {
            let at = (lane, key.clone());
            if let Some(under_way) = self.under_way.get_mut(&at) {
                *under_way -= 1;
                if *under_way == 0 {
                    self.under_way.remove(&at);
                }
            }
        }
        let status = status.map_or_else(|| "none".to_owned(), |status| status.to_string());
        *self.stats.requests_by_status.entry(status).or_default() += 1;
    }

    /// Whether it was taken before.
    pub(super) fn has(&self, seen: &Seen) -> bool {
        self.ids.contains(&(seen.array.clone(), seen.id.clone()))
    }

    pub(super) fn reject(&mut self, id: &str) {
        if self.rejected.insert(id.to_owned()) {
            self.stats.rejected += 1;
        }
    }

    /// An event is taken in `request`.
    pub(super) fn take(&mut self, lane: Lane, request: u64, seen: &Seen) {
        self.stats.events += 1;
        *self.stats.by_lane.entry(lane.name()).or_default() += 1;
        *self.stats.by_array.entry(seen.array.clone()).or_default() += 1;
        if self.ids.insert((seen.array.clone(), seen.id.clone())) {
            self.stats.distinct += 1;
            let latest = self.latest.entry((lane, seen.key.clone())).or_default();
            if seen.time < *latest {
                self.stats.order_violations += 1;
            } else {
                latest.clone_from(&seen.time);
            }
        } else {
            self.stats.duplicates += 1;
        }
        let line = json!({"request": request, "lane": lane.name(), "array": seen.array, "eventId": seen.id,
            "key": seen.key, "event": seen.event});
        self.lines.push_back(line.to_string());
        if self.lines.len() > MAX_KEPT {
            self.lines.pop_front();
            self.stats.forgotten += 1;
        }
    }

    /// The ids that were ever listed as not retryable, one a line.
    pub(super) fn rejected(&self) -> String {
        self.rejected.iter().map(|id| format!("{id}\n")).collect()
    }

    /// What is kept, a line an event.
    pub(super) fn ndjson(&self) -> String {
        let mut out = String::with_capacity(self.lines.iter().map(|line| line.len() + 1).sum());
        for line in &self.lines {
            out.push_str(line);
            out.push('\n');
        }
        out
    }
}

/// Times in the API's spelling compare as text only with the same number of digits: pad to milliseconds.
pub(super) fn comparable(time: &str) -> String {
    match time.strip_suffix('Z') {
        Some(body) if !body.contains('.') => format!("{body}.000Z"),
        _ => time.to_owned(),
    }
}
