//! What a panic does: it is logged without its text, and ends the daemon.
//!
//! The text of a panic may quote what was being worked on, which may be a caller's name. Place and thread are enough to
//! find the fault.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::cell::Cell;
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind, set_hook};

use parking_lot::Mutex;
use tokio::task::JoinError;

thread_local! {
    /// Calls on this thread whose panic is caught and dealt with.
    static FENCED: Cell<u32> = const { Cell::new(0) };
}

/// The store works on threads of its own, and catches their panics itself.
const FENCED_THREADS: &str = "sled-";

/// A call panicked. Stands for tokio's `JoinError` too, which would give the panic's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a panic, which is a bug in trunkline: the log says where")]
pub struct Panicked;

/// Runs `call`, whose panic is a fault like any other: it ends nothing.
///
/// # Errors
/// If it panicked.
pub fn fenced<T>(call: impl FnOnce() -> T) -> Result<T, Panicked> {
    FENCED.set(FENCED.get() + 1);
    let result = catch_unwind(AssertUnwindSafe(call));
    FENCED.set(FENCED.get() - 1);
    result.map_err(|_| Panicked)
}

/// From now on a panic is logged, and calls `end` if it is not fenced: whatever the thread or task was for is not
/// done any more, and nobody else would notice. Place and thread are logged.
pub fn on_panic(end: impl Fn() + Send + Sync + 'static) {
    set_hook(Box::new(move |info| {
        let place = info.location().map(ToString::to_string);
        let current = std::thread::current();
        let thread = current.name().unwrap_or("unnamed");
        let trace = Some(Backtrace::capture()).filter(|trace| trace.status() == BacktraceStatus::Captured);
        let backtrace = trace.map(|trace| trace.to_string());
        if FENCED.get() > 0 || thread.starts_with(FENCED_THREADS) {
            // A disk that fails for hours does so at the same place each time; the caller reports the error.
            if is_first_at(place.as_deref()) {
                tracing::error!(place, thread, backtrace, "the store panicked");
            } else {
                tracing::debug!(place, thread, "the store panicked");
            }
            return;
        }
        tracing::error!(place, thread, backtrace, "a panic, which is a bug in trunkline: stopping");
        end();
    }));
}

/// Panics if the task that `ended` panicked: it worked for the one who waits for it.
pub fn pass_on(ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && let Ok(panic) = error.try_into_panic()
    {
        resume_unwind(panic);
    }
}

/// Whether no panic was logged at this place before.
fn is_first_at(place: Option<&str>) -> bool {
    static LOGGED: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    LOGGED.lock().insert(place.unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fenced_panic_is_an_error_and_fences_end_with_their_call() {
        assert_eq!(fenced(|| 1), Ok(1));
        assert_eq!(fenced(|| -> u8 { fenced(|| -> u8 { panic!("a fault") }).unwrap_or(2) }), Ok(2));
        assert_eq!(fenced(|| -> u8 { panic!("a fault") }), Err(Panicked));
        assert_eq!(FENCED.get(), 0);
    }
}
