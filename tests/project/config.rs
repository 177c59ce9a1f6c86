//! What operators write, and what they are told about it.

use std::path::Path;
use std::time::Duration;

use trunkline::config::{self, ConfigError, Credentials, Loaded, Origin};

const MINIMAL: &str = "[upstream]\nregion = \"eu-central-1\"\nclient_id = \"c\"\n";

fn load(text: &str, env: &[(&str, &str)]) -> Result<Loaded, ConfigError> {
    let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    config::from_toml_str(text, Path::new("/conf"), env)
}

/// The message about `extra` added to a valid configuration.
fn refused(extra: &str) -> String {
    load(&format!("{MINIMAL}{extra}"), &[]).expect_err("the configuration is at fault").to_string()
}

/// What stands in the samples for the id of the reader's own client.
const SAMPLE_ID: &str = "00000000-0000-4000-8000-000000000000";

#[test]
fn the_minimal_file_is_valid_with_an_id_and_has_the_defaults() {
    let text = std::fs::read_to_string("config/minimal.toml").unwrap();

    let config = load(&text.replace(SAMPLE_ID, "c"), &[]).unwrap().config;

    assert_eq!(config.ingest.max_event, 40_000);
    assert_eq!(config.ingest.max_line, 1_048_576);
    assert_eq!(config.queue.dedupe_window, Duration::from_secs(900));
    assert_eq!(config.upstream.endpoints.api_url, "https://api.mypurecloud.de");
}

#[test]
fn the_full_sample_says_what_the_code_says() {
    let sample = std::fs::read_to_string("config/trunkline.toml").unwrap();

    let expected =
        config::reference().replace("#region = ", "region = ").replace("#client_id = ", "client_id = ");

    assert!(sample.ends_with(&expected), "write this to config/trunkline.toml:\n{expected}");
    load(&sample.replace(SAMPLE_ID, "c"), &[]).unwrap();
}

#[test]
fn a_sample_as_it_comes_is_refused_for_its_client_id_alone() {
    for file in ["config/minimal.toml", "config/trunkline.toml", "deploy/kubernetes/base/trunkline.toml"] {
        let text = std::fs::read_to_string(file).unwrap();

        let said = load(&text, &[]).expect_err("no organisation has this client").to_string();

        let faults: Vec<&str> = said.lines().filter(|line| line.contains("found")).collect();
        assert!(faults.len() == 1 && faults[0].contains("upstream.client_id"), "{file}: {said}");
    }
}

#[test]
fn the_environment_goes_before_the_file_and_a_secret_stays_a_text() {
    let env = [
        ("TRUNKLINE__INGEST__STREAM__PATH", "/tmp/e.sock"),
        ("TRUNKLINE__INGEST__STREAM__ALLOW_UIDS", "asterisk, 1000"),
        ("TRUNKLINE__UPSTREAM__CLIENT_SECRET", "007123"),
        ("TRUNKLINE__RELAY__BURST", "3"),
        ("TRUNKLINE__RELAY__EVENT_MAX_AGE__PRESENCE", "2h"),
    ];

    let loaded = load(&format!("{MINIMAL}[ingest.stream]\npath = \"x.sock\"\n"), &env).unwrap();

    let config = loaded.config;
    assert_eq!(config.ingest.stream.path, Path::new("/tmp/e.sock"));
    assert_eq!(config.ingest.stream.allow_uids, ["asterisk", "1000"]);
    assert_eq!(config.relay.burst, 3);
    assert_eq!(config.relay.event_max_age[1], Duration::from_secs(7_200));
    let Credentials::Client { secret: Some(secret), .. } = config.upstream.credentials else {
        panic!("there is a secret");
    };
    assert_eq!(secrecy::ExposeSecret::expose_secret(&secret), "007123");
    let shown = loaded.show.iter().find(|shown| shown.key == "upstream.client_secret").unwrap();
    assert_eq!(shown.value.as_deref(), Some("\"********\""));
    assert_eq!(shown.origin, Origin::Env("TRUNKLINE__UPSTREAM__CLIENT_SECRET".to_owned()));
}

#[test]
fn relative_paths_count_from_the_file() {
    let config = load(&format!("{MINIMAL}[queue]\ndir = \"q\"\n"), &[]).unwrap().config;

    assert_eq!(config.queue.dir, Path::new("/conf/q"));
}

#[test]
fn nothing_at_all_asks_for_region_and_client() {
    let message = load("", &[]).unwrap_err().to_string();

    assert!(message.contains("set upstream.region"), "{message}");
    assert!(message.contains("set upstream.client_id"), "{message}");
}

#[test]
fn all_faults_are_told_at_once_with_their_origin() {
    let env = [("TRUNKLINE__QUEUE__MAX_SIZE", "10MiB")];

    let error =
        load(&format!("{MINIMAL}[relay]\nbatch_linger = 5\n[ingset]\nunknown = 1\n"), &env).unwrap_err();

    let ConfigError::Invalid(faults) = &error else { panic!("{error}") };
    assert_eq!(faults.0.len(), 3, "{error}");
    let message = error.to_string();
    for part in
        ["add a unit", "TRUNKLINE__QUEUE__MAX_SIZE", "did you mean ingest.unknown?", "/conf/trunkline.toml"]
    {
        assert!(message.contains(part), "{part} is not in {message}");
    }
}

#[test]
fn each_wrong_value_names_its_key() {
    let cases = [
        ("[queue]\nmax_size = 5\n", "queue.max_size"),
        ("[queue]\nlane_reserve = \"26%\"\n", "queue.lane_reserve"),
        ("[queue]\nkeep_ledger = \"0s\"\n", "queue.keep_ledger"),
        ("[queue]\ndedupe_window = \"0ms\"\n", "queue.dedupe_window"),
        ("[relay]\nbatch_max_events = 101\n", "relay.batch_max_events"),
        ("[relay]\nbatch_max_events = \"10\"\n", "relay.batch_max_events"),
        ("[relay]\nbatch_max_size = \"10kB\"\n", "relay.batch_max_size"),
        ("[relay]\nburst = 301\n", "relay.burst"),
        ("[relay]\nretry_initial = \"2m\"\n", "relay.retry_initial"),
        ("[ingest]\nmax_event = \"2MiB\"\n", "ingest.max_event"),
        ("[ingest]\nmax_pending = \"10kB\"\n", "ingest.max_pending"),
        ("[ingest.stream]\nmode = 660\n", "ingest.stream.mode"),
        ("[ingest.stream]\npath = \"@abstract\"\n", "ingest.stream.path"),
        ("[ingest.http]\nlisten = \"0.0.0.0:80\"\nallow_anonymous = true\n", "ingest.http.listen"),
        ("[ingest.http]\nlisten = \"127.0.0.1:80\"\n", "ingest.http.listen"),
        ("[admin]\nlisten = \"127.0.0.1:80\"\n", "admin.listen"),
        ("[admin]\nlisten = \"unix:@a\"\n", "admin.listen"),
        (
            "[ingest.http]\nlisten = \"unix:/run/trunkline/events.sock\"\nallow_anonymous = true\n",
            "ingest.http.listen",
        ),
        (
            "[admin]\nmetrics_listen = \"127.0.0.1:8480\"\n[ingest.http]\nlisten = \"127.0.0.1:8480\"\nallow_anonymous = true\n",
            "ingest.http.listen",
        ),
        ("proxy = \"http://proxy:99999\"\n", "upstream.proxy"),
        ("proxy = \"http://:3128\"\n", "upstream.proxy"),
        ("ca_file = \"\"\n", "upstream.ca_file"),
        ("[admin]\ngroup = \"a\\nb\"\n", "admin.group"),
        ("[log]\nlevel = \"inof\"\n", "log.level"),
        (
            "[[ingest.extra_arrays]]\nname = \"userPresenceEvents\"\nendpoint = \"presence\"\n",
            "ingest.extra_arrays",
        ),
        ("[[ingest.extra_arrays]]\nname = \"n\"\nendpoint = \"presense\"\n", "ingest.extra_arrays"),
        ("[[ingest.extra_arrays]]\nname = \"a\\\"b\"\nendpoint = \"presence\"\n", "ingest.extra_arrays"),
        ("[[ingest.extra_arrays]]\nname = \"1st\"\nendpoint = \"presence\"\n", "ingest.extra_arrays"),
    ];

    for (text, key) in cases {
        let message = refused(text);

        assert!(message.contains("has 1 error"), "{text}: {message}");
        assert!(message.contains(&format!("\n{key}: found ")), "{text}: {message}");
    }
}

#[test]
fn a_suggestion_is_near_whatever_its_case_or_there_is_none() {
    let cases = [
        ("[log]\nlevel = \"INFO\"\n", Some("did you mean \"info\"?")),
        ("[log]\nformat = \"JSON\"\n", Some("did you mean \"json\"?")),
        ("[ingest]\nunknown = \"Refuse\"\n", Some("did you mean \"refuse\"?")),
        ("[relay]\none_per_key = \"True\"\n", Some("write true in lower case and without quotes")),
        ("[Relay]\nburst = 1\n", Some("did you mean relay.burst?")),
        ("[daemon]\ngrace = \"1M\"\n", Some("M stands for months; write \"1m\" for a minute")),
        ("proxy = \"proxy.example:3128\"\n", Some("write http:// before host and port")),
        ("[log]\nlevel = \"loud\"\n", None),
        ("[ingest]\nunknown = \"zzz\"\n", None),
        ("[zzz]\nq = 1\n", None),
    ];

    for (text, hint) in cases {
        let message = refused(text);

        match hint {
            Some(hint) => assert!(message.contains(hint), "{text}: {message}"),
            None => assert!(!message.contains("did you mean"), "{text}: {message}"),
        }
    }
}

#[test]
fn a_credential_loses_white_space_at_its_ends_and_anything_else_is_named_without_the_value() {
    let with_id = |id: &str| format!("[upstream]\nregion = \"eu-central-1\"\nclient_id = {id}\n");

    let trimmed = load(&with_id("\" c\\n\""), &[]).unwrap().config;
    let broken = load(&with_id("\"hun\\nter2\""), &[]).unwrap_err().to_string();
    let secret = refused("client_secret = \"hunter\\u0000two\"\n");

    assert!(matches!(trimmed.upstream.credentials, Credentials::Client { id, .. } if id == "c"));
    assert!(
        broken.contains("upstream.client_id: found") && broken.contains("it has a line break"),
        "{broken}"
    );
    assert!(secret.contains("it has a NUL character") && !secret.contains("hunter"), "{secret}");
}

#[test]
fn contradictions_upstream_are_refused() {
    let cases = [
        "region = \"eu-west-1\"\napi_url = \"https://a\"\nlogin_url = \"https://b\"\nclient_id = \"c\"",
        "api_url = \"https://a\"\nclient_id = \"c\"",
        "api_url = \"http://a\"\nlogin_url = \"https://b\"\nclient_id = \"c\"",
        "region = \"eu-west-1\"\nclient_id = \"c\"\naccess_token_file = \"t\"",
        "region = \"eu-west-1\"\nclient_id = \"c\"\nclient_secret = \"s\"\nclient_secret_file = \"f\"",
    ];

    for case in cases {
        let error = load(&format!("[upstream]\n{case}\n"), &[]).unwrap_err();

        let ConfigError::Invalid(faults) = &error else { panic!("{error}") };
        assert_eq!(faults.0.len(), 1, "{case}: {error}");
    }
}

#[test]
fn a_domain_in_place_of_a_region_is_recognised() {
    let message =
        load("[upstream]\nregion = \"mypurecloud.de\"\nclient_id = \"c\"\n", &[]).unwrap_err().to_string();

    assert!(message.contains("write \"eu-central-1\""), "{message}");
    assert!(message.contains("eusc-de-east-1"), "{message}");
}

#[test]
fn no_message_holds_a_secret() {
    let message =
        refused("client_secret = \"hunter2\"\nclient_secret_file = \"f\"\nproxy = \"ftp://u:hunter2@p\"\n");

    assert!(!message.contains("hunter2"), "{message}");
}

#[test]
fn a_syntax_error_names_file_and_line() {
    let error = load("[upstream]\nregion = \n", &[]).unwrap_err();

    assert!(error.to_string().starts_with("/conf/trunkline.toml:2: "), "{error}");
}

#[test]
fn a_missing_file_is_named() {
    let error = config::load_with(Some(Path::new("/nowhere/t.toml")), std::iter::empty()).unwrap_err();

    assert!(matches!(error, ConfigError::Missing { .. }));
    assert!(error.to_string().contains("/nowhere/t.toml"));
}
