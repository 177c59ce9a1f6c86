//! A disk that does not give what was written to it, for a while: nothing is lost for it, and nothing deleted.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(unsafe_code, reason = "the one way to stand between the store and the kernel")]

mod queue_support;

use std::ops::Range;
use std::os::fd::RawFd;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use queue_support::{append, close, copy, event, event_in, files, open, read_all, settle};
use trunkline::event::Lane;
use trunkline::queue::{Outcome, Queue, Stored};

const LANE: Lane = Lane::Conversations;
const LANE_DIR: &str = "lanes/conversations";
/// Above what a queue takes to let go of what is settled once nothing comes.
const REST: Duration = Duration::from_millis(3_500);
/// Well below what a start waits for a disk.
const A_MOMENT: Duration = Duration::from_millis(1_500);

/// Which part of which databases the disk does not give: one disk, so one test at a time.
static BAD: Mutex<Option<(&str, Range<i64>)>> = Mutex::new(None);
static ONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

fn bad() -> Option<(&'static str, Range<i64>)> {
    BAD.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// From now on the databases below `part` fail where `bytes` says.
fn fail(part: &'static str, bytes: Range<i64>) {
    *BAD.lock().unwrap() = Some((part, bytes));
}

fn heal() {
    *BAD.lock().unwrap() = None;
}

#[unsafe(no_mangle)]
extern "C" fn pread64(fd: RawFd, bytes: *mut libc::c_void, count: usize, at: i64) -> isize {
    if let Some((part, range)) = bad()
        && at < range.end
        && at.saturating_add_unsigned(count as u64) > range.start
    {
        let path = std::fs::read_link(format!("/proc/self/fd/{fd}")).unwrap_or_default();
        if path.ends_with("db") && path.to_string_lossy().contains(part) {
            unsafe { *libc::__errno_location() = libc::EIO };
            return -1;
        }
    }
    unsafe { libc::syscall(libc::SYS_pread64, fd, bytes, count, at) as isize }
}

/// Thirty events of 3 kB, a commit each, and what a kill leaves of them.
async fn killed_queue(killed: &Path) -> Vec<Stored> {
    let home = tempfile::tempdir().unwrap();
    let queue = open(home.path());
    let mut stored = Vec::new();
    for _ in 0..30 {
        stored.extend(append(&queue, vec![event_in(LANE, vec![b'x'; 3_000])]).await);
    }
    copy(home.path(), killed);
    close(queue).await;
    stored
}

async fn open_aside(dir: &Path) -> Queue {
    let dir = dir.to_path_buf();
    tokio::task::spawn_blocking(move || open(&dir)).await.unwrap()
}

#[tokio::test]
async fn what_the_disk_does_not_give_at_a_start_comes_with_the_next_one() {
    let _one = ONE.lock().await;
    for range in [40_000..i64::MAX, 20_000..28_000] {
        let dir = tempfile::tempdir().unwrap();
        let stored = killed_queue(dir.path()).await;

        fail(LANE_DIR, range.clone());
        let queue = open_aside(dir.path()).await;
        heal();
        let mut read = read_all(&queue, LANE).await;
        let at_first = read.len();
        settle(&queue, &read, Outcome::Delivered).await;
        let new = append(&queue, vec![event("{\"new\":1}")]).await;
        settle(&queue, &new, Outcome::Delivered).await;
        tokio::time::sleep(REST).await;
        close(queue).await;
        let kept = files(&dir.path().join("queue/quarantine"));
        let queue = open_aside(dir.path()).await;
        read.extend(read_all(&queue, LANE).await);
        close(queue).await;

        read.sort_by_key(|stored| stored.seq);
        assert!((1..30).contains(&at_first), "{range:?}: {at_first} of 30 at first");
        assert!(read == stored, "{range:?}: {} of 30", read.len());
        assert!(kept.iter().any(|path| path.ends_with("db")), "{range:?}: {kept:?}");
    }
}

#[tokio::test]
async fn a_start_waits_some_seconds_for_a_disk_that_does_not_give() {
    let _one = ONE.lock().await;
    let dir = tempfile::tempdir().unwrap();
    let stored = killed_queue(dir.path()).await;

    fail(LANE_DIR, 40_000..i64::MAX);
    let healing = tokio::spawn(async {
        tokio::time::sleep(A_MOMENT).await;
        heal();
    });
    let queue = open_aside(dir.path()).await;
    healing.await.unwrap();

    assert!(read_all(&queue, LANE).await == stored);
    assert_eq!(files(&dir.path().join("queue/quarantine")), [] as [std::path::PathBuf; 0]);
    close(queue).await;
}
