//! How the daemon's tasks end, and what that means for the daemon.

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub(super) const RELAY: &str = "relay";
pub(super) const DOOR: &str = "a door";
pub(super) const ADMIN: &str = "the admin server";

/// Returns at the stop, or `false` as soon as a task ends before.
pub(super) async fn all_run(
    stop: &CancellationToken,
    relay: &mut JoinSet<()>,
    doors: &mut JoinSet<()>,
    windows: &mut JoinSet<()>,
) -> bool {
    let (ended, what) = tokio::select! {
        biased;
        // What ends from now on ends for that.
        () = stop.cancelled() => return true,
        Some(ended) = relay.join_next() => (ended, RELAY),
        Some(ended) = doors.join_next() => (ended, DOOR),
        Some(ended) = windows.join_next() => (ended, ADMIN),
    };
    joined(ended, what);
    tracing::error!(task = what, "an essential task ended: stopping");
    false
}

pub(super) async fn all_joined(tasks: &mut JoinSet<()>, what: &str) -> bool {
    let mut is_well = true;
    while let Some(ended) = tasks.join_next().await {
        is_well &= joined(ended, what);
    }
    is_well
}

/// The same, but waits no longer once `now` is cancelled: what a peer has under way is dropped.
pub(super) async fn all_joined_unless(now: &CancellationToken, tasks: &mut JoinSet<()>, what: &str) -> bool {
    now.run_until_cancelled(all_joined(tasks, what)).await.unwrap_or(true)
}

/// A task that panicked has lost its work in memory; what it held lies on disk. `false` if it did.
pub(super) fn joined<T>(result: Result<T, tokio::task::JoinError>, what: &str) -> bool {
    match result {
        Err(error) if !error.is_cancelled() => {
            // Not the error itself: it holds the panic's text.
            tracing::error!(task = what, "a task panicked");
            false
        }
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn running() -> JoinSet<()> {
        JoinSet::from_iter([std::future::pending()])
    }

    #[tokio::test]
    async fn any_task_that_ends_before_the_stop_ends_the_run_as_a_failure() {
        for which in 0..3 {
            let mut sets = [running(), running(), running()];
            sets[which].spawn(async { panic!("a fault") });
            let [relay, doors, windows] = &mut sets;

            assert!(!all_run(&CancellationToken::new(), relay, doors, windows).await);
        }
        let mut by_itself = JoinSet::from_iter([std::future::ready(())]);
        assert!(!all_run(&CancellationToken::new(), &mut by_itself, &mut running(), &mut running()).await);
    }

    #[tokio::test]
    async fn nobody_waits_for_a_peer_at_the_second_signal() {
        let now = CancellationToken::new();
        now.cancel();

        assert!(all_joined_unless(&now, &mut running(), DOOR).await);
    }

    #[tokio::test]
    async fn what_ends_for_a_stop_is_no_failure_unless_it_panics() {
        let stop = CancellationToken::new();
        stop.cancel();
        let mut relay = JoinSet::from_iter([std::future::ready(())]);
        let mut window = JoinSet::new();
        window.spawn(async { panic!("a fault") });

        assert!(all_run(&stop, &mut relay, &mut running(), &mut running()).await);
        assert!(all_joined(&mut relay, RELAY).await);
        assert!(!all_joined(&mut window, ADMIN).await);
    }
}
