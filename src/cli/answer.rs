//! What the stream door answers to a line, as the commands that send lines read it.

use serde::Deserialize;

/// One answer: events that were refused, or why nothing of the line was taken.
#[derive(Debug, Deserialize)]
pub(super) struct LineAnswer {
    pub(super) errors: Option<Vec<LineError>>,
    pub(super) message: Option<String>,
    pub(super) status: Option<u16>,
}

/// One refused event.
#[derive(Debug, Deserialize)]
pub(super) struct LineError {
    message: Option<String>,
    #[serde(default)]
    pub(super) retryable: bool,
}

impl LineError {
    /// The daemon's words.
    pub(super) fn message(&self) -> &str {
        self.message.as_deref().unwrap_or(NO_REASON)
    }
}

/// What is printed where the daemon gave no reason.
pub(super) const NO_REASON: &str = "refused without giving a reason";
