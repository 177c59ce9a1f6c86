//! `demo`: the daemon and a sandbox in one process on a temporary directory, sample calls flowing,
//! an outage staged on the way, and a summary that a newcomer understands.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::time::{interval, sleep, timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::clock::{Clock, Mono};
use crate::config::is_socket_path;
use crate::daemon::{Daemon, Start};
use crate::sandbox::{Faults, Handle, Options, Sandbox};
use crate::shutdown::Shutdown;

use super::demo_calls::Call;
use super::exit::Exit;
use super::format::thousands;
use super::output::is_read;
use super::runtime::async_runtime;

/// Calls that are on the line at once.
const CALLS: usize = 30;
/// Pause between two events of the demo's switch; about 100 events/s, as 2,000 agents make at peak.
const EVENT_EVERY: Duration = Duration::from_millis(10);
/// When the outage begins, as a part of the time given with `--for`.
const OUTAGE_AT: f64 = 0.3;
const OUTAGE_AT_WITHOUT_END: Duration = Duration::from_secs(8);
const OUTAGE: Duration = Duration::from_secs(3);
/// How long what was sent may take to arrive after the last call.
const DRAIN: Duration = Duration::from_secs(30);

/// Counters of the demo's switch.
#[derive(Debug, Default)]
struct Switch {
    sent: AtomicU64,
    accepted: AtomicU64,
    refused: AtomicBool,
}

/// Runs until Ctrl-C or for the given time. [`Exit::Done`] only if all that was sent was delivered.
pub(super) fn run(for_time: Option<Duration>) -> anyhow::Result<Exit> {
    crate::daemon::harden().context("cannot set umask and core limit")?;
    async_runtime()?.block_on(show(for_time))
}

async fn show(for_time: Option<Duration>) -> anyhow::Result<Exit> {
    let dir = directory().map_err(NoDirectory)?;
    let clock = Clock::system();
    let sandbox = Sandbox::bind(Options::on_any_port()).await?;
    let handle = sandbox.handle();
    let config = configuration(dir.path(), &sandbox.addr().to_string())?;
    let sandbox_stop = CancellationToken::new();
    let serving = tokio::spawn(sandbox.serve(sandbox_stop.clone()));
    let shutdown = Shutdown::default();
    let daemon = Daemon::start(Start::fixed(config, shutdown.clone())).await?;
    let user_stop = Shutdown::default();
    let signals = tokio::spawn(user_stop.clone().listen());

    let calls_stop = user_stop.stop.child_token();
    let switch = Arc::new(Switch::default());
    let calls = tokio::spawn(make_calls(
        dir.path().join("events.sock"),
        switch.clone(),
        clock.clone(),
        calls_stop.clone(),
    ));
    let view = DemoView {
        switch: switch.clone(),
        daemon: &daemon,
        sandbox: handle.clone(),
        started: clock.mono(),
        clock: clock.clone(),
        stop: calls_stop.clone(),
    };
    view.say(
        "a phone system with 30 active calls, the daemon, and an Events API that allows 300 requests a minute",
    )?;
    let outage = view.watch(for_time).await?;
    calls_stop.cancel();
    calls.await.context("the demo's switch failed")??;
    let drained = view.drain(&user_stop.now).await?;

    shutdown.stop.cancel();
    let summary = view.summary(outage);
    drop(view);
    daemon.finished().await?;
    sandbox_stop.cancel();
    serving.await.context("the sandbox failed")?;
    signals.abort();
    is_read(writeln!(std::io::stdout(), "\n{}", summary.text))?;
    Ok(if drained && summary.whole && !switch.refused.load(Ordering::SeqCst) {
        Exit::Done
    } else {
        Exit::Failed
    })
}

/// The demo's files have no place (exit 73).
#[derive(Debug, thiserror::Error)]
#[error("cannot create a temporary directory; set TMPDIR to a directory that you may write to")]
pub(super) struct NoDirectory(#[source] std::io::Error);

/// A directory in which sockets' paths fit: below `$TMPDIR`, or below `/tmp` if that is too long.
fn directory() -> std::io::Result<tempfile::TempDir> {
    let mut builder = tempfile::Builder::new();
    let builder = builder.prefix("trunkline-demo-");
    let dir = builder.tempdir()?;
    match is_socket_path(&dir.path().join("events.sock")) {
        true => Ok(dir),
        false => builder.tempdir_in("/tmp"),
    }
}

/// The configuration that an operator would write for this, through the same door.
fn configuration(dir: &Path, api: &str) -> anyhow::Result<crate::config::Loaded> {
    let text = format!(
        "[upstream]\napi_url = \"http://{api}\"\nlogin_url = \"http://{api}\"\nclient_id = \"demo\"\nclient_secret = \"demo\"\n\
         [queue]\ndir = \"queue\"\nmin_free_disk = \"64MiB\"\n[ingest.stream]\npath = \"events.sock\"\n\
         [admin]\nlisten = \"unix:admin.sock\"\n[relay]\nretry_max = \"1s\"\n"
    );
    Ok(crate::config::from_toml_str(&text, dir, std::iter::empty())?)
}

/// The demo's switch: writes events of many calls and reads the answers.
async fn make_calls(
    socket: std::path::PathBuf,
    switch: Arc<Switch>,
    clock: Clock,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let (reader, mut writer) = UnixStream::connect(socket).await?.into_split();
    let answers = switch.clone();
    let reading = tokio::spawn(async move {
        let mut lines = BufReader::new(reader).lines();
        while let Some(line) = lines.next_line().await? {
            if line == r#"{"errors":[]}"# {
                answers.accepted.fetch_add(1, Ordering::SeqCst);
            } else {
                answers.refused.store(true, Ordering::SeqCst);
            }
        }
        Ok::<(), std::io::Error>(())
    });
    let source = Uuid::new_v4();
    let mut next_number = 0;
    let mut call = || {
        next_number += 1;
        Call::new(next_number, Uuid::new_v4(), source)
    };
    let mut calls: Vec<Call> = (0..CALLS).map(|_| call()).collect();
    let mut ticks = interval(EVENT_EVERY);
    let mut turn = 0;
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        turn = (turn + 1) % CALLS;
        let now = jiff::Timestamp::from_millisecond(clock.unix_ms())?;
        let now = format!("{now:.3}");
        let line = match calls[turn].next_line(&now) {
            Some(line) => line,
            None => {
                calls[turn] = call();
                calls[turn].next_line(&now).context("a call has a first event")?
            }
        };
        writer.write_all(format!("{line}\n").as_bytes()).await?;
        switch.sent.fetch_add(1, Ordering::SeqCst);
    }
    writer.shutdown().await?;
    reading.await??;
    Ok(())
}

/// What the person at the terminal sees.
struct DemoView<'a> {
    switch: Arc<Switch>,
    daemon: &'a Daemon,
    sandbox: Handle,
    started: Mono,
    clock: Clock,
    /// Ends the calls.
    stop: CancellationToken,
}

struct Summary {
    text: String,
    whole: bool,
}

impl DemoView<'_> {
    /// Shows a line. Once nobody reads any more, there is nothing to go on for.
    fn say(&self, what: &str) -> std::io::Result<()> {
        if !is_read(writeln!(std::io::stdout(), "{:>5.1}s  {what}", self.elapsed().as_secs_f64()))? {
            self.stop.cancel();
        }
        Ok(())
    }

    fn elapsed(&self) -> Duration {
        self.clock.mono().since(self.started)
    }

    fn accepted(&self) -> u64 {
        self.switch.accepted.load(Ordering::SeqCst)
    }

    /// A line a second: the four numbers an operator would ask for, and the API's state in words.
    fn line(&self) -> std::io::Result<()> {
        let totals = self.daemon.totals();
        let requests = self.sandbox.stats().requests;
        let waiting = self.accepted().saturating_sub(totals.delivered + totals.dead);
        self.say(&format!(
            "accepted {:>5}   waiting on disk {:>4}   delivered {:>5} in {:>3} requests   {}",
            self.accepted(),
            waiting,
            totals.delivered,
            requests,
            self.daemon.state_in_words(),
        ))
    }

    /// Shows what happens until the time is up; stages the outage. Returns its length if there was one.
    async fn watch(&self, for_time: Option<Duration>) -> anyhow::Result<Option<Duration>> {
        let outage_at = for_time.map_or(OUTAGE_AT_WITHOUT_END, |time| time.mul_f64(OUTAGE_AT));
        let outage = for_time.map_or(OUTAGE, |time| OUTAGE.min(time.mul_f64(OUTAGE_AT)));
        let end = for_time.unwrap_or(Duration::MAX);
        let (mut begun, mut over) = (false, false);
        let mut ticks = interval(Duration::from_secs(1).min(end / 4));
        while self.elapsed() < end && self.stop.run_until_cancelled(ticks.tick()).await.is_some() {
            self.line()?;
            if !begun && self.elapsed() >= outage_at {
                begun = true;
                self.say("--- the API goes down and answers 503. Calls continue, events wait on disk")?;
                self.sandbox.set_faults(Faults { status: Some(503), ..Faults::default() });
            }
            if begun && !over && self.elapsed() >= outage_at + outage {
                over = true;
                self.say("--- the API is back")?;
                self.sandbox.set_faults(Faults::default());
            }
        }
        self.sandbox.set_faults(Faults::default());
        Ok(begun.then_some(outage))
    }

    /// Waits until all that was accepted is settled. `false` if it is not in time.
    async fn drain(&self, now: &CancellationToken) -> anyhow::Result<bool> {
        self.say("--- no more calls; delivering what is still on disk")?;
        let settled = async {
            loop {
                let totals = self.daemon.totals();
                if totals.delivered + totals.dead >= self.switch.sent.load(Ordering::SeqCst) {
                    return;
                }
                sleep(Duration::from_millis(50)).await;
            }
        };
        let drained = tokio::select! {
            done = timeout(DRAIN, settled) => done.is_ok(),
            () = now.cancelled() => false,
        };
        self.line()?;
        Ok(drained)
    }

    fn summary(&self, outage: Option<Duration>) -> Summary {
        let (totals, stats) = (self.daemon.totals(), self.sandbox.stats());
        let accepted = self.accepted();
        let order_kept = stats.order_violations == 0 && stats.same_key_in_flight == 0;
        let order = if order_kept { "order kept" } else { "ORDER LOST" };
        let outages = outage.map_or_else(String::new, |length| {
            format!(" · one outage of {} s survived", (length.as_secs_f64() * 10.0).round() / 10.0)
        });
        let text = format!(
            "accepted {} · delivered {} · dead {}{outages} · {order}",
            thousands(accepted),
            thousands(totals.delivered),
            thousands(totals.dead),
        );
        let whole = order_kept
            && totals.delivered == accepted
            && stats.distinct == accepted
            && accepted == self.switch.sent.load(Ordering::SeqCst);
        Summary { text, whole }
    }
}
