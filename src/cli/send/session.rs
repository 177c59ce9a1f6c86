//! One connection of `send`: lines out, answers in, until all is answered or the connection ends.

use std::collections::VecDeque;
use std::path::Path;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::mpsc::Receiver;

use crate::ingest::{Frame, Framer};

use super::input::{InputError, Line};
use super::tally::{Tally, WINDOW};

/// Longest answer: a thousand refusals with room to spare.
const MAX_ANSWER: usize = 4 * 1024 * 1024;

/// Why a session ended.
pub(super) enum SessionEnd {
    /// Everything is answered for good.
    Done,
    /// The connection broke, or the daemon asks to be tried again; `Tally::unanswered` has what is left.
    Again,
}

/// Sends what is unanswered, then new lines, at most [`WINDOW`] ahead of the answers.
pub(super) async fn run(
    mut stream: UnixStream,
    socket: &Path,
    input: &mut Receiver<Result<Line, InputError>>,
    tally: &mut Tally<'_>,
) -> SessionEnd {
    let (mut reader, mut writer) = stream.split();
    let mut out = BytesMut::new();
    for line in &tally.unanswered {
        out.extend_from_slice(&line.bytes);
    }
    let mut framer = Framer::new(MAX_ANSWER);
    let mut again: VecDeque<Line> = VecDeque::new();
    loop {
        if tally.unanswered.is_empty() && (!again.is_empty() || tally.input_ended) {
            let end = if again.is_empty() { SessionEnd::Done } else { SessionEnd::Again };
            tally.unanswered = again;
            return end;
        }
        // Once a line has to go again no later one may overtake it.
        let wants_more = again.is_empty() && !tally.input_ended && tally.unanswered.len() < WINDOW;
        let mut room = framer.room();
        let is_broken = tokio::select! {
            read = reader.read_buf(&mut room) => !matches!(read, Ok(1..)),
            written = writer.write(&out), if !out.is_empty() => match written {
                Ok(count) => { out.advance(count); false }
                // Answers may still lie in the socket: the reader finds the end.
                Err(_) => { out.clear(); false }
            },
            line = input.recv(), if wants_more => {
                match line {
                    None => tally.input_ended = true,
                    Some(Err(fault)) => {
                        tally.input_fault = Some(fault);
                        tally.input_ended = true;
                    }
                    Some(Ok(line)) => {
                        out.extend_from_slice(&line.bytes);
                        tally.unanswered.push_back(line);
                    }
                }
                false
            }
        };
        let mut is_refused_whole = false;
        while let Some(Frame::Line(answer)) = framer.next_frame() {
            is_refused_whole |= !tally.take(&answer, socket, &mut again);
        }
        if is_broken || is_refused_whole {
            again.append(&mut tally.unanswered);
            tally.unanswered = again;
            return SessionEnd::Again;
        }
    }
}
