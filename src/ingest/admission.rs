//! How much all doors together may hold, and how many may be connected.
//!
//! Waiters are served in the order they came, and a connection waits with one line at a time, so no
//! connection gets a second line in while another waits for its first.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Limits shared by all doors.
#[derive(Debug)]
pub struct Admission {
    pending: Budget,
    long_lines: Budget,
    max_connections: AtomicUsize,
    open: Mutex<Open>,
}

/// Bytes held against a limit until this is dropped.
#[derive(Debug)]
pub struct PendingBytes(#[expect(dead_code, reason = "held for its drop")] OwnedSemaphorePermit);

/// A place among the connections until this is dropped.
#[derive(Debug)]
pub struct ConnectionSlot {
    admission: Arc<Admission>,
    uid: Option<u32>,
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
}

#[derive(Debug, Default)]
struct Open {
    total: usize,
    by_uid: HashMap<u32, usize>,
}

#[derive(Debug)]
struct Budget {
    /// With its limit.
    bytes: Mutex<(Arc<Semaphore>, u32)>,
}

impl Budget {
    fn new(limit: usize) -> Self {
        let limit = clamp(limit);
        Self { bytes: Mutex::new((Arc::new(Semaphore::new(limit as usize)), limit)) }
    }

    /// Another limit from now on. What is held counts against the one it was taken from; who waits asks anew.
    fn resize(&self, limit: usize) {
        let limit = clamp(limit);
        let mut bytes = self.bytes.lock();
        if bytes.1 != limit {
            bytes.0.close();
            *bytes = (Arc::new(Semaphore::new(limit as usize)), limit);
        }
    }

    fn now(&self) -> (Arc<Semaphore>, u32) {
        self.bytes.lock().clone()
    }

    /// More than the limit counts as the limit: it then comes in alone.
    async fn take(&self, bytes: usize) -> PendingBytes {
        loop {
            let (semaphore, limit) = self.now();
            let bytes = u32::try_from(bytes).unwrap_or(u32::MAX).min(limit);
            // Closed by a change of the limit, and then there is another one.
            if let Ok(permit) = semaphore.acquire_many_owned(bytes).await {
                return PendingBytes(permit);
            }
        }
    }
}

fn clamp(limit: usize) -> u32 {
    u32::try_from(limit).unwrap_or(u32::MAX).max(1)
}

impl Admission {
    /// Limits from `ingest.max_pending` (bytes) and `ingest.max_connections`.
    pub fn new(max_pending: usize, max_connections: usize) -> Arc<Self> {
        Arc::new(Self {
            pending: Budget::new(max_pending),
            long_lines: Budget::new(max_pending),
            max_connections: AtomicUsize::new(max_connections),
            open: Mutex::default(),
        })
    }

    /// Other limits from now on. Connections beyond a lower one stay.
    pub fn configure(&self, max_pending: usize, max_connections: usize) {
        self.pending.resize(max_pending);
        self.long_lines.resize(max_pending);
        self.max_connections.store(max_connections, Ordering::SeqCst);
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
        self.pending.now().0.available_permits()
    }

    /// A place for a connection; `uid` is `None` where the peer is not known (TCP).
    ///
    /// # Errors
    /// If all places are taken, or half of them by this uid.
    pub fn connect(self: &Arc<Self>, uid: Option<u32>) -> Result<ConnectionSlot, Crowded> {
        let mut open = self.open();
        let max_connections = self.max_connections.load(Ordering::SeqCst);
        if open.total >= max_connections {
            return Err(Crowded::All(max_connections));
        }
        if let Some(uid) = uid {
            let most = (max_connections / 2).max(1);
            let count = open.by_uid.entry(uid).or_default();
            if *count >= most {
                return Err(Crowded::Uid(most));
            }
            *count += 1;
        }
        open.total += 1;
        drop(open);
        Ok(ConnectionSlot { admission: self.clone(), uid })
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock()
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        let mut open = self.admission.open();
        open.total -= 1;
        let Some(uid) = self.uid else { return };
        if let Some(count) = open.by_uid.get_mut(&uid) {
            *count -= 1;
            if *count == 0 {
                open.by_uid.remove(&uid);
            }
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
        slots.push(admission.connect(None).unwrap());
        let fifth = admission.connect(Some(3)).map(drop);

        assert_eq!(third, Err(Crowded::Uid(2)));
        assert_eq!(fifth, Err(Crowded::All(4)));
        slots.remove(0);
        assert!(admission.connect(Some(1)).is_ok());
    }

    #[tokio::test]
    async fn what_is_larger_than_the_limit_comes_in_alone() {
        let admission = Admission::new(100, 1);

        let held = admission.pending(1_000).await;

        assert_eq!(admission.pending_free(), 0);
        drop(held);
        assert_eq!(admission.pending_free(), 100);
    }
}
