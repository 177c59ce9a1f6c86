//! Ends HTTP connections whose peer does nothing: sends no request, never finishes a head, reads no answer.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::clock::{Clock, Mono};

/// How long a peer may keep us waiting.
#[derive(Clone, Copy, Debug)]
pub struct PeerLimits {
    /// From the first byte of a request to the end of its head.
    pub head: Duration,
    /// Between two requests.
    pub idle: Duration,
    /// Without taking a byte of an answer.
    pub unread: Duration,
}

/// What a connection is doing.
#[derive(Clone, Copy, Debug)]
enum Activity {
    /// Nothing of a next request has come since then.
    Idle(Mono),
    /// A head has begun to come then.
    Head(Mono),
    /// A request is being answered.
    Busy,
}

#[derive(Debug)]
struct State {
    activity: Activity,
    /// Since when the peer takes nothing of what we write.
    blocked: Option<Mono>,
}

/// Shared by a connection's stream, its requests, and who may end it.
#[derive(Clone, Debug)]
pub struct Watch {
    state: Arc<Mutex<State>>,
    clock: Clock,
}

impl Watch {
    /// Of a connection that begins now.
    pub fn new(clock: &Clock) -> Self {
        let state = State { activity: Activity::Idle(clock.mono()), blocked: None };
        Self { state: Arc::new(Mutex::new(state)), clock: clock.clone() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    fn bytes_came(&self) {
        let mut state = self.state();
        if matches!(state.activity, Activity::Idle(_)) {
            state.activity = Activity::Head(self.clock.mono());
        }
    }

    fn bytes_left(&self) {
        let mut state = self.state();
        state.blocked = None;
        if matches!(state.activity, Activity::Idle(_)) {
            state.activity = Activity::Idle(self.clock.mono());
        }
    }

    fn blocked(&self) {
        let mut state = self.state();
        state.blocked = state.blocked.or_else(|| Some(self.clock.mono()));
    }

    /// A request's head is whole; answering it has limits of its own.
    pub(crate) fn request_came(&self) {
        self.state().activity = Activity::Busy;
    }

    /// The last of an answer was handed to the connection.
    pub(super) fn answered(&self) {
        self.state().activity = Activity::Idle(self.clock.mono());
    }

    /// Since when the connection waits for its peer; `None` while we are at work.
    pub fn waits_since(&self) -> Option<Mono> {
        let state = self.state();
        state.blocked.or(match state.activity {
            Activity::Idle(since) | Activity::Head(since) => Some(since),
            Activity::Busy => None,
        })
    }

    /// Returns why the connection should end, when it should.
    pub(super) async fn ends(&self, limits: &PeerLimits) -> &'static str {
        // No change in between is missed by more than that.
        let look_every = limits.head.min(limits.idle).min(limits.unread);
        loop {
            let now = self.clock.mono();
            let (activity, blocked) = {
                let state = self.state();
                (state.activity, state.blocked)
            };
            let (until, why) = match (blocked, activity) {
                (Some(since), _) => (since.plus(limits.unread), "answer_not_read"),
                (None, Activity::Idle(since)) => (since.plus(limits.idle), "idle"),
                (None, Activity::Head(since)) => (since.plus(limits.head), "unfinished_head"),
                (None, Activity::Busy) => (now.plus(look_every), ""),
            };
            if until <= now {
                return why;
            }
            tokio::time::sleep(until.since(now).min(look_every)).await;
        }
    }
}

/// A stream that tells its watch what moves.
#[derive(Debug)]
pub(super) struct Watched<S> {
    pub(super) stream: S,
    pub(super) watch: Watch,
}

impl<S> Watched<S> {
    fn note_write(&self, polled: &Poll<io::Result<usize>>) {
        match polled {
            Poll::Pending => self.watch.blocked(),
            Poll::Ready(_) => self.watch.bytes_left(),
        }
    }
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
        let polled = Pin::new(&mut self.stream).poll_write(cx, raw);
        self.note_write(&polled);
        polled
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(cx, parts);
        self.note_write(&polled);
        polled
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
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

    const LIMITS: PeerLimits = PeerLimits {
        head: Duration::from_secs(10),
        idle: Duration::from_secs(60),
        unread: Duration::from_secs(30),
    };

    async fn ends_after(change: impl Fn(&Watch)) -> (u64, &'static str) {
        let watch = Watch::new(&Clock::tokio(0));
        let began = tokio::time::Instant::now();
        change(&watch);
        let why = watch.ends(&LIMITS).await;
        (began.elapsed().as_secs(), why)
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_does_nothing_is_let_go_after_the_limit_for_what_it_does_not_do() {
        assert_eq!(ends_after(|_| {}).await, (60, "idle"));
        assert_eq!(ends_after(Watch::bytes_came).await, (10, "unfinished_head"));
        let blocked = ends_after(|watch| {
            watch.request_came();
            watch.blocked();
        });
        assert_eq!(blocked.await, (30, "answer_not_read"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_is_answered_ends_nothing_and_then_the_wait_begins_anew() {
        let watch = Watch::new(&Clock::tokio(0));
        watch.bytes_came();
        watch.request_came();

        let waits_while_busy = watch.waits_since();
        let while_busy = tokio::time::timeout(Duration::from_secs(600), watch.ends(&LIMITS)).await;
        watch.answered();
        let began = tokio::time::Instant::now();
        let why = watch.ends(&LIMITS).await;

        assert!(while_busy.is_err() && waits_while_busy.is_none());
        assert_eq!((began.elapsed().as_secs(), why), (60, "idle"));
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_is_read_slowly_ends_nothing() {
        let watch = Watch::new(&Clock::tokio(0));
        watch.request_came();
        let reading = async {
            for _ in 0..20 {
                watch.blocked();
                tokio::time::sleep(Duration::from_secs(25)).await;
                watch.bytes_left();
            }
        };

        tokio::select! {
            biased;
            why = watch.ends(&LIMITS) => panic!("{why}"),
            () = reading => {}
        }
    }
}
