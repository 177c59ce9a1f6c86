//! One sync fails with EIO, each of a run in turn, and then the power goes: what was answered is there, what
//! was refused is not. The kernel counts the pages of a failed sync as written; the store must not.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::IteratorRandom;
use tokio::runtime::Builder;
use trunkline::event::Lane;
use trunkline::queue::{AppendError, Outcome, QueueError};
use uuid::Uuid;

use crate::kit::dead;
use crate::layer::Cut;
use crate::layer::run::{FILL, Run, event, killed_before_its_sync, open};
use crate::layer::told::{Account, assert_none, faults_after, read_all};

const A: Lane = Lane::Conversations;
const B: Lane = Lane::Presence;
/// Cuts that are looked at after each fault, beside the last one.
const CUTS: usize = 2;
/// Runs at a time: much of a run is waiting.
const THREADS: usize = 3;

/// A run in which any one thing may fail, once.
struct Faulty {
    run: Run,
    failed: Vec<String>,
}

impl Faulty {
    /// Appends; after a refusal other events are taken.
    async fn append(&mut self, groups: &[(Lane, usize, usize)]) -> Vec<Uuid> {
        match self.run.append(groups).await {
            Ok(ids) => ids,
            Err(error @ AppendError::Storage(_)) => {
                self.failed.push(format!("append: {error}"));
                self.run.append(groups).await.unwrap()
            }
            Err(error) => panic!("no fault of the storage: {error}"),
        }
    }

    async fn settle(&mut self, ids: &[Uuid], outcome: Outcome) {
        if let Err(error) = self.run.settle(ids, outcome.clone()).await {
            let again = self.run.settle(ids, outcome).await;
            self.failed.push(format!("settle: {error}; again: {again:?}"));
        }
    }

    fn discard(&mut self, id: Uuid) {
        if let Err(error) = self.run.discard(id) {
            let again = self.run.discard(id);
            self.failed.push(format!("discard: {error}; again: {again:?}"));
        }
    }

    fn reopen(&mut self) {
        if let Err(error) = self.run.reopen() {
            self.failed.push(format!("open: {error}"));
            self.run.reopen().unwrap();
        }
    }
}

/// Appends, settlements and changes of segments, with the `nth` sync failing; the queue stays open.
async fn faulty_run(dir: &Path, nth: usize) -> Faulty {
    let run = Run::over(dir, nth as u64, Account::default());
    run.layer.fail_sync(nth);
    let mut faulty = Faulty { run, failed: Vec::new() };
    faulty.reopen();
    let first = faulty.append(&[(A, 2, 300)]).await;
    faulty.append(&[(A, 1, 300), (B, 2, 30_000), (A, 1, 90)]).await;
    faulty.settle(&first[..1], Outcome::Delivered).await;
    let full = faulty.append(&[(A, FILL.0, FILL.1)]).await;
    faulty.settle(&full[..2], dead("no such user")).await;
    faulty.append(&[(A, 2, 300), (B, 1, 300)]).await;
    faulty.settle(&full[2..], Outcome::Delivered).await;
    faulty.discard(full[0]);
    let rest = faulty.run.unsettled(A);
    faulty.settle(&rest[..rest.len() - 1], Outcome::Delivered).await;
    faulty.reopen();
    let last = faulty.append(&[(A, 2, 300), (B, 2, 300)]).await;
    faulty.settle(&last[..1], dead("no such user")).await;
    faulty.append(&[(A, 1, 300), (B, 1, 300)]).await;
    faulty
}

/// The last cut, and some of those that keep a part of what was unsynced: of a failed sync too.
fn some_cuts(run: &Run, seed: u64) -> Vec<Cut> {
    let last = run.layer.cuts().pop();
    let torn = run.layer.torn_cuts().into_iter().sample(&mut StdRng::seed_from_u64(seed), CUTS);
    torn.into_iter().chain(last).collect()
}

/// What goes wrong when the `nth` sync of the run fails; nothing if there is no such sync.
async fn faults_of(nth: usize) -> Option<Vec<String>> {
    let dir = tempfile::tempdir().unwrap();
    let Faulty { mut run, failed } = faulty_run(dir.path(), nth).await;
    let Some(path) = run.layer.fault() else {
        run.close();
        return None;
    };
    let mut found = run.account.faults_while_running(run.queue(), run.layer.syncs()).await;
    found.extend(faults_after(some_cuts(&run, nth as u64), &run.account));
    if failed.len() > 1 || failed.iter().any(|failed| failed.contains("again: Err")) {
        found.push("more than one thing fails".to_owned());
    }
    run.close();
    let line = |fault| format!("{nth} of {} fails: {fault}; {failed:?}", path.display());
    Some(found.into_iter().take(3).map(line).collect())
}

#[test]
fn a_cut_after_any_failed_sync_leaves_what_was_answered_and_nothing_that_was_refused() {
    let (nth, faults) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let work = || {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        while let Some(found) = runtime.block_on(faults_of(nth.fetch_add(1, Ordering::SeqCst) + 1)) {
            faults.lock().unwrap().extend(found);
        }
    };

    std::thread::scope(|threads| (0..THREADS).for_each(|_| drop(threads.spawn(work))));

    assert!(nth.into_inner() > 20, "a run hardly syncs");
    assert_none(&faults.into_inner().unwrap());
}

/// What goes wrong when the `nth` sync after the call of a settlement fails; nothing if it takes fewer.
async fn faults_of_settling(outcome: &Outcome, nth: usize) -> Option<Vec<String>> {
    let dir = tempfile::tempdir().unwrap();
    let mut run = Run::over(dir.path(), nth as u64, Account::default());
    run.reopen().unwrap();
    let ids = run.append(&[(A, 4, 300), (B, 1, 300)]).await.unwrap();
    run.settle(&ids[..1], outcome.clone()).await.unwrap();
    run.settle_down().await;
    let before = run.layer.syncs();
    run.layer.fail_sync(nth);
    let settled = run.settle(&ids[1..3], outcome.clone()).await;
    let Some(path) = run.layer.fault() else {
        run.close();
        return None;
    };
    let again = run.settle(&ids[1..3], outcome.clone()).await;
    run.append(&[(A, 1, 300)]).await.unwrap();
    let cuts = run.layer.cuts().into_iter().filter(|cut| cut.at >= before).collect();
    let mut found = faults_after(cuts, &run.account);
    run.close();
    // No error is right too if something else was written and synced instead: the cuts show it.
    if !matches!(settled, Ok(()) | Err(QueueError::Storage(_))) || again.is_err() {
        found.push(format!("first {settled:?}, again {again:?}"));
    }
    let line = |fault| format!("{outcome:?}, {nth} of {} fails: {fault}", path.display());
    Some(found.into_iter().map(line).collect())
}

#[tokio::test]
async fn a_settlement_whose_sync_fails_is_no_settlement_until_the_same_again_is_answered() {
    let mut faults = Vec::new();

    for outcome in [Outcome::Delivered, dead("no such user")] {
        let mut nth = 1;
        while let Some(found) = faults_of_settling(&outcome, nth).await {
            faults.extend(found);
            nth += 1;
        }
        assert!(nth > 1, "a settlement without a sync");
    }

    assert_none(&faults);
}

/// What goes wrong when the `nth` sync fails of a start after a kill and of the repeat that follows;
/// nothing if there are fewer.
async fn faults_of_a_repeat(nth: usize) -> Option<Vec<String>> {
    let disk = tempfile::tempdir().unwrap();
    let [answered, unanswered] = [1, 2].map(|id| event(Uuid::from_u128(id), A, 300));
    let layer = killed_before_its_sync(disk.path(), answered, unanswered.clone()).await;
    layer.fail_sync(nth);
    let queue = open(disk.path()).or_else(|_| open(disk.path())).unwrap();
    let mut taken = queue.writer().submit(vec![unanswered.clone()]).await;
    if taken[0].is_err() {
        taken = queue.writer().submit(vec![unanswered]).await;
    }
    let told_at = layer.syncs();
    queue.close();
    let path = layer.fault()?;
    let mut found = Vec::new();
    for cut in layer.cuts().into_iter().filter(|cut| cut.at >= told_at) {
        let dir = tempfile::tempdir().unwrap();
        cut.build(dir.path());
        let queue = open(dir.path()).unwrap();
        let left: BTreeSet<Uuid> =
            read_all(&queue, A).await.into_iter().map(|stored| stored.event.event_id).collect();
        if left.len() != 2 || taken[0].is_err() {
            let path = path.display();
            found.push(format!("{nth} of {path} fails: {taken:?}, {} left after {}", left.len(), cut.at));
        }
        queue.close();
    }
    Some(found)
}

#[tokio::test]
async fn a_repeat_after_a_kill_is_on_the_disk_when_it_is_answered_though_any_sync_of_the_start_fails() {
    let (mut nth, mut faults) = (1, Vec::new());

    while let Some(found) = faults_of_a_repeat(nth).await {
        faults.extend(found);
        nth += 1;
    }

    assert!(nth > 5, "a start hardly syncs");
    assert_none(&faults);
}
