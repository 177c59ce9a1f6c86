//! `[queue]`: what rests on disk, and for how long.

use std::path::PathBuf;
use std::time::Duration;

use super::key::{ConfigKey, ValueType, key};
use super::values::Values;

/// `[queue]`
#[derive(Clone, Debug)]
pub struct QueueConfig {
    /// Directory of everything durable.
    pub dir: PathBuf,
    /// Allocated bytes under `dir` at most.
    pub max_size: u64,
    /// Part of `max_size` that each lane may always use, 0.0 to 0.25.
    pub lane_reserve: f64,
    /// Free bytes on the file system below which events are refused.
    pub min_free_disk: u64,
    /// How long an (array, `eventId`) is remembered; zero: off.
    pub dedupe_window: Duration,
    /// How long the ledger keeps an event's entry.
    pub keep_ledger: Duration,
    /// Ledger's size at most, bytes.
    pub keep_ledger_size: u64,
    /// Age at which a dead letter is discarded; zero: never.
    pub dead_letters_max_age: Duration,
    /// Bytes of chunks after which the next segment begins. No key: a matter of the format that tests
    /// make small.
    pub segment_bytes: u64,
}

/// Four segments that are written at once take 53 MB in memory at this size, 219 MB at 32 MiB.
const SEGMENT_BYTES: u64 = 6 << 20;

/// Least `queue.max_size`: 256 MiB.
const SIZE_MIN: u64 = 256 << 20;

pub(super) const KEYS: &[ConfigKey] = &[
    key(
        "queue.dir",
        "/var/lib/trunkline",
        ValueType::Path,
        "Directory for everything on disk; created with mode 0700, files 0600.",
    )
    .read_at_start(),
    key(
        "queue.max_size",
        "4GiB",
        ValueType::Size { min: SIZE_MIN },
        "Most disk space used under dir, at least 256MiB. When it is full, events are refused as retryable.",
    ),
    key(
        "queue.lane_reserve",
        "5%",
        ValueType::Percent { max: 25 },
        "Share of max_size reserved for each lane.",
    ),
    key(
        "queue.min_free_disk",
        "256MiB",
        ValueType::Size { min: 0 },
        "When the file system has less free space than this, the ledger shrinks first; then events are refused.",
    ),
    key(
        "queue.dedupe_window",
        "15m",
        ValueType::Duration { off: true },
        "How long an (array, eventId) is remembered to recognise duplicates; at most the newest 500,000 ids. \"0s\": off.",
    )
    .read_at_start(),
    key(
        "queue.keep_ledger",
        "72h",
        ValueType::Duration { off: false },
        "How long `trace` can tell what happened to an event.",
    ),
    key("queue.keep_ledger_size", "512MiB", ValueType::Size { min: 0 }, "Most disk space used by the ledger."),
    key(
        "queue.dead_letters_max_age",
        "30d",
        ValueType::Duration { off: true },
        "Dead letters older than this are discarded and counted. \"0s\": never.",
    ),
];

/// Reads the section.
pub(super) fn read(values: &mut Values<'_>) -> QueueConfig {
    QueueConfig {
        dir: values.path("queue.dir").unwrap_or_default(),
        max_size: values.size("queue.max_size"),
        lane_reserve: values.percent("queue.lane_reserve"),
        min_free_disk: values.size("queue.min_free_disk"),
        dedupe_window: values.duration("queue.dedupe_window"),
        keep_ledger: values.duration("queue.keep_ledger"),
        keep_ledger_size: values.size("queue.keep_ledger_size"),
        dead_letters_max_age: values.duration("queue.dead_letters_max_age"),
        segment_bytes: SEGMENT_BYTES,
    }
}
