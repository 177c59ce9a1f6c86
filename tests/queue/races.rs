//! The queue while it is written and read at once, and with chunks of every size.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use trunkline::event::{Envelope, Lane};
use trunkline::queue::{Appended, Backlog, Seq};

use crate::kit::{append, close, copy, event_in, files, read_all, settings, small_segments, try_open};

const LANE: Lane = Lane::Conversations;
/// Several segments of them.
const COMMITS: usize = 600;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_follows_the_writer_passes_over_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let queue = try_open(&small_segments(dir.path())).unwrap();
    let (writer, reader) = (queue.writer(), queue.reader());
    let writing = tokio::spawn(async move {
        let mut last: Seq = 0;
        for _ in 0..COMMITS {
            for result in writer.submit(vec![event_in(LANE, "{}"), event_in(LANE, "{}")]).await {
                let Ok(Appended::Stored(seq)) = result else { panic!("{result:?}") };
                last = seq;
            }
        }
        last
    });

    let (mut from, mut read): (Seq, Vec<Seq>) = (1, Vec::new());
    while !writing.is_finished() {
        let page = reader.read(LANE, from, 100, 1 << 20).await.unwrap();
        from = page.next;
        read.extend(page.events.iter().map(|stored| stored.seq));
    }
    let last = writing.await.unwrap();
    let page = reader.read(LANE, from, usize::MAX, usize::MAX).await.unwrap();
    read.extend(page.events.iter().map(|stored| stored.seq));

    let all: Vec<Seq> = read_all(&queue, LANE).await.iter().map(|stored| stored.seq).collect();
    assert_eq!(read.last(), Some(&last));
    assert!(read == all, "{} of {} were read", read.len(), all.len());
    close(queue).await;
}

#[tokio::test]
async fn commits_of_every_size_stand_whole_in_the_file_that_a_kill_leaves() {
    for seed in 0..12 {
        let (dir, killed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut random = StdRng::seed_from_u64(seed);
        let queue = try_open(&settings(dir.path(), "")).unwrap();
        let (mut bytes, mut stored) = (0, Vec::new());
        while bytes < 5 << 20 {
            let is_bulk = random.random_range(0..30) == 0;
            let count = if is_bulk { random.random_range(100..900) } else { random.random_range(1..6) };
            let size = if is_bulk { random.random_range(100..2_000) } else { random.random_range(50..600) };
            bytes += count * size;
            let events: Vec<Envelope> = (0..count).map(|_| event_in(LANE, vec![b'x'; size])).collect();
            stored.extend(append(&queue, events).await);
        }

        copy(dir.path(), killed.path());
        close(queue).await;
        let queue = try_open(&settings(killed.path(), "")).unwrap();

        assert!(read_all(&queue, LANE).await == stored, "seed {seed}: not as appended");
        let in_blobs = |path: &std::path::PathBuf| path.parent().unwrap().ends_with("blobs");
        assert!(!files(dir.path()).iter().any(in_blobs), "seed {seed}: the store made blobs");
        close(queue).await;
    }
}
