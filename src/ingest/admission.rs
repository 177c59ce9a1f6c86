//! How much all doors together may hold, and how many may be connected.
//!
//! ```text
//! max_connections ──half──> a uid, or all of TCP ──quarter──> those without a good token ──quarter──> hurried
//! ```
//!
//! A TCP peer has no uid, so all of TCP counts as one. What shows no good token has a small share, and the last
//! part of it passes quickly from one to the next: idle connections never keep out one that has the token.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::budget::{Budget, PendingBytes};

/// How soon a hurried connection must have shown a good token.
const HURRY: Duration = Duration::from_secs(1);

/// Limits shared by all doors.
#[derive(Debug)]
pub struct Admission {
    pending: Budget,
    long_lines: Budget,
    max_connections: AtomicUsize,
    /// What the limit of open files allows, whatever is configured.
    most_connections: AtomicUsize,
    open: Mutex<OpenConnections>,
}

/// A place among the connections until this is dropped.
#[derive(Debug)]
pub struct ConnectionSlot {
    admission: Arc<Admission>,
    uid: Option<u32>,
    standing: Mutex<SlotStanding>,
    must_leave: CancellationToken,
}

/// Why a connection has its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SlotStanding {
    /// Its uid is known.
    HasUid,
    /// It has shown a good token.
    Proven,
    /// It has not, and may take its time.
    Unproven,
    /// It has not, and others want its place.
    Hurried { number: u64 },
}

/// Why there is no place for a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Crowded {
    /// `ingest.max_connections` are open.
    #[error("all {0} connections are in use (ingest.max_connections)")]
    All(usize),
    /// This uid has half of them.
    #[error("this user has {0} connections, half of ingest.max_connections")]
    Uid(usize),
    /// TCP has half of them.
    #[error("the HTTP door has {0} connections, half of ingest.max_connections")]
    Tcp(usize),
}

#[derive(Debug, Default)]
struct OpenConnections {
    total: usize,
    /// `None`: TCP.
    by_uid: HashMap<Option<u32>, usize>,
    unproven: usize,
    /// The oldest first.
    hurried: VecDeque<Hurried>,
    hurried_before: u64,
}

#[derive(Debug)]
struct Hurried {
    number: u64,
    must_leave: CancellationToken,
}

/// Most connections of each kind.
#[derive(Clone, Copy, Debug)]
struct Shares {
    all: usize,
    uid: usize,
    unproven: usize,
    hurried: usize,
}

impl Shares {
    fn of(all: usize) -> Self {
        let uid = (all / 2).max(1);
        let without_token = (uid / 4).max(1);
        let hurried = (without_token / 4).max(1);
        Self { all, uid, unproven: without_token - hurried, hurried }
    }
}

impl Admission {
    /// Limits from `ingest.max_pending` (bytes) and `ingest.max_connections`.
    pub fn new(max_pending: usize, max_connections: usize) -> Arc<Self> {
        Arc::new(Self {
            pending: Budget::new(max_pending),
            long_lines: Budget::new(max_pending),
            max_connections: AtomicUsize::new(max_connections),
            most_connections: AtomicUsize::new(usize::MAX),
            open: Mutex::default(),
        })
    }

    /// Other limits from now on. Connections beyond a lower one stay.
    pub fn configure(&self, max_pending: usize, max_connections: usize) {
        self.pending.resize(max_pending);
        self.long_lines.resize(max_pending);
        self.max_connections.store(max_connections, Ordering::SeqCst);
    }

    /// Never more than `most` connections, whatever is configured.
    pub fn cap_connections(&self, most: usize) {
        self.most_connections.store(most, Ordering::SeqCst);
    }

    /// Waits until `bytes` more may be unanswered. Hold the result until their answer is known.
    pub async fn pending(&self, bytes: usize) -> PendingBytes {
        self.pending.take(bytes).await
    }

    /// Waits until an unfinished line or body may grow to `bytes`. A budget of its own, of the same size:
    /// what is unfinished must not keep finished lines out. Ask for all that may be needed at once, and give it
    /// back within a limit: others wait for it.
    pub(super) async fn long_line(&self, bytes: usize) -> PendingBytes {
        self.long_lines.take(bytes).await
    }

    /// Bytes that may still come in now.
    pub fn pending_free(&self) -> usize {
        self.pending.free()
    }

    /// A place for a connection; `uid` is `None` where the peer is not known (TCP).
    ///
    /// # Errors
    /// If all places are taken, or those of this uid, or of TCP.
    pub fn connect(self: &Arc<Self>, uid: Option<u32>) -> Result<ConnectionSlot, Crowded> {
        let configured = self.max_connections.load(Ordering::SeqCst);
        let shares = Shares::of(configured.min(self.most_connections.load(Ordering::SeqCst)));
        let mut open = self.open.lock();
        if uid.is_none() {
            open.make_place_without_token(shares);
        }
        if open.total >= shares.all {
            return Err(Crowded::All(shares.all));
        }
        if open.by_uid.get(&uid).is_some_and(|count| *count >= shares.uid) {
            return Err(if uid.is_some() { Crowded::Uid(shares.uid) } else { Crowded::Tcp(shares.uid) });
        }
        let must_leave = CancellationToken::new();
        let standing = match uid {
            Some(_) => SlotStanding::HasUid,
            None => open.seat_without_token(shares, &must_leave),
        };
        open.total += 1;
        *open.by_uid.entry(uid).or_default() += 1;
        drop(open);
        Ok(ConnectionSlot { admission: self.clone(), uid, standing: Mutex::new(standing), must_leave })
    }
}

impl OpenConnections {
    /// Those in a hurry leave, the oldest first, if all of their places are in use, or all that TCP may have. What
    /// must leave counts no more: who comes now has its place at once.
    fn make_place_without_token(&mut self, shares: Shares) {
        let is_full = |open: &Self| {
            let is_last = open.unproven >= shares.unproven && open.hurried.len() >= shares.hurried;
            let tcp = open.by_uid.get(&None).copied().unwrap_or_default();
            is_last || tcp >= shares.uid || open.total >= shares.all
        };
        while is_full(self)
            && let Some(oldest) = self.hurried.pop_front()
        {
            oldest.must_leave.cancel();
            self.leave(None);
        }
    }

    fn seat_without_token(&mut self, shares: Shares, must_leave: &CancellationToken) -> SlotStanding {
        if self.unproven < shares.unproven {
            self.unproven += 1;
            return SlotStanding::Unproven;
        }
        self.hurried_before += 1;
        let number = self.hurried_before;
        self.hurried.push_back(Hurried { number, must_leave: must_leave.clone() });
        SlotStanding::Hurried { number }
    }

    /// Takes a connection out of the share that its standing gave it. False if it had to leave before.
    fn leave_share(&mut self, standing: SlotStanding) -> bool {
        match standing {
            SlotStanding::HasUid | SlotStanding::Proven => true,
            SlotStanding::Unproven => {
                self.unproven -= 1;
                true
            }
            SlotStanding::Hurried { number } => {
                let before = self.hurried.len();
                self.hurried.retain(|hurried| hurried.number != number);
                self.hurried.len() < before
            }
        }
    }

    fn leave(&mut self, uid: Option<u32>) {
        self.total -= 1;
        if let Some(count) = self.by_uid.get_mut(&uid) {
            *count -= 1;
            if *count == 0 {
                self.by_uid.remove(&uid);
            }
        }
    }
}

impl ConnectionSlot {
    /// The peer has shown a good token.
    pub fn prove(&self) {
        let mut standing = self.standing.lock();
        if *standing != SlotStanding::HasUid && self.admission.open.lock().leave_share(*standing) {
            *standing = SlotStanding::Proven;
        }
    }

    /// Whether it has shown a good token.
    pub fn is_proven(&self) -> bool {
        *self.standing.lock() == SlotStanding::Proven
    }

    /// Whether it must show a good token soon.
    pub fn is_hurried(&self) -> bool {
        matches!(*self.standing.lock(), SlotStanding::Hurried { .. })
    }

    /// Returns when its place is needed for others. Never for one that need not hurry.
    pub async fn must_leave(&self) {
        if self.is_hurried() {
            let _ = tokio::time::timeout(HURRY, self.must_leave.cancelled()).await;
        }
        if !self.is_hurried() {
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        let mut open = self.admission.open.lock();
        if open.leave_share(*self.standing.get_mut()) {
            open.leave(self.uid);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uid_gets_at_most_half_of_the_connections() {
        let admission = Admission::new(100, 4);
        let mut slots = vec![admission.connect(Some(1)).unwrap(), admission.connect(Some(1)).unwrap()];

        let third = admission.connect(Some(1)).map(drop);
        slots.push(admission.connect(Some(2)).unwrap());
        slots.push(admission.connect(Some(3)).unwrap());
        let fifth = admission.connect(Some(4)).map(drop);

        assert_eq!(third, Err(Crowded::Uid(2)));
        assert_eq!(fifth, Err(Crowded::All(4)));
        slots.remove(0);
        assert!(admission.connect(Some(1)).is_ok());
    }

    #[test]
    fn all_of_tcp_counts_as_one_uid_and_an_eighth_of_all_needs_no_token() {
        let admission = Admission::new(100, 256);

        let mut slots: Vec<_> = (0..200).map(|_| admission.connect(None).unwrap()).collect();
        let hurried = slots.iter().filter(|slot| slot.is_hurried()).count();
        let must_leave = slots.iter().filter(|slot| slot.must_leave.is_cancelled()).count();
        let in_use = admission.open.lock().total;
        slots.retain(|slot| !slot.must_leave.is_cancelled());
        slots.iter().for_each(ConnectionSlot::prove);
        while slots.len() < 128 {
            slots.push(admission.connect(None).unwrap());
            slots[slots.len() - 1].prove();
        }
        let more = admission.connect(None).map(drop);

        assert_eq!((hurried, must_leave, in_use), (176, 168, 32));
        assert_eq!(more, Err(Crowded::Tcp(128)));
        assert!(admission.connect(Some(1)).is_ok(), "a uid has its own");
        drop(slots);
        assert_eq!(admission.open.lock().total, 0);
    }

    #[test]
    fn whoever_comes_by_tcp_gets_a_place_however_few_there_are_and_however_many_idle() {
        for all in [1, 2, 3, 4, 8, 16, 24, 31, 32] {
            let admission = Admission::new(100, all);

            let mut idle = Vec::new();
            for nth in 0..100 {
                let slot = admission.connect(None);
                assert!(slot.is_ok(), "{all}, the {nth}th: {slot:?}");
                idle.push(slot);
            }

            assert!(admission.open.lock().total <= (all / 2).max(1), "{all}");
            drop(idle);
            assert_eq!(admission.open.lock().total, 0, "{all}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_hurried_connection_leaves_after_its_time_or_when_another_comes_unless_it_shows_the_token() {
        let admission = Admission::new(100, 32);
        let unproven: Vec<_> = (0..3).map(|_| admission.connect(None).unwrap()).collect();
        let (first, began) = (admission.connect(None).unwrap(), tokio::time::Instant::now());
        assert!(first.is_hurried() && !unproven[2].is_hurried());

        let second = admission.connect(None).unwrap();
        first.must_leave().await;
        let first_left = began.elapsed();
        second.must_leave().await;
        let second_left = began.elapsed();
        second.prove();
        let proven = tokio::time::timeout(Duration::from_secs(60), second.must_leave()).await;

        assert_eq!((first_left, second_left), (Duration::ZERO, HURRY));
        assert!(proven.is_err());
    }

    #[test]
    fn the_limit_of_open_files_is_above_what_is_configured() {
        let admission = Admission::new(100, 1_000);
        admission.cap_connections(4);

        let slots: Vec<_> = (0..2).map(|_| admission.connect(Some(1)).unwrap()).collect();

        assert_eq!(admission.connect(Some(1)).map(drop), Err(Crowded::Uid(2)));
        drop(slots);
    }
}
