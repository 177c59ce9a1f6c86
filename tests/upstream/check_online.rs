//! `config check --online` against the sandbox: what an operator would find out from the log otherwise.

use trunkline::event::Lane;

use crate::common::{Home, Sandbox, trunkline};

/// Exit code and output of the check against a sandbox with these flags.
fn check(flags: &[&str]) -> (Option<i32>, String) {
    let sandbox = Sandbox::start(flags);
    let home = Home::new(&sandbox.addr, "");
    let checked = check_of(&home);
    assert_eq!(sandbox.taken().len(), 0, "the check sent an event");
    checked
}

fn check_of(home: &Home) -> (Option<i32>, String) {
    let output =
        trunkline().args(["config", "check", "--online", "--config"]).arg(home.config()).output().unwrap();
    (output.status.code(), String::from_utf8(output.stdout).unwrap())
}

/// The line about `name`.
fn line<'a>(text: &'a str, name: &str) -> &'a str {
    text.lines()
        .find(|line| line.split_whitespace().nth(1) == Some(name))
        .unwrap_or_else(|| panic!("no {name} in:\n{text}"))
}

#[test]
fn all_is_well_with_a_good_account() {
    let (code, text) = check(&[]);

    assert_eq!(code, Some(0), "{text}");
    assert!(line(&text, "organisation").contains("sandbox"), "{text}");
    for lane in Lane::ALL {
        assert!(line(&text, lane.name()).contains("permitted"), "{text}");
    }
    assert!(line(&text, "clock").starts_with("ok"), "{text}");
}

#[test]
fn a_missing_permission_is_named_and_the_other_lanes_are_well() {
    let (code, text) = check(&["--deny", "presence:userPresence:inject"]);

    assert_eq!(code, Some(1), "{text}");
    let presence = line(&text, "presence");
    assert!(presence.starts_with("fault") && presence.contains("presence:userPresence:inject"), "{text}");
    assert!(line(&text, "conversations").starts_with("ok"), "{text}");
}

#[test]
fn a_wrong_secret_ends_the_check_at_the_login() {
    let (code, text) = check(&["--refuse-login"]);

    assert_eq!(code, Some(1), "{text}");
    assert!(
        line(&text, "login").starts_with("fault") && line(&text, "login").contains("invalid_client"),
        "{text}"
    );
    assert!(!text.contains("conversations"), "{text}");
}

#[test]
fn a_clock_that_is_off_is_told_with_its_direction() {
    let (code, text) = check(&["--date-offset", "-300"]);

    assert_eq!(code, Some(1), "{text}");
    let clock = line(&text, "clock");
    assert!(clock.contains("fast by 30") || clock.contains("fast by 29"), "{text}");
}

#[test]
fn a_name_that_no_dns_knows_is_told_with_what_to_do() {
    let home = Home::new("127.0.0.1:1", "");
    let text = std::fs::read_to_string(home.config())
        .unwrap()
        .replace("http://127.0.0.1:1", "https://api.nowhere.invalid");
    std::fs::write(home.config(), text).unwrap();

    let (code, text) = check_of(&home);

    assert_eq!(code, Some(1), "{text}");
    assert!(line(&text, "name").contains("nowhere.invalid") && text.contains("DNS"), "{text}");
}
