//! Puts events into a request body: what may stand together, and the bytes.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use uuid::Uuid;

use crate::event::{Array, Envelope, Key};

/// Bounds of one request; the server's word lowers them for a lane.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BatchLimits {
    /// Events at most.
    pub(crate) max_events: usize,
    /// Bytes of the body at most; one event alone may exceed it.
    pub(crate) max_bytes: usize,
    /// Never two events of a key.
    pub(crate) one_per_key: bool,
}

/// What became of an event offered to a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Offer {
    /// It is in the batch.
    Added,
    /// It may not stand with an earlier one; nor may later ones of its key.
    Waits,
    /// No room for it.
    Full,
}

/// A batch being filled, in rising order of sequence.
#[derive(Debug)]
pub(crate) struct Filling {
    limits: BatchLimits,
    events: usize,
    bytes: usize,
    arrays: HashSet<Array>,
    last_of_key: HashMap<Key, (Array, i64)>,
    shut: HashSet<Key>,
    ids: HashSet<Uuid>,
}

impl Filling {
    /// An empty batch.
    pub(crate) fn new(limits: BatchLimits) -> Self {
        Self {
            limits,
            events: 0,
            bytes: 2,
            arrays: HashSet::new(),
            last_of_key: HashMap::new(),
            shut: HashSet::new(),
            ids: HashSet::new(),
        }
    }

    /// Adds `event` if it may stand with those that are in.
    pub(crate) fn offer(&mut self, event: &Envelope) -> Offer {
        if self.shut.contains(&event.key) {
            return Offer::Waits;
        }
        // An answer names events by id alone: two of one id in a request could not be distinguished.
        if !self.may_follow(event) || self.ids.contains(&event.event_id) {
            self.shut.insert(event.key);
            return Offer::Waits;
        }
        let new_array = !self.arrays.contains(&event.array);
        let frame = if new_array { event.array.name().len() + r#""":[],"#.len() } else { 0 };
        let bytes = self.bytes + frame + event.body.len() + 1;
        if self.is_full() || (self.events > 0 && bytes > self.limits.max_bytes) {
            return Offer::Full;
        }
        if new_array {
            self.arrays.insert(event.array.clone());
        }
        self.events += 1;
        self.bytes = bytes;
        self.ids.insert(event.event_id);
        self.last_of_key.insert(event.key, (event.array.clone(), event.event_time_ms));
        Offer::Added
    }

    /// No further event fits by count.
    pub(crate) fn is_full(&self) -> bool {
        self.events >= self.limits.max_events
    }

    /// The API orders a request's events by time within an array and may take arrays in any order
    /// at the same millisecond. It is enough to look at the last of the key: it has the greatest time.
    fn may_follow(&self, event: &Envelope) -> bool {
        match self.last_of_key.get(&event.key) {
            None => true,
            Some(_) if self.limits.one_per_key => false,
            Some((array, time_ms)) if *array == event.array => event.event_time_ms >= *time_ms,
            Some((_, time_ms)) => event.event_time_ms > *time_ms,
        }
    }
}

/// The request body: arrays in the order of their first event, events as given, bytes as stored.
pub(crate) fn body<'a>(events: impl Iterator<Item = &'a Envelope> + Clone) -> Bytes {
    let mut arrays: Vec<&Array> = Vec::new();
    let mut bytes = 2;
    for event in events.clone() {
        bytes += event.body.len() + 1;
        if !arrays.contains(&&event.array) {
            bytes += event.array.name().len() + 6;
            arrays.push(&event.array);
        }
    }
    let mut body = Vec::with_capacity(bytes);
    body.push(b'{');
    for (position, array) in arrays.iter().enumerate() {
        if position > 0 {
            body.push(b',');
        }
        body.push(b'"');
        body.extend_from_slice(array.name().as_bytes());
        body.extend_from_slice(b"\":[");
        let of_array = events.clone().filter(|event| event.array == **array);
        for (index, event) in of_array.enumerate() {
            if index > 0 {
                body.push(b',');
            }
            body.extend_from_slice(&event.body);
        }
        body.push(b']');
    }
    body.push(b'}');
    Bytes::from(body)
}
