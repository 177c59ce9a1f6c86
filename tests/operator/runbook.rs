//! Each condition of docs/runbook.md provoked once: what status, healthz, log and metrics say then.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use uuid::Uuid;

use crate::common::{Home, Sandbox, accepted, eventually, hold_event};

const NO_LIMIT: [&str; 2] = ["--requests-per-minute", "1000000"];

/// Sections of the runbook that no daemon of this test can be brought into, and where they are shown.
const ELSEWHERE: &[(&str, &str)] = &[
    ("not-reachable", "tests/operator/admin.rs: probes_say_it_by_their_exit_code"),
    ("keys-held", "tests/relay/basics.rs: a_key_whose_own_probe_failed_stays_held_alone_while_the_lane_runs"),
    (
        "slow-disk",
        "queue_commit_seconds is held to the interface in tests/operator/admin.rs; a slow disk cannot be had at will",
    ),
];

/// Runs with this fault and one event; `words` are on the screen, `trouble` in healthz (empty: healthy), `log`
/// in the log, and `series` of the metrics fits.
struct Case {
    section: &'static str,
    fault: Value,
    words: &'static str,
    trouble: &'static str,
    log: &'static str,
    series: &'static str,
    fits: fn(f64) -> bool,
}

fn is_one(value: f64) -> bool {
    value == 1.0
}

fn upstream_cases() -> [Case; 7] {
    [
        Case {
            section: "not-delivering",
            fault: json!({"status": 503}),
            words: "waiting to deliver conversations: 503",
            trouble: "conversations backing_off: 503",
            log: "not delivering",
            series: "trunkline_lane_state{lane=\"conversations\",state=\"backing_off\"}",
            fits: is_one,
        },
        Case {
            section: "unauthorized",
            fault: json!({"unauthorized": true}),
            words: "holding conversations: ",
            trouble: "conversations unauthorized: ",
            log: "state=\"unauthorized\"",
            series: "trunkline_lane_state{lane=\"conversations\",state=\"unauthorized\"}",
            fits: is_one,
        },
        Case {
            section: "forbidden",
            fault: json!({"deny": "conversation:conversation:inject"}),
            words: "missing permission conversation:conversation:inject since 20",
            trouble: "conversations forbidden: missing permission conversation:conversation:inject",
            log: "state=\"forbidden\"",
            series: "trunkline_lane_state{lane=\"conversations\",state=\"forbidden\"}",
            fits: is_one,
        },
        Case {
            section: "misconfigured",
            fault: json!({"status": 404}),
            words: "holding conversations: ",
            trouble: "conversations misconfigured: ",
            log: "state=\"misconfigured\"",
            series: "trunkline_lane_state{lane=\"conversations\",state=\"misconfigured\"}",
            fits: is_one,
        },
        Case {
            section: "dead-letters",
            fault: json!({"reject_event_rate": 1.0}),
            words: "1 dead letter; see `trunkline dead-letters list --group`",
            trouble: "",
            log: "dead letter",
            series: "trunkline_dead_letters{lane=\"conversations\"}",
            fits: is_one,
        },
        Case {
            section: "clock-skew",
            fault: json!({"date_offset_seconds": -90}),
            words: "s ahead of the API's, which breaks reports",
            trouble: "",
            log: "this host's clock differs from the API's",
            series: "trunkline_clock_skew_seconds",
            fits: |skew| (80.0..100.0).contains(&skew),
        },
        Case {
            section: "late",
            fault: json!({"status": 503}),
            words: "waiting to deliver",
            trouble: "over 1s (admin.late_after)",
            log: "not delivering",
            series: "trunkline_queue_oldest_seconds{lane=\"conversations\"}",
            fits: |age| age > 1.0,
        },
    ]
}

#[test]
fn what_upstream_does_is_told_everywhere() {
    for case in upstream_cases() {
        let sandbox = Sandbox::start(&NO_LIMIT);
        sandbox.set_faults(&case.fault);
        let home = Home::new(&sandbox.addr, "");
        home.reconfigure("[admin]\n", "[admin]\nlate_after = \"1s\"\n");
        let _daemon = home.run();
        assert_eq!(home.producer().ask(&hold_event(Uuid::new_v4(), 1).1), accepted());
        let section = case.section;

        eventually(&format!("{section}: the screen says {:?}", case.words), || {
            home.say(&["status"]).contains(case.words)
        });
        eventually(&format!("{section}: healthz says {:?}", case.trouble), || {
            let (status, text) = home.admin("GET", "/healthz", "");
            if case.trouble.is_empty() { status == 200 } else { status == 503 && text.contains(case.trouble) }
        });
        eventually(&format!("{section}: the log says {:?}", case.log), || home.log().contains(case.log));
        eventually(&format!("{section}: {}", case.series), || {
            home.metric(case.series).is_some_and(case.fits)
        });
    }
}

#[test]
fn paused_lane() {
    let sandbox = Sandbox::start(&NO_LIMIT);
    let home = Home::new(&sandbox.addr, "");
    let _daemon = home.run();

    home.say(&["pause", "presence"]);

    assert!(home.say(&["status"]).starts_with("paused: presence since 20"), "{}", home.say(&["status"]));
    assert!(home.admin("GET", "/healthz", "").1.contains("presence paused"));
    assert_eq!(home.metric("trunkline_lane_state{lane=\"presence\",state=\"paused\"}"), Some(1.0));
    eventually("the log says so", || home.log().contains("paused by an operator"));
}

#[test]
fn disk_low_is_not_accepting_and_ends_with_more_room() {
    let sandbox = Sandbox::start(&NO_LIMIT);
    let home = Home::new(&sandbox.addr, "");
    home.reconfigure("min_free_disk = \"1MiB\"", "min_free_disk = \"4PiB\"");
    let _daemon = home.run();

    let answer = home.producer().ask(&hold_event(Uuid::new_v4(), 1).1);
    let (ready, why) = home.admin("GET", "/readyz", "");
    let screen = home.say(&["status"]);
    home.reconfigure("min_free_disk = \"4PiB\"", "min_free_disk = \"1MiB\"");
    home.say(&["reload"]);

    assert_eq!(answer["errors"][0]["retryable"], true);
    assert_eq!(ready, 503);
    assert!(why.contains("queue.min_free_disk"), "{why}");
    assert!(screen.starts_with("not accepting: disk has "), "{screen}");
    assert_eq!(home.metric("trunkline_events_refused_total{door=\"stream\",reason=\"disk_low\"}"), Some(1.0));
    eventually("the log says so", || home.log().contains("reason=\"disk_low\""));
    eventually("it is ready again", || home.admin("GET", "/readyz", "").0 == 200);
    assert_eq!(home.producer().ask(&hold_event(Uuid::new_v4(), 1).1), accepted());
}

/// A line of large events.
fn large(count: usize) -> String {
    let event = |_| {
        json!({"eventId": Uuid::new_v4(), "eventDateTime": "2026-03-02T10:00:00.000Z",
            "conversationId": Uuid::new_v4(), "communicationId": Uuid::new_v4(), "held": true,
            "filler": "x".repeat(38_000)})
    };
    json!({"holdUpdatedEvents": (0..count).map(event).collect::<Vec<_>>()}).to_string()
}

#[test]
fn queue_filling_is_seen_and_a_full_one_does_not_accept() {
    let sandbox = Sandbox::start(&NO_LIMIT);
    let home = Home::new(&sandbox.addr, "");
    home.reconfigure("[queue]\n", "[queue]\nmax_size = \"256MiB\"\n");
    let _daemon = home.run();
    home.say(&["pause"]);
    let mut producer = home.producer();

    eventually("the lane is full", || {
        let answer = producer.ask(&large(20));
        let (status, troubles) = home.admin("GET", "/healthz", "");
        let is_told =
            troubles.contains("has used its share of the queue") || troubles.contains("queue is full");
        answer != accepted() && status == 503 && is_told
    });

    let ratio = home.metric("trunkline_queue_disk_bytes").unwrap()
        / home.metric("trunkline_queue_max_bytes").unwrap();
    assert!(ratio > 0.6, "{ratio}");
    eventually("the log says so", || {
        home.log().contains("reason=\"lane_full\"") || home.log().contains("reason=\"full\"")
    });
    home.say(&["resume"]);
    eventually("it accepts again", || producer.ask(&hold_event(Uuid::new_v4(), 1).1) == accepted());
}

#[test]
fn dead_letters_full_hold_only_the_lane_that_makes_them() {
    let sandbox = Sandbox::start(&NO_LIMIT);
    sandbox.set_faults(&json!({"reject_event_rate": 1.0}));
    let home = Home::new(&sandbox.addr, "");
    home.reconfigure("[queue]\n", "[queue]\nmax_size = \"256MiB\"\n");
    let _daemon = home.run();
    let mut producer = home.producer();
    for _ in 0..110 {
        producer.ask(&large(20));
    }

    eventually("the lane holds", || {
        home.say(&["status"]).contains("the dead letters have used a quarter of queue.max_size")
    });
    eventually("the log says so", || home.log().contains("dead letters are full"));
    assert_eq!(home.status()["lanes"]["presence"]["state"], "running");
    let before = home.metric("trunkline_dead_letters{lane=\"conversations\"}").unwrap();
    sandbox.set_faults(&json!({"reject_event_rate": null}));
    home.say(&["dead-letters", "discard", "--all"]);

    eventually("it goes on", || {
        let status = home.status();
        status["lanes"]["conversations"]["state"] == "running" && status["queue_events"] == 0
    });
    assert!(before > 1_000.0, "{before}");
}

#[test]
fn token_expiring_and_no_new_one_to_be_had() {
    let sandbox = Sandbox::start(&["--token-life", "20s"]);
    let home = Home::new(&sandbox.addr, "");
    let _daemon = home.run();
    eventually("it is in", || home.metric("trunkline_token_expiry_seconds").is_some_and(|left| left > 0.0));
    sandbox.set_faults(&json!({"refuse_login": true}));

    home.say(&["reload"]);
    let file = home.config();
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("test-secret", "another-secret")).unwrap();
    home.say(&["reload"]);

    assert!(home.say(&["status"]).contains("login: "), "{}", home.say(&["status"]));
    assert!(home.metric("trunkline_token_expiry_seconds").unwrap() <= 20.0);
    eventually("the log says so", || home.log().contains("the login with the new credentials failed"));
}

#[test]
fn rate_limited() {
    let sandbox = Sandbox::start(&NO_LIMIT);
    sandbox.set_faults(&json!({"status": 429}));
    let home = Home::new(&sandbox.addr, "");
    let _daemon = home.run();

    home.producer().ask(&hold_event(Uuid::new_v4(), 1).1);

    eventually("it is counted", || {
        home.metric("trunkline_requests_total{lane=\"conversations\",status=\"429\"}").is_some()
    });
    eventually("the budget is lower", || home.metric("trunkline_rate_budget").unwrap() < 60_000.0);
    assert!(home.say(&["status"]).contains("conversations: 429"), "{}", home.say(&["status"]));
}

#[test]
fn refused_events_and_duplicates() {
    let sandbox = Sandbox::start(&NO_LIMIT);
    let home = Home::new(&sandbox.addr, "");
    let _daemon = home.run();
    let mut producer = home.producer();
    let (_, line) = hold_event(Uuid::new_v4(), 1);

    producer.ask("{\"holdUpdatedEvents\":[{\"held\":7}]}");
    producer.ask(&line);
    producer.ask(&line);

    let refused = home.admin("GET", "/metrics", "").1;
    assert!(refused.contains("trunkline_events_refused_total{door=\"stream\",reason=\""), "{refused}");
    assert_eq!(home.metric("trunkline_events_duplicate_total"), Some(1.0));
    eventually("the log says so", || home.log().contains("refused door=\"stream\""));
    assert_eq!(home.status()["duplicate_total"], 1);
}

#[test]
fn reordered() {
    let sandbox = Sandbox::start(&["--requests-per-minute", "1000000", "--seed", "3"]);
    sandbox.set_faults(&json!({"retry_event_rate": 0.5}));
    let home = Home::new(&sandbox.addr, "");
    let _daemon = home.run();
    let conversation = Uuid::new_v4();
    let events: Vec<Value> = (0..20)
        .map(|nth| {
            let line: Value = serde_json::from_str(&hold_event(conversation, nth).1).unwrap();
            line["holdUpdatedEvents"][0].clone()
        })
        .collect();

    home.producer().ask(&json!({"holdUpdatedEvents": events}).to_string());

    eventually("it is counted", || {
        home.metric("trunkline_events_reordered_total{lane=\"conversations\"}")
            .is_some_and(|count| count > 0.0)
    });
}

/// Data files of a lane's segments.
fn segments(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(segments(&path));
        } else if path.ends_with("db") {
            found.push(path);
        }
    }
    found
}

#[test]
fn quarantined() {
    let sandbox = Sandbox::start(&NO_LIMIT);
    let home = Home::new(&sandbox.addr, "");
    let daemon = home.run();
    home.say(&["pause"]);
    let mut producer = home.producer();
    for nth in 0..50 {
        assert_eq!(producer.ask(&hold_event(Uuid::new_v4(), nth).1), accepted());
    }
    daemon.sigterm();
    daemon.wait();
    let needle = b"communicationId";
    let place = |db: PathBuf| {
        let raw = std::fs::read(&db).unwrap();
        let at = raw.windows(needle.len()).rposition(|window| window == needle)?;
        Some((db, raw, at))
    };
    let dbs = segments(&home.path().join("queue/lanes/conversations"));
    let (db, mut raw, at) = dbs.into_iter().find_map(place).unwrap();
    raw[at] ^= 1;
    std::fs::write(&db, raw).unwrap();

    let _daemon = home.run();
    home.say(&["resume"]);

    eventually("what is whole is delivered", || sandbox.stat("distinct") == 49);
    eventually("the rest is counted", || home.metric("trunkline_quarantined_total") == Some(1.0));
    eventually("the log says so", || home.log().contains("ERROR"));
}

#[test]
fn queue_cannot_be_read() {
    let sandbox = Sandbox::start(&NO_LIMIT);
    let home = Home::new(&sandbox.addr, "");
    let daemon = home.run();
    home.say(&["pause"]);
    let mut producer = home.producer();
    for nth in 0..10 {
        assert_eq!(producer.ask(&hold_event(Uuid::new_v4(), nth).1), accepted());
    }
    daemon.sigterm();
    daemon.wait();
    let db = segments(&home.path().join("queue/lanes/conversations")).remove(0);
    let away = home.path().join("away");
    std::fs::rename(&db, &away).unwrap();
    // Opening it fails, whoever asks.
    std::os::unix::fs::symlink("db", &db).unwrap();

    let _daemon = home.run();
    home.say(&["resume"]);
    eventually("the lane says why", || home.say(&["status"]).contains("the queue cannot be read: "));
    let metric = home.metric("trunkline_lane_state{lane=\"conversations\",state=\"backing_off\"}");
    std::fs::remove_file(&db).unwrap();
    std::fs::rename(&away, &db).unwrap();

    eventually("all is delivered", || sandbox.stat("distinct") == 10);
    assert_eq!(metric, Some(1.0));
    eventually("the log says so", || home.log().contains("cannot read the queue; it is tried again"));
    assert_eq!(home.metric("trunkline_quarantined_total"), Some(0.0));
}

#[test]
fn unsuitable_file_system() {
    let in_memory = tempfile::tempdir_in("/dev/shm").unwrap();
    let sandbox = Sandbox::start(&NO_LIMIT);
    let home = Home::new(&sandbox.addr, "");
    let dir = in_memory.path().join("queue").display().to_string();
    home.reconfigure("dir = \"queue\"", &format!("dir = \"{dir}\""));

    let _daemon = home.run();

    let words = "queue.dir is on tmpfs: its files are in memory";
    assert!(home.say(&["status"]).contains(words));
    assert!(home.status()["disk"]["warning"].as_str().unwrap().starts_with(words));
    eventually("the log says so", || home.log().contains(words));
    assert_eq!(home.admin("GET", "/healthz", "").0, 200);
}

#[test]
fn reload_failed() {
    let sandbox = Sandbox::start(&NO_LIMIT);
    let home = Home::new(&sandbox.addr, "");
    let _daemon = home.run();
    home.reconfigure("burst = 100", "burst = \"many\"");

    assert_eq!(home.cli(&["reload"]).status.code(), Some(78));

    assert!(home.say(&["status"]).contains("the last reload was refused"));
    assert_eq!(home.metric("trunkline_config_last_reload_success"), Some(0.0));
    eventually("the log says so", || home.log().contains("reload refused"));
}

#[test]
fn every_section_of_the_runbook_is_provoked_here_or_says_where() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let Ok(runbook) = std::fs::read_to_string(root.join("docs/runbook.md")) else { return };
    let this = include_str!("runbook.rs");
    let sections = runbook.lines().filter_map(|line| line.strip_prefix("## "));
    let slug = |title: &str| title.to_lowercase().replace(' ', "-");

    let missing: Vec<String> = sections
        .map(slug)
        .filter(|slug| {
            let shown = [format!("section: \"{slug}\""), format!("fn {}", slug.replace('-', "_"))];
            let spoken = slug.replace('-', "_");
            let is_here =
                shown.iter().any(|text| this.contains(text)) || this.contains(&format!("_{spoken}"));
            !is_here && !ELSEWHERE.iter().any(|(section, _)| section == slug)
        })
        .collect();

    assert_eq!(missing, [""; 0]);
}
