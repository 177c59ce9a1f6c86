//! Cuts a byte stream into lines. Pure: reading is the connection's.
//!
//! Holds at most one unfinished line of `max_line` bytes and one read beyond it. A line over the limit
//! is reported once, as soon as that is known, and the rest of it is thrown away as it comes.

use bytes::buf::Limit;
use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Bytes asked of the socket at a time. A few typical lines; what a quiet connection may keep.
const READ_BYTES: usize = 16 * 1024;

/// One line, or the news that there was one that is too long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// A line without its end (LF or CRLF). Never blank.
    Line(Bytes),
    /// A line over the limit; nothing of it is kept.
    TooLong,
}

/// Bytes in, frames out.
#[derive(Debug)]
pub struct Framer {
    buffer: BytesMut,
    /// Bytes of `buffer` in which no line feed was found.
    searched: usize,
    skipping: bool,
    max_line: usize,
}

impl Framer {
    /// A framer for lines of at most `max_line` bytes, their ends not counted.
    pub fn new(max_line: usize) -> Self {
        Self { buffer: BytesMut::new(), searched: 0, skipping: false, max_line }
    }

    /// Another limit from now on, also for the line that is unfinished.
    pub fn limit(&mut self, max_line: usize) {
        self.max_line = max_line;
    }

    /// Where the next read goes. Take all frames before asking for more.
    pub fn room(&mut self) -> Limit<&mut BytesMut> {
        self.buffer.reserve(READ_BYTES);
        (&mut self.buffer).limit(READ_BYTES)
    }

    /// Bytes of the unfinished line.
    pub fn held(&self) -> usize {
        self.buffer.len()
    }

    /// The next complete line, if there is one.
    pub fn next_frame(&mut self) -> Option<Frame> {
        loop {
            let unsearched = self.buffer.get(self.searched..).unwrap_or_default();
            let Some(offset) = unsearched.iter().position(|byte| *byte == b'\n') else {
                return self.unfinished();
            };
            let mut line = self.buffer.split_to(self.searched + offset);
            self.buffer.advance(1);
            self.searched = 0;
            if std::mem::take(&mut self.skipping) {
                continue;
            }
            if line.last() == Some(&b'\r') {
                line.truncate(line.len() - 1);
            }
            if let Some(frame) = self.frame(line) {
                return Some(frame);
            }
        }
    }

    /// The last line, if the stream ended without a line feed.
    pub fn finish(&mut self) -> Option<Frame> {
        let line = self.buffer.split();
        self.searched = 0;
        if std::mem::take(&mut self.skipping) { None } else { self.frame(line) }
    }

    /// Gives memory back when nothing is held: a quiet connection is a cheap one.
    pub fn rest(&mut self) {
        if self.buffer.is_empty() && self.buffer.capacity() > READ_BYTES {
            self.buffer = BytesMut::new();
        }
    }

    fn frame(&self, line: BytesMut) -> Option<Frame> {
        if line.len() > self.max_line {
            return Some(Frame::TooLong);
        }
        let is_blank = line.iter().all(|byte| matches!(byte, b' ' | b'\t' | b'\r'));
        (!is_blank).then(|| Frame::Line(line.freeze()))
    }

    fn unfinished(&mut self) -> Option<Frame> {
        self.searched = self.buffer.len();
        // One more for the CR that may belong to the line's end.
        let is_long = self.buffer.len() > self.max_line + 1;
        if !self.skipping && !is_long {
            return None;
        }
        self.buffer.clear();
        self.searched = 0;
        let is_news = !self.skipping;
        self.skipping = true;
        is_news.then_some(Frame::TooLong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(max_line: usize, pieces: &[&[u8]]) -> Vec<Frame> {
        let mut framer = Framer::new(max_line);
        let mut frames = Vec::new();
        for piece in pieces {
            framer.room().put_slice(piece);
            frames.extend(std::iter::from_fn(|| framer.next_frame()));
        }
        frames.extend(framer.finish());
        frames
    }

    fn line(text: &'static str) -> Frame {
        Frame::Line(Bytes::from_static(text.as_bytes()))
    }

    #[test]
    fn lines_come_out_whole_however_they_were_cut() {
        let text = b"one\r\n\n \t\r\ntwo\nthree";

        for cut in 0..text.len() {
            let (head, tail) = text.split_at(cut);
            assert_eq!(frames(10, &[head, tail]), [line("one"), line("two"), line("three")]);
        }
    }

    #[test]
    fn a_long_line_is_told_once_and_its_rest_is_skipped() {
        let pieces: [&[u8]; 4] = [b"ok\n123456", b"789", b"0\nfine\n", b"1234567\n"];

        let found = frames(4, &pieces);

        assert_eq!(found, [line("ok"), Frame::TooLong, line("fine"), Frame::TooLong]);
    }

    #[test]
    fn the_limit_itself_passes_with_either_line_end() {
        let found = frames(4, &[b"1234\r", b"\n1234\n12345\n"]);

        assert_eq!(found, [line("1234"), line("1234"), Frame::TooLong]);
    }

    #[test]
    fn a_skipped_line_holds_no_memory() {
        let mut framer = Framer::new(4);
        framer.room().put_slice(b"123456789");

        let frame = framer.next_frame();

        assert_eq!(frame, Some(Frame::TooLong));
        assert_eq!(framer.held(), 0);
        assert_eq!(framer.finish(), None);
    }
}
