//! Gathers a trace: from the ledger what is settled, from the lanes what is queued, from the relay where.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use uuid::Uuid;

use super::state::DestinationWatch;
use super::trace::{Trace, TracePart, TraceState};
use crate::event::{Envelope, EventIds, Lane};
use crate::panic::Panicked;
use crate::queue::{Backlog, Fate, LedgerEntry, LedgerFindings, LedgerReader, QueueError, Reader, Stored};
use crate::relay::{Command, LaneState, Place, Question, RelayStatus};

/// Parts of a trace at most, of each kind: an agent's day has hundreds.
const PARTS_MAX: usize = 1_000;
/// One read of a lane while it is searched.
const READ: (usize, usize) = (2_000, 1024 * 1024);
/// How long the relay may take to say where an event is.
const PLACE_WITHIN: Duration = Duration::from_secs(2);

/// Where an event may be: in a lane, at the relay, in the ledger.
#[derive(Debug)]
pub struct Tracer {
    /// What is queued.
    pub backlog: Reader,
    /// What is settled.
    pub ledger: LedgerReader,
    /// Knows where a queued event stands.
    pub relay: mpsc::Sender<Command>,
    /// The lanes' state.
    pub lanes: watch::Receiver<RelayStatus>,
    /// The account that events are sent to.
    pub identity: DestinationWatch,
}

/// A queued event that carries the id.
#[derive(Debug)]
struct FoundEvent {
    stored: Stored,
    ids: EventIds,
}

/// Where a queued event is.
struct Waiting {
    words: String,
    /// Time until it may leave.
    earliest: Option<Duration>,
    /// Requests it stood in.
    attempts: u32,
}

impl Tracer {
    /// Everything that is known of `id`. What cannot be read now is passed over and named.
    ///
    /// # Errors
    /// If the queue is closed.
    pub(super) async fn trace(&self, id: &str) -> Result<Trace, QueueError> {
        // The queue first: what settles meanwhile is in the ledger then, and counts as that.
        let (mut waits, mut is_cut, mut unread) = (Vec::new(), false, Vec::new());
        for lane in Lane::ALL {
            let mut queued = Vec::new();
            match self.add_queued(lane, id, &mut queued).await {
                Err(QueueError::Closed) => return Err(QueueError::Closed),
                Err(error) => unread.push(format!("{lane}: {error}")),
                Ok(()) => {}
            }
            is_cut |= queued.len() >= PARTS_MAX;
            waits.extend(queued);
        }
        let (ledger, wanted) = (self.ledger.clone(), id.to_owned());
        let found = tokio::task::spawn_blocking(move || ledger.find(&wanted, PARTS_MAX)).await;
        let LedgerFindings { entries, unread: of_ledger } =
            found.map_err(|_| QueueError::Storage(Panicked.to_string()))?;
        unread.extend(of_ledger.into_iter().map(|fault| format!("ledger: {fault}")));
        is_cut |= entries.len() >= PARTS_MAX;
        let ended = |stored: &Stored| {
            let is_end =
                |entry: &&LedgerEntry| matches!(entry.fate, Fate::Delivered | Fate::Dead(_) | Fate::Lost);
            let mut ends = entries.iter().filter(is_end);
            ends.any(|entry| (entry.lane, entry.seq) == (stored.event.lane, stored.seq))
        };
        waits.retain(|FoundEvent { stored, .. }| !ended(stored));
        let mut parts: Vec<TracePart> = entries.iter().map(settled).collect();
        let mut relay_answers = true;
        for FoundEvent { stored, ids } in waits {
            let place = if relay_answers { self.place_of(&stored).await } else { None };
            // One that does not answer now, as while it stops, is not asked again.
            relay_answers = place.is_some();
            parts.push(self.waiting(&stored, ids, place));
        }
        parts.sort_by_key(|part| part.accepted_at_ms);
        let destination = self.identity.destination.borrow().clone();
        Ok(Trace {
            id: id.to_owned(),
            region: destination.owner.region,
            organisation: destination.owner.organisation,
            organisation_name: destination.organisation_name,
            api_host: self.identity.upstream.host(),
            parts,
            is_cut,
            unread,
        })
    }

    /// Adds unsettled events of a lane that carry the id. Reads the whole lane, page by page, between the
    /// relay's own reads.
    ///
    /// # Errors
    /// If a page cannot be read; what came before it is in `found`.
    async fn add_queued(&self, lane: Lane, id: &str, found: &mut Vec<FoundEvent>) -> Result<(), QueueError> {
        let event_id = Uuid::try_parse(id).ok();
        let mut from = 0;
        loop {
            let page = self.backlog.read(lane, from, READ.0, READ.1).await?;
            let (wanted, events) = (id.to_owned(), page.events);
            let matching = tokio::task::spawn_blocking(move || {
                let with_ids = events.into_iter().map(|stored| {
                    let ids = EventIds::of_body(&stored.event.body);
                    FoundEvent { stored, ids }
                });
                let is_meant = |FoundEvent { stored, ids }: &FoundEvent| {
                    event_id == Some(stored.event.event_id) || ids.contains(&wanted)
                };
                with_ids.filter(is_meant).collect::<Vec<_>>()
            });
            found.extend(matching.await.map_err(|_| QueueError::Storage(Panicked.to_string()))?);
            if page.at_end || found.len() >= PARTS_MAX {
                found.truncate(PARTS_MAX);
                return Ok(());
            }
            from = page.next;
        }
    }

    async fn place_of(&self, stored: &Stored) -> Option<Place> {
        let (answer, place) = oneshot::channel();
        let (lane, seq, key) = (stored.event.lane, stored.seq, stored.event.key);
        let asked = async {
            self.relay.send(Command::Locate(Question { lane, seq, key, answer })).await.ok()?;
            place.await.ok()
        };
        tokio::time::timeout(PLACE_WITHIN, asked).await.ok().flatten()
    }

    fn waiting(&self, stored: &Stored, ids: EventIds, place: Option<Place>) -> TracePart {
        let (lane, seq) = (stored.event.lane, stored.seq);
        let status = self.lanes.borrow().lanes[lane.index()].clone();
        let lane_waits = status.next_attempt;
        let Waiting { mut words, mut earliest, attempts } = in_words(place);
        if status.state != LaneState::Running {
            let reason = status.reason.as_deref().unwrap_or("no reason known");
            words = format!("{words}; the lane is {}: {reason}", status.state.name());
            earliest = earliest.max(lane_waits);
            if status.state == LaneState::Paused {
                earliest = None;
            }
        }
        let state = TraceState::Queued {
            place: words,
            earliest_seconds: earliest.map(|wait| wait.as_secs_f64().ceil() as u64),
        };
        part(&stored.event, seq, ids, attempts, state)
    }
}

fn in_words(place: Option<Place>) -> Waiting {
    let (words, earliest, attempts) = match place {
        None => ("on disk; the relay did not say where", None, 0),
        Some(Place::UnderWay) => ("in a request in flight", Some(Duration::ZERO), 1),
        Some(Place::Next) => ("next to be sent", Some(Duration::ZERO), 0),
        Some(Place::Again { after, attempts }) => {
            ("waiting to be sent again, as the API asked", Some(after), attempts)
        }
        Some(Place::Suspect { attempts }) => (
            "in a batch with a rejected event: it is sent in a smaller batch",
            Some(Duration::ZERO),
            attempts,
        ),
        Some(Place::BehindItsKey) => ("behind an earlier event of its conversation or agent", None, 0),
        Some(Place::BehindOthers) => ("behind events that were accepted earlier", None, 0),
    };
    Waiting { words: words.to_owned(), earliest, attempts }
}

fn settled(entry: &LedgerEntry) -> TracePart {
    let (fate, reason) = match entry.fate {
        Fate::Delivered => ("delivered", None),
        Fate::Dead(reason) => ("dead", Some(reason.code().to_owned())),
        Fate::Discarded => ("discarded", None),
        Fate::Replayed => ("replayed", None),
        Fate::Superseded => ("superseded", None),
        Fate::AgedOut => ("expired", None),
        Fate::Lost => ("lost", None),
    };
    let text = |id: &Option<std::sync::Arc<str>>| id.as_deref().map(str::to_owned);
    TracePart {
        event_id: entry.event_id.to_string(),
        array: entry.array.name().to_owned(),
        lane: entry.lane.name().to_owned(),
        seq: entry.seq,
        accepted_at_ms: entry.accepted_at_ms,
        // Of what was lost only the id is known.
        door: if entry.fate == Fate::Lost { "unknown" } else { entry.door.name() }.to_owned(),
        uid: known(entry.uid),
        conversation: text(&entry.ids.conversation),
        communication: text(&entry.ids.communication),
        interaction: text(&entry.ids.interaction),
        user: text(&entry.ids.user),
        agent: text(&entry.ids.agent),
        attempts: entry.attempts,
        state: TraceState::Settled {
            fate: fate.to_owned(),
            reason,
            at_ms: entry.settled_at_ms,
            status: entry.status,
            correlation_id: text(&entry.correlation_id),
        },
    }
}

fn part(event: &Envelope, seq: u64, ids: EventIds, attempts: u32, state: TraceState) -> TracePart {
    let text = |id: &Option<std::sync::Arc<str>>| id.as_deref().map(str::to_owned);
    TracePart {
        event_id: event.event_id.to_string(),
        array: event.array.name().to_owned(),
        lane: event.lane.name().to_owned(),
        seq,
        accepted_at_ms: event.accepted_at_ms,
        door: event.door.name().to_owned(),
        uid: known(event.uid),
        conversation: text(&ids.conversation),
        communication: text(&ids.communication),
        interaction: text(&ids.interaction),
        user: text(&ids.user),
        agent: text(&ids.agent),
        attempts,
        state,
    }
}

/// A producer over TCP has none.
pub(super) fn known(uid: u32) -> Option<u32> {
    (uid != u32::MAX).then_some(uid)
}
