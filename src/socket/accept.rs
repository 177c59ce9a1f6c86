//! The accept loop of everything that listens.
//!
//! ```text
//! accept ──> welcome (at once: is there a place?) ──> a task of its own ──> joined
//!   └─ fails: logged, paused, tried again
//! ```
//!
//! Invariants
//! - Each connection's task is owned by the loop. Dropping the loop ends them all.
//! - A panic in a connection's task is a panic of the loop: what connections share may be half changed.
//! - A failing accept cannot fill the log.

use std::io;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::Peer;
use crate::clock::{Clock, Mono};
use crate::panic;

/// Pause after a failed accept: out of file descriptors, it fails again at once.
const PAUSE: Duration = Duration::from_millis(100);

/// A lasting fault is logged this often.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// What connections come from.
pub trait Listener: Send + 'static {
    /// A connection.
    type Stream: Send + 'static;

    /// The next connection. Safe to drop before it is done.
    ///
    /// # Errors
    /// What the system says, such as that there are no file descriptors left.
    fn accept(&mut self) -> impl Future<Output = io::Result<Accepted<Self::Stream>>> + Send;
}

/// A connection, and who is at its other end.
#[derive(Debug)]
pub struct Accepted<S> {
    /// The connection.
    pub stream: S,
    /// [`Peer::UNKNOWN`] on TCP.
    pub peer: Peer,
}

/// Accepts until `stop`, then closes the listener and returns when all connections have ended. `welcome` decides
/// at once what is done with a connection. `name` is for the log.
pub async fn accept_loop<L: Listener, F: Future<Output = ()> + Send + 'static>(
    mut listener: L,
    name: &'static str,
    clock: &Clock,
    stop: &CancellationToken,
    mut welcome: impl FnMut(Accepted<L::Stream>) -> F,
) {
    let mut connections = JoinSet::new();
    let mut faults = AcceptFaults::default();
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            Some(ended) = connections.join_next() => {
                panic::pass_on(ended);
                continue;
            }
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok(accepted) => {
                faults.over(name);
                connections.spawn(welcome(accepted));
            }
            Err(error) => {
                faults.tell(name, &error, clock.mono());
                let _ = stop.run_until_cancelled(tokio::time::sleep(PAUSE)).await;
            }
        }
    }
    drop(listener);
    while let Some(ended) = connections.join_next().await {
        panic::pass_on(ended);
    }
}

/// What was logged of accepts that fail.
#[derive(Debug, Default)]
struct AcceptFaults {
    told_at: Option<Mono>,
    failed: u64,
}

impl AcceptFaults {
    fn tell(&mut self, name: &'static str, error: &io::Error, now: Mono) {
        self.failed += 1;
        if self.told_at.is_some_and(|at| now.since(at) < TELL_EVERY) {
            return;
        }
        self.told_at = Some(now);
        tracing::warn!(listener = name, %error, failed = self.failed, "cannot accept connections");
    }

    fn over(&mut self, name: &'static str) {
        if self.told_at.is_some() {
            tracing::info!(listener = name, failed = self.failed, "accepting connections again");
            *self = Self::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Gives what it was told to give, then nothing more.
    struct Scripted(VecDeque<io::Result<u32>>);

    impl Listener for Scripted {
        type Stream = u32;

        async fn accept(&mut self) -> io::Result<Accepted<u32>> {
            match self.0.pop_front() {
                Some(next) => next.map(|stream| Accepted { stream, peer: Peer::UNKNOWN }),
                None => std::future::pending().await,
            }
        }
    }

    fn no_descriptors() -> io::Result<u32> {
        Err(io::Error::from_raw_os_error(nix::libc::EMFILE))
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_accept_is_tried_again_and_a_stop_waits_for_the_connections() {
        let script = Scripted([no_descriptors(), Ok(1), no_descriptors(), Ok(2)].into());
        let (stop, served) = (CancellationToken::new(), Arc::new(AtomicUsize::new(0)));
        let (stopping, counter) = (stop.clone(), served.clone());

        accept_loop(script, "test", &Clock::tokio(0), &stop, |accepted| {
            let (stopping, counter) = (stopping.clone(), counter.clone());
            async move {
                if accepted.stream == 2 {
                    stopping.cancel();
                }
                tokio::time::sleep(Duration::from_secs(5)).await;
                counter.fetch_add(1, Ordering::SeqCst);
            }
        })
        .await;

        assert_eq!(served.load(Ordering::SeqCst), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_panic_of_a_connection_is_one_of_the_loop() {
        let (stop, clock) = (CancellationToken::new(), Clock::tokio(0));

        let looping = tokio::spawn(async move {
            accept_loop(Scripted([Ok(1)].into()), "test", &clock, &stop, |_| async {
                panic!("a fault");
            })
            .await;
        });

        assert!(looping.await.unwrap_err().is_panic());
    }

    #[test]
    fn a_fault_that_lasts_is_told_once_a_minute() {
        let (mut faults, clock) = (AcceptFaults::default(), Clock::manual(1_000));
        let error = io::Error::from_raw_os_error(nix::libc::EMFILE);
        let mut told = 0;

        for _ in 0..1_200 {
            let before = faults.told_at;
            faults.tell("test", &error, clock.mono());
            told += usize::from(faults.told_at != before);
            clock.advance(PAUSE);
        }

        assert_eq!((told, faults.failed), (2, 1_200));
    }
}
