//! How the worker carries out what is asked of it.

use super::command::{Command, Question, Settings};
use super::worker::Worker;
use crate::event::Lane;
use crate::queue::Backlog;
use crate::relay::decide::backoff::Backoff;
use crate::relay::decide::host_breaker::HostBreaker;
use crate::upstream::Upstream;

impl<B: Backlog, U: Upstream> Worker<B, U> {
    pub(super) fn apply_command(&mut self, command: Command) {
        match command {
            Command::Pause(lane) => self.pause(lane, true),
            Command::Resume(lane) => {
                self.pause(lane, false);
                self.deps.pacer.pace().forget_server(self.deps.clock.mono());
                self.try_now(lane);
            }
            Command::Withhold(reason) => {
                self.lanes.iter_mut().for_each(|run| run.withheld = Some(reason.clone()));
            }
            Command::Release => self.lanes.iter_mut().for_each(|run| run.withheld = None),
            Command::TryNow => self.try_now(None),
            Command::ForgetLimits => self.deps.pacer.pace().reset_server(self.deps.clock.mono()),
            Command::Configure(settings) => self.configure(*settings),
            Command::Ping(answer) => {
                // Who asked may have given up waiting.
                let _ = answer.send(());
            }
            Command::Locate(Question { lane, seq, key, answer }) => {
                let now = self.deps.clock.mono();
                let _ = answer.send(self.lanes[lane.index()].order.place(seq, key, now));
            }
        }
    }

    fn pause(&mut self, lane: Option<Lane>, paused: bool) {
        for run in self.lanes.iter_mut().filter(|run| lane.is_none_or(|lane| lane == run.lane)) {
            run.paused = paused;
        }
    }

    /// Whatever is waited for, the next attempt is now.
    fn try_now(&mut self, lane: Option<Lane>) {
        let now = self.deps.clock.mono();
        // It opens again if the host does not answer.
        self.host = HostBreaker::default();
        self.deps.upstream.try_now();
        for run in self.lanes.iter_mut().filter(|run| lane.is_none_or(|lane| lane == run.lane)) {
            run.try_now(now);
        }
    }

    fn configure(&mut self, settings: Settings) {
        let Settings { relay, grace, drain } = settings;
        let now = self.deps.clock.mono();
        let before = &self.deps.config;
        if (before.requests_per_minute, before.burst) != (relay.requests_per_minute, relay.burst) {
            self.deps.pacer.pace().configure(relay.requests_per_minute, relay.burst, now);
        }
        self.backoff = Backoff { initial: relay.retry_initial, max: relay.retry_max };
        self.lanes.iter_mut().for_each(|run| run.configure(&relay));
        self.deps.config = relay;
        (self.deps.grace, self.deps.drain) = (grace, drain);
    }
}
