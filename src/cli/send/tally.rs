//! What `send` knows so far, over all its connections.

use std::collections::VecDeque;
use std::fmt;
use std::path::Path;

use indicatif::ProgressBar;

use super::input::{InputError, Line};
use crate::cli::access::TurnedAway;
use crate::cli::answer::{LineAnswer, NO_REASON};
use crate::clock::Mono;

/// Most lines ahead of their answers; the daemon's default `max_unacked` is twice that.
pub(super) const WINDOW: usize = 512;

/// A refused event or line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefusedLine<'a> {
    /// File and line number.
    pub place: &'a str,
    /// The daemon's words.
    pub message: &'a str,
}

impl fmt::Display for RefusedLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)
    }
}

type OnRefused<'a> = &'a mut (dyn FnMut(&RefusedLine<'_>) + Send);

/// What came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SendReport {
    /// Events accepted.
    pub accepted: u64,
    /// Events refused; a line that is not a body counts as one.
    pub refused: u64,
}

/// What is known so far, over all connections.
pub(super) struct Tally<'a> {
    pub(super) unanswered: VecDeque<Line>,
    pub(super) input_ended: bool,
    /// What ended it before its end.
    pub(super) input_fault: Option<InputError>,
    pub(super) report: SendReport,
    pub(super) on_refused: OnRefused<'a>,
    pub(super) bar: ProgressBar,
    /// When it last went wrong without any progress since.
    pub(super) trouble_since: Option<Mono>,
    pub(super) gave_up: bool,
    /// The daemon asked for a line to be sent again later.
    pub(super) was_put_off: bool,
    pub(super) turned_away: Option<TurnedAway>,
}

impl Tally<'_> {
    fn progressed(&mut self) {
        self.trouble_since = None;
        self.bar.inc(1);
    }

    /// Counts one answer. False if it stands for the whole connection.
    pub(super) fn take(&mut self, answer: &[u8], socket: &Path, again: &mut VecDeque<Line>) -> bool {
        let Ok(answer) = serde_json::from_slice::<LineAnswer>(answer) else { return false };
        self.turned_away =
            TurnedAway::of(socket, answer.status, answer.message.as_deref().unwrap_or_default());
        if self.turned_away.is_some() {
            return false;
        }
        let Some(line) = self.unanswered.pop_front() else { return true };
        let errors = match answer.errors {
            Some(errors) => errors,
            None => {
                self.progressed();
                let message = answer.message.as_deref().unwrap_or(NO_REASON);
                self.report.refused += line.events.max(1) as u64;
                (self.on_refused)(&RefusedLine { place: &line.place, message });
                return true;
            }
        };
        if errors.iter().any(|error| error.retryable) && !self.gave_up {
            self.was_put_off = true;
            again.push_back(line);
            return true;
        }
        self.progressed();
        self.report.refused += errors.len() as u64;
        self.report.accepted += line.events.saturating_sub(errors.len()) as u64;
        for error in &errors {
            (self.on_refused)(&RefusedLine { place: &line.place, message: error.message() });
        }
        true
    }
}
