//! Ends connections that do nothing, or never finish a request's head.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::clock::{Clock, Mono};

/// Most time from the first byte of a request to the end of its head.
const HEAD_LIMIT: Duration = Duration::from_secs(10);
/// Most time between two requests.
const IDLE_LIMIT: Duration = Duration::from_secs(60);

/// What a connection is doing.
#[derive(Clone, Copy, Debug)]
enum Phase {
    /// Nothing of a next request has come since then.
    Idle(Mono),
    /// A head has begun to come then.
    Head(Mono),
    /// A request is being answered.
    Busy,
}

/// Shared by a connection's stream, its service and its watch.
#[derive(Clone, Debug)]
pub(super) struct Watch {
    phase: Arc<Mutex<Phase>>,
    clock: Clock,
}

impl Watch {
    pub(super) fn new(clock: Clock) -> Self {
        let phase = Arc::new(Mutex::new(Phase::Idle(clock.mono())));
        Self { phase, clock }
    }

    fn phase(&self) -> MutexGuard<'_, Phase> {
        self.phase.lock()
    }

    fn bytes_came(&self) {
        let mut phase = self.phase();
        if matches!(*phase, Phase::Idle(_)) {
            *phase = Phase::Head(self.clock.mono());
        }
    }

    /// A request's head is whole; answering it has limits of its own.
    pub(super) fn request_came(&self) {
        *self.phase() = Phase::Busy;
    }

    pub(super) fn answered(&self) {
        *self.phase() = Phase::Idle(self.clock.mono());
    }

    /// Returns why the connection should end, when it should.
    pub(super) async fn ends(&self) -> &'static str {
        loop {
            let now = self.clock.mono();
            let phase = *self.phase();
            let (until, why) = match phase {
                Phase::Idle(since) => (since.plus(IDLE_LIMIT), "idle"),
                Phase::Head(since) => (since.plus(HEAD_LIMIT), "unfinished_head"),
                Phase::Busy => (now.plus(HEAD_LIMIT), ""),
            };
            if until <= now {
                return why;
            }
            // Heads have the shorter limit, so no change in between is missed by more than that.
            tokio::time::sleep(until.since(now).min(HEAD_LIMIT)).await;
        }
    }
}

/// A stream that tells its watch when bytes come.
#[derive(Debug)]
pub(super) struct Watched<S> {
    pub(super) stream: S,
    pub(super) watch: Watch,
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if buffer.filled().len() > before {
            self.watch.bytes_came();
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, raw: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, raw)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn ends_after(change: impl Fn(&Watch)) -> (u64, &'static str) {
        let watch = Watch::new(Clock::tokio(0));
        let began = tokio::time::Instant::now();
        change(&watch);
        let why = watch.ends().await;
        (began.elapsed().as_secs(), why)
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_connection_ends_after_a_minute_and_a_partial_head_after_ten_seconds() {
        assert_eq!(ends_after(|_| {}).await, (60, "idle"));
        assert_eq!(ends_after(Watch::bytes_came).await, (10, "unfinished_head"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_is_answered_ends_nothing_and_then_the_wait_begins_anew() {
        let watch = Watch::new(Clock::tokio(0));
        watch.bytes_came();
        watch.request_came();

        let while_busy = tokio::time::timeout(Duration::from_secs(600), watch.ends()).await;
        watch.answered();
        let began = tokio::time::Instant::now();
        let why = watch.ends().await;

        assert!(while_busy.is_err());
        assert_eq!((began.elapsed().as_secs(), why), (60, "idle"));
    }
}
