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
use crate::clock::Clock;
use crate::fault_log::{FaultLog, Telling};
use crate::panic;

/// Pause after a failed accept: out of file descriptors, it fails again at once.
const PAUSE: Duration = Duration::from_millis(100);

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
    let mut faults = FaultLog::default();
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
                if faults.tried(false, clock.mono()) == Some(Telling::Over) {
                    tracing::info!(listener = name, "accepting connections again");
                }
                connections.spawn(welcome(accepted));
            }
            Err(error) => {
                if let Some(Telling::Fault { times }) = faults.tried(true, clock.mono()) {
                    tracing::warn!(listener = name, %error, times, "cannot accept connections");
                }
                let _ = stop.run_until_cancelled(tokio::time::sleep(PAUSE)).await;
            }
        }
    }
    drop(listener);
    while let Some(ended) = connections.join_next().await {
        panic::pass_on(ended);
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
}
