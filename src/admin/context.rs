//! What the daemon hands over, by what it serves.

use std::sync::Arc;

use super::change::Controls;
use super::letters::LetterStore;
use super::overview::Overview;
use super::trace_of::Tracer;

/// One handle for each group of paths. Cheap to clone.
#[derive(Clone, Debug)]
pub struct AdminContext {
    /// Health, status and metrics.
    pub overview: Arc<Overview>,
    /// What became of an event.
    pub tracer: Arc<Tracer>,
    /// The dead letters.
    pub letters: LetterStore,
    /// What an operator may change.
    pub controls: Arc<Controls>,
}
