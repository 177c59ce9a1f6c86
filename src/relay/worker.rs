//! The only loop: starts reads, requests and settlements, and lets the pure files decide on what comes back.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::decide::state::LaneState;
use super::deps::Deps;
use super::lane::{Batch, LaneRun, NextAction, SentSize};
use super::log_throttle::LogThrottle;
use super::publish::publish;
use super::settling::{self, Unsettled};
use crate::clock::Mono;
use crate::event::{Key, Lane};
use crate::queue::{Backlog, DeadReason, Outcome, Page, QueueError, Stored};
use crate::relay::decide::RoundTrip;
use crate::relay::decide::backoff::Backoff;
use crate::relay::decide::batch;
use crate::relay::decide::host_breaker::HostBreaker;
use crate::relay::decide::item::Item;
use crate::relay::decide::order::ReadPlan;
use crate::relay::decide::plan::Ended;
use crate::relay::decide::share::Share;
use crate::relay::decide::size::Size;
use crate::upstream::{Answer, Outbound, Upstream};

/// Events of one read of the backlog at most.
const READ_EVENTS: usize = 2_000;
/// Bytes of one read of the backlog at most.
const READ_BYTES: usize = 1024 * 1024;
/// Wait before the queue is read again after a storage fault.
const READ_AGAIN: Duration = Duration::from_secs(5);

enum TaskDone {
    Read { lane: Lane, plan: ReadPlan, page: Result<Page, QueueError> },
    Stored { lane: Lane },
    Answered { lane: Lane, items: Vec<Item>, sent: SentSize, answer: Answer, started: Mono },
    Settled(Box<Unsettled>),
    NotSettled(Box<Unsettled>),
}

/// Sends until `stop`, then finishes what is in flight within `grace`. What was not settled then is
/// read again at the next start.
pub async fn run<B: Backlog, U: Upstream>(deps: Deps<B, U>) {
    let stop = deps.shutdown.stop.clone();
    let now_token = deps.shutdown.now.clone();
    let mut worker = Worker::new(deps);
    tokio::select! {
        () = worker.all(&stop) => {}
        () = now_token.cancelled() => {}
    }
    worker.tasks.shutdown().await;
}

pub(super) struct Worker<B, U> {
    pub(super) deps: Deps<B, U>,
    pub(super) lanes: [LaneRun; Lane::ALL.len()],
    share: Share,
    pub(super) backoff: Backoff,
    pub(super) host: HostBreaker,
    log_throttle: LogThrottle,
    tasks: JoinSet<TaskDone>,
}

impl<B: Backlog, U: Upstream> Worker<B, U> {
    fn new(deps: Deps<B, U>) -> Self {
        let config = &deps.config;
        Self {
            lanes: Lane::ALL
                .map(|lane| LaneRun::new(lane, config, deps.withheld.clone(), deps.paused[lane.index()])),
            share: Share::default(),
            backoff: Backoff { initial: config.retry_initial, max: config.retry_max },
            host: HostBreaker::default(),
            log_throttle: LogThrottle::default(),
            tasks: JoinSet::new(),
            deps,
        }
    }

    async fn all(&mut self, stop: &CancellationToken) {
        self.deliver(stop, None).await;
        if !self.deps.drain.is_zero() {
            let until = self.deps.clock.mono().plus(self.deps.drain);
            self.deliver(&CancellationToken::new(), Some(until)).await;
        }
        let grace = tokio::time::sleep(self.deps.grace);
        tokio::pin!(grace);
        while self.lanes.iter().any(|run| run.traffic.has_open_ends()) {
            tokio::select! {
                Some(event) = self.tasks.join_next() => self.handle(event),
                () = &mut grace => break,
            }
        }
    }

    /// Delivers until `stop`, or with `until` that long at most and until nothing is left.
    async fn deliver(&mut self, stop: &CancellationToken, until: Option<Mono>) {
        loop {
            let now = self.deps.clock.mono();
            if until.is_some_and(|until| until <= now || self.lanes.iter().all(LaneRun::is_empty)) {
                return;
            }
            let mut wake = self.advance(now);
            publish(&self.deps.metrics, &self.deps.status, &self.lanes, &self.deps.pacer, &self.deps.clock);
            if let Some(until) = until {
                wake = Some(wake.map_or(until, |wake| wake.min(until)));
            }
            let sleep = wake.map(|at| at.since(now).max(Duration::from_millis(1)));
            tokio::select! {
                () = stop.cancelled() => return,
                Some(event) = self.tasks.join_next() => {
                    self.handle(event);
                    // What else has come meanwhile is heard before the next decision.
                    while let Some(event) = self.tasks.try_join_next() {
                        self.handle(event);
                    }
                }
                Some(command) = self.deps.commands.recv() => self.apply_command(command),
                () = tokio::time::sleep(sleep.unwrap_or_default()), if sleep.is_some() => {}
            }
        }
    }

    /// Starts all that may start. Returns when to look again if nothing comes before.
    fn advance(&mut self, now: Mono) -> Option<Mono> {
        let mut wake: Option<Mono> = None;
        let mut wake_at = |at: Mono| wake = Some(wake.map_or(at, |wake| wake.min(at)));
        for at in 0..self.lanes.len() {
            self.lanes[at].wake(now);
            if let Some(plan) = self.lanes[at].wanted_read() {
                self.read(at, plan, Duration::ZERO);
            }
        }
        loop {
            let has_slot = Lane::ALL.map(|lane| self.has_slot(lane));
            let mut chosen = None;
            for lane in self.share.turns().into_iter().filter(|lane| has_slot[lane.index()]) {
                match self.lanes[lane.index()].next_action(now) {
                    NextAction::Send => {
                        chosen = Some(lane);
                        break;
                    }
                    NextAction::At(at) => wake_at(at),
                    NextAction::Nothing => {}
                }
            }
            let Some(lane) = chosen else { break };
            if self.expire(lane, now) {
                continue;
            }
            let start = self.deps.pacer.pace().start(now);
            if let Err(at) = start {
                wake_at(at);
                break;
            }
            self.share.took(lane);
            self.send(lane, now);
        }
        for lane in &self.lanes {
            if let Some(at) = lane.next_due(now) {
                wake_at(at);
            }
            // Parking on the way made room: the read it allows starts in the next turn.
            if lane.wanted_read().is_some() {
                wake_at(now);
            }
        }
        wake
    }

    /// Whether the lane may start a request. One that has some leaves a slot to each that has none, so that the others
    /// need not wait while its requests hang. While the host seems down, lanes that have failed share one probe, and
    /// one that runs still tries its own: that it fails too is not known.
    fn has_slot(&self, lane: Lane) -> bool {
        let run = &self.lanes[lane.index()];
        let has_none = |run: &&LaneRun| run.traffic.requests() == 0;
        if self.host.is_open() {
            let runs = |run: &LaneRun| run.breaker.state() == LaneState::Running;
            let probes = self.lanes.iter().any(|other| other.traffic.requests() > 0 && !runs(other));
            return run.traffic.requests() == 0 && (runs(run) || !probes);
        }
        let in_flight: usize = self.lanes.iter().map(|run| run.traffic.requests()).sum();
        let kept = if run.traffic.requests() == 0 { 0 } else { self.lanes.iter().filter(has_none).count() };
        in_flight + kept < self.deps.config.max_in_flight
    }

    fn read(&mut self, at: usize, plan: ReadPlan, pause: Duration) {
        let run = &mut self.lanes[at];
        run.began_reading();
        let (lane, backlog) = (run.lane, self.deps.backlog.clone());
        let (ReadPlan::Frontier(from) | ReadPlan::Rescan(from)) = plan;
        self.tasks.spawn(async move {
            tokio::time::sleep(pause).await;
            let page = backlog.read(lane, from, READ_EVENTS, READ_BYTES).await;
            TaskDone::Read { lane, plan, page }
        });
    }

    fn send(&mut self, lane: Lane, now: Mono) {
        let run = &mut self.lanes[lane.index()];
        let Some(Batch { items, half_of }) = run.take(now) else { return };
        run.traffic.began(items.len());
        self.deps.metrics.batch_events.observe(count_f64(items.len()));
        self.deps.metrics.sums.events_in_requests.inc_by(items.len() as u64);
        let body = batch::body(items.iter().map(|item| &item.stored.event));
        let sent = SentSize { size: Size { events: items.len(), bytes: body.len() }, half_of };
        let (upstream, pacer) = (self.deps.upstream.clone(), self.deps.pacer.clone());
        self.tasks.spawn(async move {
            pacer.write_down(now).await;
            let answer = upstream.send(Outbound { lane, body }).await;
            TaskDone::Answered { lane, items, sent, answer, started: now }
        });
    }

    /// Settles what is too old to leave, which costs no request. Whether there was any.
    fn expire(&mut self, lane: Lane, now: Mono) -> bool {
        let max_age = self.deps.config.event_max_age[lane.index()];
        if max_age.is_zero() {
            return false;
        }
        let ages = self.deps.clock.ages();
        let is_old = |item: &Item| ages.of(item.stored.event.accepted_at_ms) > max_age;
        let run = &mut self.lanes[lane.index()];
        let expired = run.order.take_expired(is_old, run.max_events(), now);
        if expired.is_empty() {
            return false;
        }
        let message = format!("older than {}", humantime::format_duration(max_age));
        let outcome = Outcome::Dead { reason: DeadReason::Expired, message };
        let ended = expired.into_iter().map(|item| Ended { item, outcome: outcome.clone() }).collect();
        self.settle(lane, ended, None);
        true
    }

    fn handle(&mut self, ended: Result<TaskDone, tokio::task::JoinError>) {
        let now = self.deps.clock.mono();
        match ended {
            Ok(TaskDone::Read { lane, plan, page }) => self.take_in(lane, plan, page, now),
            Ok(TaskDone::Stored { lane }) => self.lanes[lane.index()].stored(),
            Ok(TaskDone::Answered { lane, items, sent, answer, started }) => {
                self.answered(lane, items, sent, &answer, RoundTrip { started, ended: now });
            }
            Ok(TaskDone::Settled(done)) => {
                self.lanes[done.lane.index()].settled(&done);
                self.log_throttle.dead_letters(done.lane, &done.settlements, now);
            }
            Ok(TaskDone::NotSettled(unsettled)) => self.settle_again(*unsettled),
            // What it held is not known any more: only a new start finds it again.
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(error) => tracing::error!(%error, "a task of the relay was cancelled"),
            },
        }
    }

    fn take_in(&mut self, lane: Lane, plan: ReadPlan, page: Result<Page, QueueError>, now: Mono) {
        self.log_throttle.reading(lane, page.as_ref().err(), now);
        self.lanes[lane.index()].unread = page.as_ref().err().map(ToString::to_string);
        let Ok(page) = page else {
            self.read(lane.index(), plan, READ_AGAIN);
            return;
        };
        let run = &mut self.lanes[lane.index()];
        let ages = self.deps.clock.ages();
        let accepted = |stored: &Stored| now.minus(ages.of(stored.event.accepted_at_ms));
        if run.read(plan, page, accepted) {
            let (backlog, from) = (self.deps.backlog.clone(), run.order.frontier());
            self.tasks.spawn(async move {
                backlog.wait_for(lane, from).await;
                TaskDone::Stored { lane }
            });
        }
    }

    /// Settles on stable storage, as often as it takes; the keys are free after that.
    pub(super) fn settle(&mut self, lane: Lane, ended: Vec<Ended>, answer: Option<&Answer>) {
        if ended.is_empty() {
            return;
        }
        let run = &mut self.lanes[lane.index()];
        let now_ms = self.deps.clock.unix_ms();
        if ended.iter().any(|ended| ended.outcome == Outcome::Delivered) {
            run.delivered(now_ms);
        }
        let keys: Vec<Key> = ended.iter().map(|ended| ended.item.stored.event.key).collect();
        let settlements = settling::settlements(ended, answer);
        run.traffic.settling(settlements.len());
        self.write_down(Unsettled { lane, settlements, keys, now_ms, waits_for_room: false, fault: None });
    }

    fn settle_again(&mut self, mut unsettled: Unsettled) {
        let lane = unsettled.lane;
        if self.lanes[lane.index()].traffic.not_settled(&mut unsettled) {
            tracing::error!(%lane, "dead letters are full: the lane holds until some are replayed, exported or discarded");
        }
        self.write_down(unsettled);
    }

    fn write_down(&mut self, unsettled: Unsettled) {
        let (backlog, metrics) = (self.deps.backlog.clone(), self.deps.metrics.clone());
        self.tasks.spawn(async move {
            match settling::settle(&backlog, unsettled).await {
                Ok(done) => {
                    settling::count(&metrics, done.lane, &done.settlements, done.now_ms);
                    TaskDone::Settled(Box::new(done))
                }
                Err(unsettled) => TaskDone::NotSettled(Box::new(unsettled)),
            }
        });
    }
}

fn count_f64(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}
