//! The real store on a disk that loses all unsynced writes, cut after each sync of a run in turn: what was
//! answered is there, what was settled is gone. A kill (`tests/delivery/kill.rs`) proves less: the page cache survives it.

use std::path::Path;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::IteratorRandom;
use rand::{RngExt, SeedableRng};
use trunkline::event::Lane;
use trunkline::queue::{Appended, Outcome};
use uuid::Uuid;

use crate::kit::dead;
use crate::layer::run::{FILL, Run, event, killed_before_its_sync, open};
use crate::layer::told::{Account, assert_none, faults_after, read_all};

const A: Lane = Lane::Conversations;
const B: Lane = Lane::Presence;
const C: Lane = Lane::CustomKpi;
/// So large that the store may keep some together apart from its log.
const HUGE: usize = 600_000;
/// How long a queue with nothing to do may take to tidy up.
const REST: Duration = Duration::from_millis(2_500);
/// First cuts after which a second one is tried everywhere.
const SECOND_CUTS: usize = 3;

/// Appends in three lanes, alone and together, settlements of all kinds, changes and deletions of
/// segments, a new opening, a rest.
async fn busy_run(dir: &Path, seed: u64) -> Run {
    let mut run = Run::over(dir, seed, Account::default());
    run.reopen().unwrap();
    for round in 0..4 {
        for lane in [A, B, C] {
            run.append(&[(lane, 1, 300)]).await.unwrap();
        }
        run.append(&[(A, 2, 300), (B, 3, 3_000), (A, 1, 30_000), (C, 1, 90), (A, 1, 90)]).await.unwrap();
        let waiting = run.unsettled([A, B, C][round % 3]);
        run.settle(&waiting[1..2], dead("no such user")).await.unwrap();
        run.settle(&waiting[..1], Outcome::Delivered).await.unwrap();
        match round {
            0 => {
                run.append(&[(A, FILL.0, FILL.1)]).await.unwrap();
                run.append(&[(A, 1, 300), (B, 1, 300)]).await.unwrap();
                let both = [run.unsettled(A)[1..9].to_vec(), run.unsettled(B)[1..2].to_vec()].concat();
                run.settle(&both, Outcome::Delivered).await.unwrap();
            }
            1 => {
                run.append(&[(B, 6, HUGE)]).await.unwrap();
                run.discard(waiting[1]).unwrap();
                run.reopen().unwrap();
            }
            2 => {
                run.append(&[(A, FILL.0, FILL.1), (C, FILL.0, FILL.1)]).await.unwrap();
                run.settle(&run.unsettled(A), Outcome::Delivered).await.unwrap();
            }
            _ => run.discard(waiting[1]).unwrap(),
        }
    }
    run.settle(&run.unsettled(A), dead("no such user")).await.unwrap();
    run.settle(&run.unsettled(C)[2..], Outcome::Delivered).await.unwrap();
    let before = run.layer.syncs();
    let rested = async {
        while run.layer.syncs() == before {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    // A queue that does nothing at rest is as good.
    let _ = tokio::time::timeout(REST, rested).await;
    run.append(&[(A, 1, 300), (B, 1, 300)]).await.unwrap();
    run.close();
    run
}

#[tokio::test]
async fn a_cut_after_any_sync_leaves_all_that_was_answered() {
    let dir = tempfile::tempdir().unwrap();
    let run = busy_run(dir.path(), 1).await;

    let faults = faults_after(run.layer.cuts(), &run.account);

    assert_none(&faults);
}

#[tokio::test]
async fn a_cut_that_spares_a_random_half_of_what_was_unsynced_leaves_it_too() {
    let dir = tempfile::tempdir().unwrap();
    let run = busy_run(dir.path(), 2).await;

    let faults = faults_after(run.layer.torn_cuts(), &run.account);

    assert_none(&faults);
}

#[tokio::test]
async fn a_second_cut_after_any_sync_of_the_start_that_follows_takes_nothing_either() {
    let dir = tempfile::tempdir().unwrap();
    let first = busy_run(dir.path(), 3).await;
    let mut random = StdRng::seed_from_u64(3);
    let cuts = first.layer.cuts().into_iter().chain(first.layer.torn_cuts());
    let mut faults = Vec::new();

    for cut in cuts.sample(&mut random, SECOND_CUTS) {
        let dir = tempfile::tempdir().unwrap();
        cut.build(dir.path());
        let mut run = Run::over(dir.path(), random.random(), first.account.after_cut(cut.at));
        run.reopen().unwrap();
        let new = run.append(&[(A, 2, 300), (B, 1, 300), (C, 1, 300)]).await.unwrap();
        run.settle(&new[..1], dead("no such user")).await.unwrap();
        run.settle(&run.unsettled(A), Outcome::Delivered).await.unwrap();
        run.close();
        // What the first one left half written may lie there still.
        let mut after = run.layer.cuts();
        after.iter_mut().for_each(|second| second.is_torn = cut.is_torn);
        let found = faults_after(after, &run.account);
        let line = |fault| format!("first cut after sync {}, then {fault}", cut.at);
        faults.extend(found.into_iter().map(line));
    }

    assert_none(&faults);
}

#[tokio::test]
async fn a_repeat_after_a_kill_is_answered_only_once_it_is_on_the_disk() {
    let disk = tempfile::tempdir().unwrap();
    let [answered, unanswered] = [1, 2].map(|id| event(Uuid::from_u128(id), A, 300));
    let layer = killed_before_its_sync(disk.path(), answered.clone(), unanswered.clone()).await;

    let queue = open(disk.path()).unwrap();
    let again = queue.writer().submit(vec![unanswered.clone()]).await;
    let told_at = layer.syncs();
    queue.close();

    assert_eq!(again, [Ok(Appended::Duplicate)]);
    for cut in layer.cuts().into_iter().filter(|cut| cut.at >= told_at) {
        let dir = tempfile::tempdir().unwrap();
        cut.build(dir.path());
        let queue = open(dir.path()).unwrap();
        let left: Vec<_> = read_all(&queue, A).await.into_iter().map(|stored| stored.event).collect();
        assert!(left == [answered.clone(), unanswered.clone()], "{} of 2 after sync {}", left.len(), cut.at);
        queue.close();
    }
}

#[tokio::test]
async fn each_answer_and_each_group_of_answers_waits_for_one_sync_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let mut run = Run::over(dir.path(), 4, Account::default());
    run.reopen().unwrap();
    run.append(&[(A, 1, 50)]).await.unwrap();
    run.settle_down().await;
    let mut taken = Vec::new();

    for nth in 0..40 {
        let (before, data_before) = (run.layer.syncs(), run.layer.data_syncs());
        let count = if nth % 4 == 0 { 10 } else { 1 };
        run.append(&[(A, count, 50)]).await.unwrap();
        taken.push((run.layer.syncs() - before, run.layer.data_syncs() - data_before));
    }

    assert_eq!(taken, [(1, 1); 40]);
    run.close();
}
