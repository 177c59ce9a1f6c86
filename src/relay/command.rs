//! What may be asked of the relay while it runs, and how it obeys.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::worker::Worker;
use crate::config;
use crate::event::{Key, Lane};
use crate::queue::{Backlog, Seq};
use crate::relay::decide::backoff::Backoff;
use crate::upstream::Upstream;

/// What may be asked of the relay.
#[derive(Debug)]
pub enum Command {
    /// Sends nothing of this lane, or of any.
    Pause(Option<Lane>),
    /// Sends again.
    Resume(Option<Lane>),
    /// Sends nothing, for this reason, until [`Command::Release`].
    Withhold(Arc<str>),
    /// Sends what was withheld.
    Release,
    /// Credentials or address are new: lanes that wait for better ones try at once.
    TryNow,
    /// The account is another: what the API said of the limits of the one before is void.
    ForgetLimits,
    /// Keeps to these settings from now on.
    Configure(Box<Settings>),
    /// Answers from the loop: it runs.
    Ping(oneshot::Sender<()>),
    /// Says where an unsettled event is.
    Locate(Question),
}

/// What of the relay can change while it runs.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `[relay]`
    pub relay: config::RelayConfig,
    /// `daemon.grace`
    pub grace: Duration,
    /// `daemon.drain`
    pub drain: Duration,
}

/// Which event is meant.
#[derive(Debug)]
pub struct Question {
    /// Its lane.
    pub lane: Lane,
    /// Its position there.
    pub seq: Seq,
    /// Its key.
    pub key: Key,
    /// Where the answer goes.
    pub answer: oneshot::Sender<Place>,
}

/// Where an unsettled event is, seen from the relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In a request under way, or its outcome is being written down.
    UnderWay,
    /// In memory, next to be sent.
    Next,
    /// The API asked for it again: not before `after`.
    Again {
        /// Time until then.
        after: Duration,
        /// Requests it stood in.
        attempts: u32,
    },
    /// Among events of which one may spoil a request: sent in a smaller group.
    Suspect {
        /// Requests it stood in.
        attempts: u32,
    },
    /// An earlier event of its key is not settled yet.
    BehindItsKey,
    /// Not read yet: others were accepted before it.
    BehindOthers,
}

impl<B: Backlog, U: Upstream> Worker<B, U> {
    pub(super) fn obey(&mut self, command: Command) {
        match command {
            Command::Pause(lane) => self.pause(lane, true),
            Command::Resume(lane) => self.pause(lane, false),
            Command::Withhold(reason) => {
                self.lanes.iter_mut().for_each(|run| run.withheld = Some(reason.clone()));
            }
            Command::Release => self.lanes.iter_mut().for_each(|run| run.withheld = None),
            Command::TryNow => self.lanes.iter_mut().for_each(|run| run.hold.try_now()),
            Command::ForgetLimits => self.pace.forget_server(self.parts.clock.mono()),
            Command::Configure(settings) => self.configure(*settings),
            Command::Ping(answer) => {
                // Who asked may have given up waiting.
                let _ = answer.send(());
            }
            Command::Locate(Question { lane, seq, key, answer }) => {
                let now = self.parts.clock.mono();
                let _ = answer.send(self.lanes[lane.index()].order.place(seq, key, now));
            }
        }
    }

    fn pause(&mut self, lane: Option<Lane>, paused: bool) {
        for run in self.lanes.iter_mut().filter(|run| lane.is_none_or(|lane| lane == run.lane)) {
            run.paused = paused;
        }
    }

    fn configure(&mut self, settings: Settings) {
        let Settings { relay, grace, drain } = settings;
        let now = self.parts.clock.mono();
        let before = &self.parts.config;
        if (before.requests_per_minute, before.burst) != (relay.requests_per_minute, relay.burst) {
            self.pace.configure(relay.requests_per_minute, relay.burst, now);
        }
        self.backoff = Backoff { initial: relay.retry_initial, max: relay.retry_max };
        self.lanes.iter_mut().for_each(|run| run.configure(&relay, before));
        self.parts.config = relay;
        (self.parts.grace, self.parts.drain) = (grace, drain);
    }
}
