//! A disk that does not come back from a sync for a while: the operator is told so, health stays what it is,
//! and all goes on when it does.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::os::fd::RawFd;
use std::sync::{Condvar, Mutex};

use common::{Home, Sandbox, accepted, eventually, hold_event};
use serde_json::json;
use trunkline::daemon::{Daemon, Start};
use trunkline::shutdown::Shutdown;
use uuid::Uuid;

/// Whether syncs of the dead letters hang, and how many do.
static STALLED: Mutex<(bool, usize)> = Mutex::new((false, 0));
static CHANGED: Condvar = Condvar::new();

/// In place of libc's, for the store in this process.
#[unsafe(no_mangle)]
#[expect(unsafe_code, reason = "the one way to stand between the store and the kernel")]
extern "C" fn fdatasync(fd: RawFd) -> i32 {
    let path = std::fs::read_link(format!("/proc/self/fd/{fd}")).unwrap_or_default();
    if path.to_string_lossy().contains("/dead/") {
        let mut stalled = STALLED.lock().unwrap();
        stalled.1 += 1;
        while stalled.0 {
            stalled = CHANGED.wait(stalled).unwrap();
        }
        stalled.1 -= 1;
    }
    unsafe { libc::syscall(libc::SYS_fdatasync, fd) as i32 }
}

fn stall(is_stalled: bool) {
    STALLED.lock().unwrap().0 = is_stalled;
    CHANGED.notify_all();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_a_sync_of_the_dead_letters_hangs_probes_metrics_and_status_are_answered() {
    let sandbox = Sandbox::start(&["--requests-per-minute", "1000000"]);
    sandbox.set_faults(&json!({"reject_event_rate": 1.0}));
    let home = Home::new(&sandbox.addr, "");
    let loaded = trunkline::config::load(Some(&home.config())).unwrap();
    let shutdown = Shutdown::default();
    let daemon = Daemon::start(Start::fixed(loaded, shutdown.clone())).await.unwrap();

    let looking = tokio::task::spawn_blocking(move || {
        stall(true);
        assert_eq!(home.producer().ask(&hold_event(Uuid::new_v4(), 1).1), accepted());
        eventually("a sync hangs", || STALLED.lock().unwrap().1 > 0);

        // More than there are workers.
        for _ in 0..4 {
            for path in ["/livez", "/metrics", "/readyz", "/healthz", "/status"] {
                assert_eq!(home.admin("GET", path, "").0, 200, "{path}");
            }
        }
        stall(false);

        eventually("the letter is there", || home.status()["dead_letters"] == 1);
        assert_eq!(home.producer().ask(&hold_event(Uuid::new_v4(), 1).1), accepted());
    });
    looking.await.unwrap();
    shutdown.stop.cancel();
    daemon.finished().await.unwrap();
}
