//! One producer on the stream socket: three loops, joined, that pass lines on in order.
//!
//! `read` checks lines and submits their events; `settle` waits for the sink and frees what the line
//! held; `write` hands out the answers. A producer that does not read its answers stops `write`, then,
//! by `max_unacked` or by unread bytes, `read`; `settle` goes on, so it holds nothing of the others'.
//!
//! A producer may close without reading: the lines that it wrote before are taken, and their answers thrown away.

use std::io::ErrorKind;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::clock::Mono;
use crate::event::{Door, ErrorBody, Refusal};
use crate::queue::{AppendError, Appended};
use crate::socket::Peer;

use super::{DoorContext, Frame, Framer, Intake, PendingBytes, Sink, Taken, take};

/// Unread answers of a connection above which its next line waits. A socket's own buffer is about as
/// large; 256 connections then hold 64 MiB at the very most.
const MAX_UNREAD_BYTES: usize = 256 * 1024;

/// Answers written in one call.
const WRITE_BYTES: usize = 64 * 1024;

/// An unfinished line up to here is free; above, it counts against the budget of long lines.
const SHORT_LINE: usize = 64 * 1024;

/// A producer in the middle of a long line must send something this often.
const LONG_LINE_IDLE: Duration = Duration::from_secs(10);

/// Most time from when a long line got its room to its end: others wait for the room. An HTTP body has as long.
const LONG_LINE_LIMIT: Duration = Duration::from_secs(30);

/// A producer that reads no answers any more may write on, as long as it pauses no longer than this.
const UNHEARD_IDLE: Duration = Duration::from_secs(1);

/// A producer that does not take a write (64 KiB, or one answer) within this time is let go.
const STUCK_AFTER: Duration = Duration::from_secs(60);

/// The same while we stop.
const STUCK_AT_STOP: Duration = Duration::from_secs(3);

/// About what a refusal takes besides its message.
const REFUSAL_BYTES: usize = 160;

type Results = Pin<Box<dyn Future<Output = Vec<Result<Appended, AppendError>>> + Send>>;

/// A line whose answer is not known yet.
struct UnansweredLine {
    outcome: LineOutcome,
    cost: usize,
    place: OwnedSemaphorePermit,
}

enum LineOutcome {
    Known(Bytes),
    Asked { intake: Intake, results: Results, pending: PendingBytes },
}

/// What an unfinished line above [`SHORT_LINE`] holds.
struct LongLine {
    /// Its place in the row, taken before the room: a producer that does not read its answers must not hold
    /// what others wait for.
    place: Option<OwnedSemaphorePermit>,
    _room: PendingBytes,
    ends: Mono,
}

/// How a write ended.
enum WriteEnd {
    All,
    /// The producer has closed.
    Closed,
    /// It took too long to read, and counts as gone.
    Stuck,
}

/// An answer on its way out; the line counts as unanswered until it is written.
struct AnswerLine {
    bytes: Bytes,
    place: OwnedSemaphorePermit,
}

struct Connection<S> {
    context: Arc<DoorContext<S>>,
    peer: Peer,
    stop: CancellationToken,
    /// The producer is stuck, and nothing more is taken of it.
    gone: CancellationToken,
    /// Nobody reads what we write. What the producer wrote before it closed is still taken.
    unheard: CancellationToken,
    unacked: Arc<Semaphore>,
    unread_bytes: AtomicUsize,
    was_read: Notify,
}

/// Serves one connection to its end, or until `stop` and what was read is answered.
pub(super) async fn serve<S: Sink>(
    reader: impl AsyncRead + Unpin,
    writer: impl AsyncWrite + Unpin,
    peer: Peer,
    context: Arc<DoorContext<S>>,
    stop: CancellationToken,
) {
    let (lines, lines_out) = unbounded_channel();
    let (answers, answers_out) = unbounded_channel();
    let unacked = Arc::new(Semaphore::new(context.settings().config.max_unacked));
    let connection = Connection {
        context,
        peer,
        stop,
        gone: CancellationToken::new(),
        unheard: CancellationToken::new(),
        unacked,
        unread_bytes: AtomicUsize::new(0),
        was_read: Notify::new(),
    };
    tokio::join!(
        connection.read(reader, lines),
        connection.settle(lines_out, answers),
        connection.write(writer, answers_out)
    );
}

impl<S: Sink> Connection<S> {
    /// Returns some time after nobody reads our answers any more. What was written before may still be on its way; a
    /// producer that has closed ends the connection by itself.
    async fn writes_no_more(&self) {
        self.unheard.cancelled().await;
        tokio::time::sleep(UNHEARD_IDLE).await;
    }

    async fn read(&self, mut socket: impl AsyncRead + Unpin, lines: UnboundedSender<UnansweredLine>) {
        let mut framer = Framer::new(self.context.settings().config.max_line);
        let mut long_line: Option<LongLine> = None;
        loop {
            while let Some(frame) = framer.next_frame() {
                let place = long_line.as_mut().and_then(|long| long.place.take());
                if self.take(frame, place, &lines).await.is_break() {
                    return;
                }
            }
            framer.rest();
            framer.limit(self.context.settings().config.max_line);
            if framer.held() <= SHORT_LINE {
                long_line = None;
            }
            if framer.held() > SHORT_LINE && long_line.is_none() {
                long_line = tokio::select! {
                    biased;
                    () = self.stop.cancelled() => return,
                    () = self.gone.cancelled() => return,
                    long = self.long_line() => Some(long),
                };
            }
            let filled = tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                () = self.gone.cancelled() => return,
                filled = self.fill(&mut socket, &mut framer, long_line.as_ref()) => filled,
                () = self.writes_no_more() => return,
            };
            match filled {
                Some(0) => break,
                Some(_) => {}
                None => return,
            }
        }
        if let Some(frame) = framer.finish() {
            let place = long_line.as_mut().and_then(|long| long.place.take());
            let _ = self.take(frame, place, &lines).await;
        }
    }

    /// Reads once; `None` if the connection is of no more use.
    async fn fill(
        &self,
        socket: &mut (impl AsyncRead + Unpin),
        framer: &mut Framer,
        long_line: Option<&LongLine>,
    ) -> Option<usize> {
        let Some(LongLine { ends, .. }) = long_line else {
            return bytes_read(socket.read_buf(&mut framer.room()).await);
        };
        let left = ends.since(self.context.clock.mono());
        let mut room = framer.room();
        let read = socket.read_buf(&mut room);
        // At its end also a line that comes without a pause: a timeout of 0 would let it read on.
        if !left.is_zero()
            && let Ok(read) = tokio::time::timeout(left.min(LONG_LINE_IDLE), read).await
        {
            return bytes_read(read);
        }
        self.context.refuse(Door::Stream, self.peer, "unfinished_line");
        None
    }

    async fn long_line(&self) -> LongLine {
        let place = self.place().await;
        let room = self.context.admission.long_line(self.context.settings().config.max_line).await;
        LongLine { place: Some(place), _room: room, ends: self.context.clock.mono().plus(LONG_LINE_LIMIT) }
    }

    /// Puts one line in the row, at `place` if it has one. Breaks when nobody waits for its answer any more.
    async fn take(
        &self,
        frame: Frame,
        place: Option<OwnedSemaphorePermit>,
        lines: &UnboundedSender<UnansweredLine>,
    ) -> ControlFlow<()> {
        // Places of this connection first: a producer that does not read must not hold bytes of all.
        let place = match place {
            Some(place) => Some(place),
            None => self.gone.run_until_cancelled(self.place()).await,
        };
        let Some(place) = place else { return ControlFlow::Break(()) };
        let outcome = match frame {
            Frame::TooLong => {
                self.context.refuse(Door::Stream, self.peer, "line_too_long");
                LineOutcome::Known(self.too_long())
            }
            Frame::Line(line) => {
                let room = self.context.admission.pending(line.len());
                let Some(pending) = self.gone.run_until_cancelled(room).await else {
                    return ControlFlow::Break(());
                };
                self.check(&line, pending)
            }
        };
        let cost = match &outcome {
            LineOutcome::Known(bytes) => bytes.len(),
            LineOutcome::Asked { intake, .. } => intake.refused.iter().map(refusal_cost).sum(),
        };
        self.unread_bytes.fetch_add(cost, Ordering::Relaxed);
        match lines.send(UnansweredLine { outcome, cost, place }) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    }

    async fn place(&self) -> OwnedSemaphorePermit {
        while self.unread_bytes.load(Ordering::Relaxed) > MAX_UNREAD_BYTES {
            self.was_read.notified().await;
        }
        self.unacked.clone().acquire_owned().await.expect("the semaphore is never closed")
    }

    fn check(&self, line: &Bytes, pending: PendingBytes) -> LineOutcome {
        match take(line, &self.context, Door::Stream, self.peer) {
            Err(error) => LineOutcome::Known(error.error_body().to_bytes()),
            Ok(Taken { intake, events }) if events.is_empty() => LineOutcome::Known(intake.stream_answer()),
            Ok(Taken { intake, events }) => {
                let results = Box::pin(self.context.sink.submit(events));
                LineOutcome::Asked { intake, results, pending }
            }
        }
    }

    fn too_long(&self) -> Bytes {
        let max_line = self.context.settings().config.max_line;
        let message = format!("the line is longer than {max_line} bytes (ingest.max_line)");
        ErrorBody { message, code: "request.entity.too.large", status: 413 }.to_bytes()
    }

    async fn settle(
        &self,
        mut lines: UnboundedReceiver<UnansweredLine>,
        answers: UnboundedSender<AnswerLine>,
    ) {
        while let Some(UnansweredLine { outcome, cost, place }) = lines.recv().await {
            let bytes = match outcome {
                LineOutcome::Known(bytes) => bytes,
                LineOutcome::Asked { mut intake, results, pending } => {
                    intake.settle(results.await, &self.context);
                    drop(pending);
                    intake.stream_answer()
                }
            };
            self.unread_bytes.fetch_add(bytes.len(), Ordering::Relaxed);
            self.unread_bytes.fetch_sub(cost, Ordering::Relaxed);
            // Without a writer the answer has no reader; the line's events are settled all the same.
            let _ = answers.send(AnswerLine { bytes, place });
        }
    }

    async fn write(&self, mut socket: impl AsyncWrite + Unpin, mut answers: UnboundedReceiver<AnswerLine>) {
        let mut out = BytesMut::new();
        let mut places = Vec::new();
        while let Some(first) = answers.recv().await {
            let mut unread: usize = 0;
            let mut next = Some(first);
            while let Some(answer) = next {
                out.extend_from_slice(&answer.bytes);
                out.extend_from_slice(b"\n");
                unread += answer.bytes.len();
                places.push(answer.place);
                next = if out.len() < WRITE_BYTES { answers.try_recv().ok() } else { None };
            }
            match self.write_all(&mut socket, &out).await {
                WriteEnd::All => {}
                WriteEnd::Stuck => return self.gone.cancel(),
                WriteEnd::Closed => {
                    let unheard = places.len();
                    places.clear();
                    self.unread_bytes.fetch_sub(unread, Ordering::Relaxed);
                    return self.go_on_unheard(answers, unheard).await;
                }
            }
            places.clear();
            self.unread_bytes.fetch_sub(unread, Ordering::Relaxed);
            self.was_read.notify_one();
            out.clear();
            if out.capacity() > 2 * WRITE_BYTES {
                out = BytesMut::new();
            }
        }
    }

    /// Lets the lines go on that the producer wrote before it closed, and throws their answers away.
    async fn go_on_unheard(&self, mut answers: UnboundedReceiver<AnswerLine>, unheard: usize) {
        self.unheard.cancel();
        self.was_read.notify_one();
        let mut unheard = unheard;
        while let Some(answer) = answers.recv().await {
            unheard += 1;
            self.unread_bytes.fetch_sub(answer.bytes.len(), Ordering::Relaxed);
            drop(answer);
            self.was_read.notify_one();
        }
        self.context.log_throttle.unheard(Door::Stream, self.peer, unheard);
    }

    async fn write_all(&self, socket: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> WriteEnd {
        let stuck_at_stop = async {
            self.stop.cancelled().await;
            tokio::time::sleep(STUCK_AT_STOP).await;
        };
        tokio::select! {
            biased;
            written = socket.write_all(bytes) => if written.is_ok() { WriteEnd::All } else { WriteEnd::Closed },
            () = stuck_at_stop => WriteEnd::Stuck,
            () = tokio::time::sleep(STUCK_AFTER) => {
                self.context.refuse(Door::Stream, self.peer, "answers_not_read");
                WriteEnd::Stuck
            }
        }
    }
}

/// `None` if the connection is of no more use. One that was closed with answers unread ends with a reset, after
/// all that was written on it.
fn bytes_read(read: std::io::Result<usize>) -> Option<usize> {
    match read {
        Err(error) if error.kind() == ErrorKind::ConnectionReset => Some(0),
        read => read.ok(),
    }
}

fn refusal_cost(refusal: &Refusal) -> usize {
    refusal.message.len() + REFUSAL_BYTES
}

#[cfg(test)]
mod tests;
