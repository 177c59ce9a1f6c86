//! Lines from files or stdin, read on a blocking thread, each made safe to be sent twice.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::PathBuf;

use bytes::Bytes;
use tokio::sync::mpsc::Sender;

use super::fill::{FilledLine, fill_ids};
use crate::event::is_utf16;

/// Longest line that is read. Far above any `max_line`; the daemon gives the right answer to less.
const MAX_LINE: u64 = 64 * 1024 * 1024;

/// A line to be sent.
#[derive(Clone, Debug)]
pub(super) struct Line {
    /// With ids and a line feed.
    pub(super) bytes: Bytes,
    /// Events in it; 0 if it is not a body.
    pub(super) events: usize,
    /// File and line number for people.
    pub(super) place: String,
}

/// A file that could not be read.
#[derive(Debug)]
pub(super) struct InputError {
    pub(super) file: PathBuf,
    pub(super) source: io::Error,
}

/// Opens each file once and closes it, so that a missing one is reported before anything is sent. A pipe is left
/// alone: opening it may wait for its writer, and closing it ends it.
pub(super) fn look_at(files: &[PathBuf]) -> Result<(), InputError> {
    let look = |file: &PathBuf| {
        let kind = std::fs::metadata(file)?.file_type();
        if kind.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        if kind.is_file() {
            File::open(file)?;
        }
        Ok(())
    };
    for file in files.iter().filter(|file| file.as_os_str() != "-") {
        look(file).map_err(|source| InputError { file: file.clone(), source })?;
    }
    Ok(())
}

/// Reads `files` in order, or stdin if there are none; `-` is stdin. Ends early if nobody listens.
pub(super) fn read_all(files: &[PathBuf], lines: &Sender<Result<Line, InputError>>) {
    let stdin = [PathBuf::from("-")];
    let files = if files.is_empty() { &stdin } else { files };
    for file in files {
        match read_file(file, lines) {
            Ok(true) => {}
            Ok(false) => return,
            Err(source) => {
                let _ = lines.blocking_send(Err(InputError { file: file.clone(), source }));
                return;
            }
        }
    }
}

/// Takes a byte order mark off the first line: editors on Windows write one.
fn take_byte_order_mark(line: &mut Vec<u8>) -> io::Result<()> {
    if line.starts_with(b"\xef\xbb\xbf") {
        line.drain(..3);
    }
    if is_utf16(line) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is UTF-16; save it as UTF-8"));
    }
    Ok(())
}

/// False if nobody listens any more.
fn read_file(file: &PathBuf, lines: &Sender<Result<Line, InputError>>) -> io::Result<bool> {
    let mut reader: Box<dyn BufRead> = if file.as_os_str() == "-" {
        Box::new(io::stdin().lock())
    } else {
        Box::new(BufReader::new(File::open(file)?))
    };
    let mut number: u64 = 0;
    loop {
        let mut line = Vec::new();
        number += 1;
        if reader.by_ref().take(MAX_LINE).read_until(b'\n', &mut line)? == 0 {
            return Ok(true);
        }
        if line.last() != Some(&b'\n') && line.len() as u64 == MAX_LINE {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("line {number} is over 64 MiB")));
        }
        if number == 1 {
            take_byte_order_mark(&mut line)?;
        }
        while matches!(line.last(), Some(b'\n' | b'\r')) {
            line.pop();
        }
        if line.iter().all(|byte| matches!(byte, b' ' | b'\t' | b'\r')) {
            continue;
        }
        let FilledLine { mut bytes, events } = fill_ids(line);
        bytes.push(b'\n');
        let line = Line { bytes: bytes.into(), events, place: format!("{}:{number}", file.display()) };
        if lines.blocking_send(Ok(line)).is_err() {
            return Ok(false);
        }
    }
}
