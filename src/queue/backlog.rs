//! What the relay needs of the queue, as a trait: its tests have another.

use super::error::QueueError;
use super::types::{LaneDepth, Page, Seq, Settlement};
use crate::event::Lane;

/// The queue as the relay sees it. Cheap to clone; tests put a plain vector behind it.
pub trait Backlog: Clone + Send + Sync + 'static {
    /// Reads at most `max_events` and about `max_bytes` (at least one event if there is one) of the
    /// lane's unsettled events from `from` on.
    fn read(
        &self,
        lane: Lane,
        from: Seq,
        max_events: usize,
        max_bytes: usize,
    ) -> impl Future<Output = Result<Page, QueueError>> + Send;

    /// Returns when all outcomes are on stable storage. On an error none may be taken for settled;
    /// the same call again is harmless.
    fn settle(&self, settlements: Vec<Settlement>) -> impl Future<Output = Result<(), QueueError>> + Send;

    /// Returns at once if an event at or after `from` is stored, else when one is.
    fn wait_for(&self, lane: Lane, from: Seq) -> impl Future<Output = ()> + Send;

    /// Depth of a lane now.
    fn depth(&self, lane: Lane) -> LaneDepth;
}
