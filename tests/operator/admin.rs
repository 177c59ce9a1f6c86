//! The operator's window with real parts: what each path says, who may ask for what, names and labels.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};
use uuid::Uuid;

use crate::common::{Home, Sandbox, accepted, eventually, hold_event, http, trunkline};

/// Metrics of the interface, each with its labels.
const METRICS: &[(&str, &[&str])] = &[
    ("trunkline_events_accepted_total", &["door"]),
    ("trunkline_events_refused_total", &["door", "reason"]),
    ("trunkline_events_duplicate_total", &[]),
    ("trunkline_events_ahead_total", &["door"]),
    ("trunkline_events_delivered_total", &["lane"]),
    ("trunkline_events_dead_total", &["lane", "reason"]),
    ("trunkline_requests_total", &["lane", "status"]),
    ("trunkline_request_seconds", &[]),
    ("trunkline_batch_events", &[]),
    ("trunkline_delivery_age_seconds", &[]),
    ("trunkline_queue_events", &["lane"]),
    ("trunkline_queue_oldest_seconds", &["lane"]),
    ("trunkline_queue_disk_bytes", &[]),
    ("trunkline_queue_max_bytes", &[]),
    ("trunkline_disk_free_bytes", &[]),
    ("trunkline_queue_commit_seconds", &[]),
    ("trunkline_dead_letters", &["lane"]),
    ("trunkline_lane_state", &["lane", "state"]),
    ("trunkline_keys_held", &["lane"]),
    ("trunkline_events_reordered_total", &["lane"]),
    ("trunkline_events_unknown_total", &["array"]),
    ("trunkline_dedupe_effective_seconds", &[]),
    ("trunkline_rate_budget", &[]),
    ("trunkline_token_expiry_seconds", &[]),
    ("trunkline_clock_skew_seconds", &[]),
    ("trunkline_connections", &["door"]),
    ("trunkline_config_last_reload_success", &[]),
    ("trunkline_log_lines_dropped_total", &[]),
    ("trunkline_quarantined_total", &[]),
    ("trunkline_start_time_seconds", &[]),
    ("trunkline_build_info", &["version"]),
];

/// A line that brings each counter to life: good, refused, unknown field, ahead of our clock.
fn varied_lines() -> Vec<String> {
    let ahead = jiff::Timestamp::now() + std::time::Duration::from_secs(3_600);
    let event = |more: Value| {
        let mut event = json!({"eventId": Uuid::new_v4(), "eventDateTime": "2026-03-02T10:00:00.000Z",
            "conversationId": Uuid::new_v4(), "communicationId": Uuid::new_v4(), "held": true});
        event.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({"holdUpdatedEvents": [event]}).to_string()
    };
    vec![
        event(json!({})),
        event(json!({"conversationId": 7})),
        event(json!({"newField": 1})),
        event(json!({"eventDateTime": ahead.to_string()})),
    ]
}

/// Labels by name of metric, histograms' series aside.
fn series(text: &str) -> BTreeMap<String, Vec<String>> {
    let mut found = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (series, _) = line.rsplit_once(' ').unwrap();
        let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
        let name =
            ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
        let mut labels: Vec<String> = labels
            .trim_end_matches('}')
            .split("\",")
            .filter_map(|label| label.split_once('=').map(|(name, _)| name.to_owned()))
            .filter(|label| label != "le")
            .collect();
        labels.sort();
        found.insert(name.to_owned(), labels);
    }
    found
}

#[test]
fn metrics_have_the_names_and_labels_of_the_interface_and_no_others() {
    let sandbox = Sandbox::start(&["--requests-per-minute", "1000000"]);
    let home = Home::new(&sandbox.addr, "");
    let _daemon = home.run();
    let mut producer = home.producer();
    for line in varied_lines() {
        producer.ask(&line);
    }
    eventually("three are delivered", || sandbox.stat("distinct") == 3);
    sandbox.set_faults(&json!({"reject_event_rate": 1.0}));
    producer.ask(&hold_event(Uuid::new_v4(), 1).1);
    eventually("one is dead", || home.status()["dead_letters"] == 1);

    let (status, text) = home.admin("GET", "/metrics", "");

    assert_eq!(status, 200);
    let wanted: BTreeMap<String, Vec<String>> = METRICS
        .iter()
        .map(|(name, labels)| ((*name).to_owned(), labels.iter().map(|label| (*label).to_owned()).collect()))
        .collect();
    assert_eq!(series(&text), wanted);
    assert!(text.contains("# TYPE trunkline_events_accepted_total counter"), "{text}");
    assert!(!text.contains("# EOF"), "that is the other format");
    let open = trunkline::metrics::Metrics::new().render();
    assert!(
        open.ends_with("# EOF\n") && open.contains("# TYPE trunkline_events_duplicate counter"),
        "{open}"
    );
    assert_eq!(home.metric("trunkline_lane_state{lane=\"presence\",state=\"running\"}"), Some(1.0));
    eventually("the queue is empty", || {
        home.metric("trunkline_queue_events{lane=\"conversations\"}") == Some(0.0)
    });
}

#[test]
fn what_anybody_may_read_on_tcp_is_health_and_metrics_and_nothing_else() {
    let sandbox = Sandbox::start(&[]);
    let home = Home::new(&sandbox.addr, "");
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    home.reconfigure(
        "listen = \"unix:admin.sock\"",
        &format!("listen = \"unix:admin.sock\"\nmetrics_listen = \"127.0.0.1:{port}\""),
    );
    let _daemon = home.run();
    let addr = format!("127.0.0.1:{port}");

    let open = ["/livez", "/readyz", "/healthz", "/metrics"].map(|path| http(&addr, "GET", path, "").0);
    let posted = ["/livez", "/metrics"].map(|path| http(&addr, "POST", path, "{}").0);
    let shut = ["/status", "/trace?id=x", "/pause", "/resume", "/reload", "/adopt", "/dead-letters/list"]
        .map(|path| (http(&addr, "GET", path, "").0, http(&addr, "POST", path, "{}").0));

    assert_eq!(open, [200; 4]);
    assert_eq!(posted, [405; 2]);
    assert_eq!(shut, [(404, 404); 7]);
    assert_eq!(home.status()["lanes"]["presence"]["state"], "running");
}

#[test]
fn status_json_has_what_scripts_rely_on() {
    let sandbox = Sandbox::start(&[]);
    let home = Home::new(&sandbox.addr, "");
    let _daemon = home.run();
    let before = home.status();
    assert_eq!(home.producer().ask(&hold_event(Uuid::new_v4(), 1).1), accepted());
    eventually("it is delivered", || sandbox.stat("distinct") == 1);

    eventually("that is seen", || {
        let lane = home.status()["lanes"]["conversations"].clone();
        lane["last_delivered_seconds"].is_u64() && lane["last_status"] == 200
    });

    let keys = [
        "state",
        "queue_events",
        "queue_bytes",
        "oldest_seconds",
        "dead_letters",
        "time_to_drain_seconds",
        "time_to_full_seconds",
        "rate_budget",
        "clock_skew_seconds",
        "region",
        "organisation",
    ];
    let lane_keys = [
        "state",
        "reason",
        "queue_events",
        "oldest_seconds",
        "in_flight",
        "last_status",
        "next_attempt_seconds",
        "last_accepted_seconds",
        "last_delivered_seconds",
    ];
    let now = home.status();
    for key in keys {
        assert!(now.get(key).is_some(), "{key} in {now}");
    }
    for lane in ["conversations", "presence", "routingstatus", "customkpi"] {
        for key in lane_keys {
            assert!(now["lanes"][lane].get(key).is_some(), "{lane}.{key} in {now}");
        }
    }
    assert_eq!(before["lanes"]["conversations"]["last_accepted_seconds"], Value::Null);
    assert!(now["lanes"]["conversations"]["last_accepted_seconds"].is_u64());
    assert_eq!(now["state"], "running");
    assert_eq!(now["time_to_drain_seconds"], 0);
    assert!(now["organisation"].is_string() && now["clock_skew_seconds"].is_i64(), "{now}");
}

#[test]
fn probes_say_it_by_their_exit_code() {
    let sandbox = Sandbox::start(&[]);
    sandbox.set_faults(&json!({"status": 503}));
    let home = Home::new(&sandbox.addr, "");
    let probe = |what: &str| home.cli(&["status", "--quiet", what]).status.code();
    let absent = probe("--live");
    let daemon = home.run();
    home.producer().ask(&hold_event(Uuid::new_v4(), 1).1);
    eventually("a lane is in trouble", || home.status()["state"] == "backing_off");

    let codes = [probe("--live"), probe("--ready"), probe("--healthy")];
    let (status, reasons) = home.admin("GET", "/healthz", "");

    assert_eq!(absent, Some(69));
    assert_eq!(codes, [Some(0), Some(0), Some(1)]);
    assert_eq!(status, 503);
    assert!(reasons.contains("conversations backing_off: 503"), "{reasons}");
    let screen = home.say(&["status"]);
    assert!(screen.starts_with("waiting to deliver conversations: 503"), "{screen}");
    assert!(screen.lines().next().unwrap().contains(" since 20"), "{screen}");
    daemon.sigterm();
    daemon.wait();
    let gone = home.cli(&["status"]);
    assert_eq!(gone.status.code(), Some(69));
    assert!(String::from_utf8(gone.stderr).unwrap().contains("is it running"));
}

#[test]
fn a_pause_holds_what_was_named_and_outlives_a_restart() {
    let sandbox = Sandbox::start(&[]);
    let home = Home::new(&sandbox.addr, "");
    let daemon = home.run();
    home.say(&["pause", "conversations"]);
    assert_eq!(home.producer().ask(&hold_event(Uuid::new_v4(), 1).1), accepted());
    assert_eq!(home.status()["lanes"]["conversations"]["state"], "paused");
    assert_eq!(home.status()["lanes"]["presence"]["state"], "running");
    daemon.sigkill();

    let _daemon = home.run();
    eventually("it is paused again", || home.status()["lanes"]["conversations"]["state"] == "paused");
    let while_paused = (home.status()["queue_events"].clone(), sandbox.stat("requests"));
    let wrong = home.cli(&["pause", "calls"]);
    home.say(&["resume"]);

    eventually("it is delivered", || sandbox.stat("distinct") == 1);
    assert_eq!(while_paused, (json!(1), 0));
    assert_eq!(wrong.status.code(), Some(64));
    let uid = nix::unistd::getuid();
    eventually("the log says so", || home.log().contains(&format!("uid={uid}")));
}

#[test]
fn who_may_not_connect_is_told_what_to_do() {
    // Only root can try as another user.
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    use std::os::unix::process::CommandExt;
    let sandbox = Sandbox::start(&[]);
    let home = Home::new(&sandbox.addr, "");
    let _daemon = home.run();
    std::fs::set_permissions(home.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    // The binary may lie where only root may look.
    let copy = home.path().join("trunkline");
    std::fs::copy(env!("CARGO_BIN_EXE_trunkline"), &copy).unwrap();
    let mut command = std::process::Command::new(copy);

    let denied = command
        .env_clear()
        .args(["status", "--admin"])
        .arg(home.path().join("admin.sock"))
        .uid(65_533)
        .gid(65_533)
        .output()
        .unwrap();

    let said = String::from_utf8(denied.stderr).unwrap();
    assert_eq!(denied.status.code(), Some(77), "{said}");
    assert!(said.contains("mode 0660") && said.contains("65533") && said.contains("admin.mode"), "{said}");
}

#[test]
fn a_daemon_that_stops_is_not_ready_and_alive() {
    let sandbox = Sandbox::start(&[]);
    sandbox.set_faults(&json!({"latency_ms": 3_000}));
    let home = Home::new(&sandbox.addr, "");
    let daemon = home.run();
    home.producer().ask(&hold_event(Uuid::new_v4(), 1).1);
    eventually("a request is under way", || home.status()["lanes"]["conversations"]["in_flight"] == 1);

    daemon.sigterm();
    eventually("it stops", || home.log().contains("stop signal"));

    eventually("it is not ready", || home.admin("GET", "/readyz", "") == (503, "stopping\n".to_owned()));
    assert_eq!(home.admin("GET", "/livez", "").0, 200);
    assert!(daemon.wait().success());
    assert_eq!(
        trunkline().args(["status", "--admin", "nowhere.sock"]).output().unwrap().status.code(),
        Some(69)
    );
}
