//! How many requests started in each of the last seconds, on disk: after a restart they still count.
//!
//! ```text
//! 0   magic, 8 bytes · boot id, 16 bytes · 8 bytes of zeros
//! 32  64 records, that of second s at s % 64: second of the boot (u32) · starts (u32) · second since 1970 (i64), little-endian
//! ```
//! A record is written before its request leaves, so that a kill loses none; nothing is synced, since a power cut ends
//! the boot as well. Starts of an earlier boot cannot be placed: unless the file is clearly old, they count as of now.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::clock::{Clock, Mono};

pub(super) const FILE: &str = "starts";
const MAGIC: &[u8; 8] = b"TLSTART1";
const HEADER: usize = 32;
const RECORD: usize = 16;
/// More than the 61 seconds that a start may count for.
const RECORDS: u64 = 64;
const FILE_LEN: usize = HEADER + RECORD * RECORDS as usize;
/// Age by the wall clock from which on starts of an earlier boot count no more: the minute, and another for what was
/// not written when the power was cut.
const OLD_AFTER_SECONDS: i64 = 120;
/// How long a request waits for its record: a disk that stands still must not stop delivery. With what the client may
/// hold a request (`START_HOLDS`) less than the slack of the pace.
const WRITE_WITHIN: Duration = Duration::from_millis(80);

/// What the file said at the start.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Earlier {
    /// Requests started at these instants, in rising order.
    Starts(Vec<Mono>),
    /// As many as may be could have started just now.
    Unknown,
}

/// Writes down each start.
#[derive(Debug)]
pub(super) struct StartLog {
    current: Arc<tokio::sync::Mutex<OpenSecond>>,
    clock: Clock,
    is_failing: AtomicBool,
}

/// The second that is being counted.
#[derive(Debug)]
struct OpenSecond {
    file: File,
    second: u32,
    starts: u32,
}

/// The log, and what it had.
#[derive(Debug)]
pub(super) struct OpenedLog {
    pub(super) log: StartLog,
    pub(super) earlier: Earlier,
}

impl StartLog {
    /// Opens or makes the file, and reads what an earlier process started; `most` may start in a minute. Blocks.
    ///
    /// # Errors
    /// If it can be neither read nor written.
    pub(super) fn open(dir: &Path, clock: Clock, most: u32) -> io::Result<OpenedLog> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(dir.join(FILE))?;
        // Zeros, which no boot has, if the kernel does not tell.
        let boot = clock.boot().map(uuid::Uuid::into_bytes).unwrap_or_default();
        let mut bytes = vec![0; FILE_LEN];
        let earlier = match file.metadata()?.len() {
            0 => Earlier::Starts(Vec::new()),
            len if len == FILE_LEN as u64 => {
                file.read_exact_at(&mut bytes, 0)?;
                earlier(&bytes, boot, &clock, most)
            }
            _ => Earlier::Unknown,
        };
        if bytes[..HEADER] != header(boot) {
            bytes = [&header(boot)[..], &[0; FILE_LEN - HEADER]].concat();
            file.set_len(FILE_LEN as u64)?;
            file.write_all_at(&bytes, 0)?;
        }
        let second = second(clock.mono());
        let starts = records(&bytes).find(|record| record.second == second).map_or(0, |record| record.starts);
        let mut open = OpenSecond { file, second, starts };
        if earlier == Earlier::Unknown {
            // A restart within the minute must find it used up, too.
            open.starts = most.saturating_sub(1);
            open.count(second, clock.unix_ms() / 1000)?;
        }
        let current = Arc::new(tokio::sync::Mutex::new(open));
        let log = Self { current, clock, is_failing: AtomicBool::new(false) };
        Ok(OpenedLog { log, earlier })
    }

    /// A request starts at `now`. Returns once that is written, or when it has taken too long.
    pub(super) async fn started(&self, now: Mono) {
        let wall_second = self.clock.unix_ms() / 1000;
        let written = async {
            let mut current = self.current.clone().lock_owned().await;
            let writing = tokio::task::spawn_blocking(move || current.count(second(now), wall_second));
            writing.await.map_err(io::Error::other)?
        };
        let result =
            tokio::time::timeout(WRITE_WITHIN, written).await.unwrap_or_else(|late| Err(late.into()));
        let was_failing = self.is_failing.swap(result.is_err(), Ordering::Relaxed);
        match result {
            Err(error) if !was_failing => {
                tracing::warn!(%error, "{FILE} in queue.dir cannot be written: after a restart more requests than configured may start within a minute");
            }
            Ok(()) if was_failing => tracing::info!("{FILE} in queue.dir can be written again"),
            _ => {}
        }
    }
}

impl OpenSecond {
    fn count(&mut self, second: u32, wall_second: i64) -> io::Result<()> {
        // Writers may come a little out of order: a start counts as of the later second.
        if second > self.second {
            (self.second, self.starts) = (second, 0);
        }
        self.starts += 1;
        let mut record = [0; RECORD];
        record[..4].copy_from_slice(&self.second.to_le_bytes());
        record[4..8].copy_from_slice(&self.starts.to_le_bytes());
        record[8..].copy_from_slice(&wall_second.to_le_bytes());
        let at = HEADER as u64 + RECORD as u64 * (u64::from(self.second) % RECORDS);
        self.file.write_all_at(&record, at)
    }
}

struct StartRecord {
    second: u32,
    starts: u32,
    wall_second: i64,
}

fn records(bytes: &[u8]) -> impl Iterator<Item = StartRecord> {
    let (records, _) = bytes[HEADER..].as_chunks::<RECORD>();
    let record = |record: &[u8; RECORD]| {
        let [a, b, c, d, e, f, g, h, wall @ ..] = *record;
        StartRecord {
            second: u32::from_le_bytes([a, b, c, d]),
            starts: u32::from_le_bytes([e, f, g, h]),
            wall_second: i64::from_le_bytes(wall),
        }
    };
    records.iter().map(record).filter(|record| record.starts > 0)
}

fn earlier(bytes: &[u8], boot: [u8; 16], clock: &Clock, most: u32) -> Earlier {
    let Some(newest) = records(bytes).map(|record| record.wall_second).max() else {
        return Earlier::Starts(Vec::new());
    };
    if bytes[..HEADER] != header(boot) || boot == [0; 16] {
        let age = (clock.unix_ms() / 1000).saturating_sub(newest);
        let is_old = age > OLD_AFTER_SECONDS && bytes.starts_with(MAGIC);
        return if is_old { Earlier::Starts(Vec::new()) } else { Earlier::Unknown };
    }
    let now = clock.mono();
    let mut starts = Vec::new();
    for record in records(bytes) {
        // Some time in this second: at its end at the latest.
        let at = Mono::from_duration(Duration::from_secs(u64::from(record.second) + 1)).min(now);
        if now.since(at) < Duration::from_secs(RECORDS) {
            starts.extend(std::iter::repeat_n(at, record.starts.min(most) as usize));
        }
    }
    starts.sort_unstable();
    Earlier::Starts(starts)
}

fn header(boot: [u8; 16]) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    header[..8].copy_from_slice(MAGIC);
    header[8..24].copy_from_slice(&boot);
    header
}

fn second(at: Mono) -> u32 {
    u32::try_from(at.since(Mono::default()).as_secs()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: u32 = 300;

    fn starts(earlier: Earlier) -> usize {
        match earlier {
            Earlier::Starts(starts) => starts.len(),
            Earlier::Unknown => usize::MAX,
        }
    }

    #[tokio::test]
    async fn what_was_started_within_the_minute_is_known_after_a_restart_and_then_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let clock = Clock::manual(1_000_000);
        let OpenedLog { log, earlier } = StartLog::open(dir.path(), clock.clone(), MOST).unwrap();
        assert_eq!(starts(earlier), 0);

        for second in 0..30 {
            for _ in 0..=second % 3 {
                log.started(clock.mono()).await;
            }
            clock.advance(Duration::from_secs(1));
        }

        let open = || starts(StartLog::open(dir.path(), clock.clone(), MOST).unwrap().earlier);
        assert_eq!(open(), 60);
        clock.advance(Duration::from_secs(15));
        assert_eq!(open(), 60);
        clock.advance(Duration::from_secs(40));
        assert!((1..60).contains(&open()), "{}", open());
        clock.advance(Duration::from_secs(60));
        assert_eq!(open(), 0);
    }

    #[tokio::test]
    async fn starts_in_one_second_add_up_over_restarts() {
        let dir = tempfile::tempdir().unwrap();
        let clock = Clock::manual(1_000_000);

        for _ in 0..5 {
            let OpenedLog { log, .. } = StartLog::open(dir.path(), clock.clone(), MOST).unwrap();
            log.started(clock.mono()).await;
        }

        assert_eq!(starts(StartLog::open(dir.path(), clock, MOST).unwrap().earlier), 5);
    }

    #[tokio::test]
    async fn of_an_earlier_boot_all_that_may_be_is_assumed_unless_it_is_old() {
        let dir = tempfile::tempdir().unwrap();
        let clock = Clock::manual(1_000_000);
        let OpenedLog { log, .. } = StartLog::open(dir.path(), clock.clone(), MOST).unwrap();
        log.started(clock.mono()).await;
        let path = dir.path().join(FILE);
        let mut other_boot = std::fs::read(&path).unwrap();
        other_boot[8] ^= 1;
        let open = |clock: &Clock| {
            std::fs::write(&path, &other_boot).unwrap();
            StartLog::open(dir.path(), clock.clone(), MOST).unwrap().earlier
        };

        assert_eq!(open(&clock), Earlier::Unknown);
        assert_eq!(open(&Clock::manual(0)), Earlier::Unknown, "a clock that was not set yet");
        clock.advance(Duration::from_secs(121));
        assert_eq!(open(&clock), Earlier::Starts(Vec::new()));
        std::fs::write(&path, b"torn").unwrap();
        assert_eq!(StartLog::open(dir.path(), clock.clone(), MOST).unwrap().earlier, Earlier::Unknown);
        // The next process must not take the empty file for a minute without starts.
        clock.advance(Duration::from_secs(6));
        assert_eq!(starts(StartLog::open(dir.path(), clock, MOST).unwrap().earlier), MOST as usize);
    }
}
