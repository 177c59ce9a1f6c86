//! Log queue: a bounded queue and a writer thread. Logging never blocks; lines that do not fit are dropped, counted
//! and reported later.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use prometheus_client::metrics::counter::Counter;
use tracing_subscriber::fmt::MakeWriter;

/// Lines that may wait for a reader: about a megabyte, and more than a burst of refusals makes.
const LINES_WAITING: usize = 4_096;
/// How often a flush looks whether all is written.
const FLUSH_LOOKS: Duration = Duration::from_millis(5);

/// Where a line ends up.
pub(super) trait LogOutput: Send + 'static {
    /// Writes a whole line. May wait for as long as it takes.
    fn write_line(&mut self, line: &[u8]) -> io::Result<()>;
}

/// Takes lines. Cheap to clone; never waits.
#[derive(Clone, Debug)]
pub(super) struct LogQueue {
    queue: SyncSender<Vec<u8>>,
    counts: Arc<LogCounts>,
}

#[derive(Debug)]
struct LogCounts {
    taken: AtomicU64,
    handled: AtomicU64,
    /// Dropped, and not reported yet.
    untold: AtomicU64,
    dropped: Counter,
}

impl LogQueue {
    /// Starts the thread that writes to `sink`. `dropped` counts what could not be written; `tell` hears of what was
    /// dropped since the last time, once the reader goes on.
    pub(super) fn start(
        sink: impl LogOutput,
        dropped: Counter,
        tell: impl Fn(u64) + Send + 'static,
    ) -> io::Result<Self> {
        let (queue, waiting) = sync_channel(LINES_WAITING);
        let counts = Arc::new(LogCounts {
            taken: AtomicU64::new(0),
            handled: AtomicU64::new(0),
            untold: AtomicU64::new(0),
            dropped,
        });
        let of_thread = counts.clone();
        std::thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || of_thread.write(&waiting, sink, tell))?;
        Ok(Self { queue, counts })
    }

    /// Hands over a line, or drops it.
    pub(super) fn put(&self, line: Vec<u8>) {
        self.counts.taken.fetch_add(1, Ordering::SeqCst);
        if self.queue.try_send(line).is_err() {
            self.counts.handled.fetch_add(1, Ordering::SeqCst);
            self.counts.count_dropped();
        }
    }

    /// Waits until every line so far is written, but no longer than `limit`.
    pub(super) fn flush(&self, limit: Duration) {
        let taken = self.counts.taken.load(Ordering::SeqCst);
        for _ in 0..limit.as_millis() / FLUSH_LOOKS.as_millis() {
            if self.counts.handled.load(Ordering::SeqCst) >= taken {
                return;
            }
            std::thread::sleep(FLUSH_LOOKS);
        }
    }
}

impl LogCounts {
    fn write(&self, waiting: &Receiver<Vec<u8>>, mut sink: impl LogOutput, tell: impl Fn(u64)) {
        while let Ok(line) = waiting.recv() {
            let mut is_written = self.write_one(&line, &mut sink);
            while let Ok(line) = waiting.try_recv() {
                is_written = self.write_one(&line, &mut sink);
            }
            // The queue is empty: what is reported now has room. To a reader that is gone nothing is reported.
            if is_written {
                match self.untold.swap(0, Ordering::SeqCst) {
                    0 => {}
                    lines => tell(lines),
                }
            }
        }
    }

    fn write_one(&self, line: &[u8], sink: &mut impl LogOutput) -> bool {
        let is_written = sink.write_line(line).is_ok();
        if !is_written {
            self.count_dropped();
        }
        self.handled.fetch_add(1, Ordering::SeqCst);
        is_written
    }

    fn count_dropped(&self) {
        self.dropped.inc();
        self.untold.fetch_add(1, Ordering::SeqCst);
    }
}

impl Write for LogQueue {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.put(line.to_vec());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for LogQueue {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// Standard error, without the lock of [`std::io::stderr`]: a thread that waits here must not hold up others.
pub(super) struct Stderr(File);

impl Stderr {
    pub(super) fn open() -> io::Result<Self> {
        Ok(Self(File::from(io::stderr().as_fd().try_clone_to_owned()?)))
    }
}

impl LogOutput for Stderr {
    fn write_line(&mut self, mut line: &[u8]) -> io::Result<()> {
        while !line.is_empty() {
            match self.0.write(line) {
                Ok(written) => line = &line[written..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Whoever started us may have made it so.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    poll(&mut [PollFd::new(self.0.as_fd(), PollFlags::POLLOUT)], PollTimeout::NONE)?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// Hands each line over and waits until it is taken.
    struct Stuck(SyncSender<Vec<u8>>);

    impl LogOutput for Stuck {
        fn write_line(&mut self, line: &[u8]) -> io::Result<()> {
            self.0.send(line.to_vec()).map_err(|_| io::ErrorKind::BrokenPipe.into())
        }
    }

    #[test]
    fn a_reader_that_is_stuck_costs_lines_and_holds_up_nobody() {
        let (sink, reader) = mpsc::sync_channel(0);
        let dropped = Counter::default();
        let (told, heard) = mpsc::channel();
        let lines =
            LogQueue::start(Stuck(sink), dropped.clone(), move |lines| told.send(lines).unwrap()).unwrap();

        // One more than waits in the queue is in the thread's hand.
        let sent = 2 * LINES_WAITING as u64;
        for nth in 0..sent {
            lines.put(nth.to_string().into_bytes());
        }
        let lost = dropped.get();
        let read: Vec<_> = (0..sent - lost).map(|_| reader.recv().unwrap()).collect();
        let told = heard.recv().unwrap();

        assert!(lost >= LINES_WAITING as u64 - 1, "{lost} dropped");
        assert_eq!(read[..2], [b"0".to_vec(), b"1".to_vec()]);
        assert_eq!((dropped.get(), told), (lost, lost));
    }

    #[test]
    fn a_reader_that_is_gone_is_counted() {
        let (sink, reader) = mpsc::sync_channel(0);
        drop(reader);
        let dropped = Counter::default();
        let lines = LogQueue::start(Stuck(sink), dropped.clone(), drop).unwrap();

        lines.put(b"line".to_vec());
        lines.flush(Duration::from_secs(60));

        assert_eq!(dropped.get(), 1);
    }
}
