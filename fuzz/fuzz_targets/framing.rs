//! Any split of any bytes gives the frames that a plain reading of the lines gives, within the limits.
//!
//! Input: longest line (1 byte) · how many cuts (1 byte, its low four bits) · the cuts · the stream.

#![no_main]

use bytes::{BufMut, Bytes};
use libfuzzer_sys::fuzz_target;
use trunkline::ingest::{Frame, Framer};

/// What the framer asks of the socket at a time.
const READ: usize = 16 * 1024;

fuzz_target!(|input: &[u8]| {
    let [max_line, cuts, rest @ ..] = input else { return };
    let Some((cuts, stream)) = rest.split_at_checked(usize::from(cuts % 16)) else { return };
    let max_line = usize::from(*max_line);

    let expected = plainly(stream, max_line);

    assert_eq!(frames(stream, cuts, max_line), expected);
    assert_eq!(frames(stream, &[], max_line), expected, "uncut");
    assert_eq!(frames(stream, &[0], max_line), expected, "byte by byte");
});

/// The frames of a stream that comes in pieces of `cuts` (and one) bytes, over and over.
fn frames(stream: &[u8], cuts: &[u8], max_line: usize) -> Vec<Frame> {
    let mut framer = Framer::new(max_line);
    let mut frames = Vec::new();
    let mut cuts = cuts.iter().cycle();
    let mut rest = stream;
    while !rest.is_empty() {
        let piece = cuts.next().map_or(READ, |cut| usize::from(*cut) + 1).min(rest.len());
        let (piece, left) = rest.split_at(piece);
        framer.room().put_slice(piece);
        frames.extend(std::iter::from_fn(|| framer.next_frame()));
        assert!(framer.held() <= max_line + 1, "{} bytes are held", framer.held());
        framer.rest();
        rest = left;
    }
    frames.extend(framer.finish());
    assert_eq!(framer.held(), 0);
    frames
}

fn plainly(stream: &[u8], max_line: usize) -> Vec<Frame> {
    let mut lines: Vec<&[u8]> = stream.split(|byte| *byte == b'\n').collect();
    let unfinished = lines.pop().unwrap_or_default();
    let ended = lines.into_iter().map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    ended.chain([unfinished]).filter_map(|line| frame(line, max_line)).collect()
}

fn frame(line: &[u8], max_line: usize) -> Option<Frame> {
    if line.len() > max_line {
        return Some(Frame::TooLong);
    }
    let is_blank = line.iter().all(|byte| b" \t\r".contains(byte));
    (!is_blank).then(|| Frame::Line(Bytes::copy_from_slice(line)))
}
