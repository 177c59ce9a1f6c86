//! How many bytes all doors together may hold.
//!
//! Who waits is served in the order of coming, and a connection waits with one line at a time, so no connection
//! gets a second line in while another waits for its first.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes held against a limit until this is dropped.
#[derive(Debug)]
pub struct PendingBytes(#[expect(dead_code, reason = "held for its drop")] OwnedSemaphorePermit);

/// Bytes that may be held at a time.
#[derive(Debug)]
pub(super) struct Budget(Mutex<BudgetLimit>);

#[derive(Clone, Debug)]
struct BudgetLimit {
    bytes: u32,
    free: Arc<Semaphore>,
}

impl BudgetLimit {
    fn new(bytes: u32) -> Self {
        Self { bytes, free: Arc::new(Semaphore::new(bytes as usize)) }
    }
}

impl Budget {
    pub(super) fn new(limit: usize) -> Self {
        Self(Mutex::new(BudgetLimit::new(clamp(limit))))
    }

    /// Another limit from now on. What is held counts against the one it was taken from; who waits asks again.
    pub(super) fn resize(&self, limit: usize) {
        let limit = clamp(limit);
        let mut now = self.0.lock();
        if now.bytes != limit {
            now.free.close();
            *now = BudgetLimit::new(limit);
        }
    }

    /// What is left of it.
    pub(super) fn free(&self) -> usize {
        self.now().free.available_permits()
    }

    fn now(&self) -> BudgetLimit {
        self.0.lock().clone()
    }

    /// More than the limit counts as the limit: it then comes in alone.
    pub(super) async fn take(&self, bytes: usize) -> PendingBytes {
        loop {
            let now = self.now();
            let bytes = u32::try_from(bytes).unwrap_or(u32::MAX).min(now.bytes);
            // Closed by a change of the limit, and then there is another one.
            if let Ok(permit) = now.free.acquire_many_owned(bytes).await {
                return PendingBytes(permit);
            }
        }
    }
}

fn clamp(limit: usize) -> u32 {
    u32::try_from(limit).unwrap_or(u32::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_larger_than_the_limit_comes_in_alone() {
        let budget = Budget::new(100);

        let held = budget.take(1_000).await;

        assert_eq!(budget.free(), 0);
        drop(held);
        assert_eq!(budget.free(), 100);
    }
}
