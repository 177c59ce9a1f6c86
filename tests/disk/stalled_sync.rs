//! A disk that does not come back from a sync for a while: the operator is told so, health stays what it is,
//! and all goes on when it does.

use serde_json::json;
use trunkline::daemon::{Daemon, Start};
use trunkline::shutdown::Shutdown;
use uuid::Uuid;

use crate::common::{Home, Sandbox, accepted, eventually, hold_event};
use crate::layer::stalled_syncs::{hanging, let_go, stall};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_a_sync_of_the_dead_letters_hangs_probes_metrics_and_status_are_answered() {
    let sandbox = Sandbox::start(&["--requests-per-minute", "1000000"]);
    sandbox.set_faults(&json!({"reject_event_rate": 1.0}));
    let home = Home::new(&sandbox.addr, "");
    let loaded = trunkline::config::load(Some(&home.config())).unwrap();
    let shutdown = Shutdown::default();
    let daemon = Daemon::start(Start::fixed(loaded, shutdown.clone())).await.unwrap();

    let looking = tokio::task::spawn_blocking(move || {
        let dead = home.path().join("queue/dead");
        stall(&dead);
        assert_eq!(home.producer().ask(&hold_event(Uuid::new_v4(), 1).1), accepted());
        eventually("a sync hangs", || hanging(&dead) > 0);

        // More than there are workers.
        for _ in 0..4 {
            for path in ["/livez", "/metrics", "/readyz", "/healthz", "/status"] {
                assert_eq!(home.admin("GET", path, "").0, 200, "{path}");
            }
        }
        let_go(&dead);

        eventually("the letter is there", || home.status()["dead_letters"] == 1);
        assert_eq!(home.producer().ask(&hold_event(Uuid::new_v4(), 1).1), accepted());
    });
    looking.await.unwrap();
    shutdown.stop.cancel();
    daemon.finished().await.unwrap();
}
