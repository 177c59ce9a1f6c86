//! An access token from a file: whoever writes it may write another organisation's, and what was queued is not sent with it.

use std::io::{Read, Write};

use serde_json::json;
use uuid::Uuid;

use crate::common::{Home, Running, Sandbox, accepted, eventually, hold_event};

const OTHER: &str = "11111111-1111-4111-8111-111111111111";

/// A token of the sandbox, as somebody else would fetch it into `access_token_file`.
fn token(sandbox: &Sandbox) -> String {
    let mut stream = std::net::TcpStream::connect(&sandbox.addr).unwrap();
    let form = "grant_type=client_credentials";
    write!(
        stream,
        "POST /oauth/token HTTP/1.1\r\nhost: {}\r\nconnection: close\r\nauthorization: Basic dGVzdDp0ZXN0\r\n\
         content-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\r\n{form}",
        sandbox.addr,
        form.len()
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (_, rest) = answer.split_once("\"access_token\":\"").unwrap();
    rest.split_once('"').unwrap().0.to_owned()
}

/// A home whose daemon takes its token from the file `token`.
fn home(sandbox: &Sandbox) -> Home {
    let home = Home::new(&sandbox.addr, "");
    write(&home, &token(sandbox));
    home.reconfigure(
        "client_id = \"test\"\nclient_secret = \"test-secret\"",
        "access_token_file = \"token\"",
    );
    home
}

fn write(home: &Home, token: &str) {
    std::fs::write(home.path().join("token"), token).unwrap();
}

fn is_held(home: &Home, reason: &str) -> bool {
    home.status()["lanes"]["conversations"]["reason"].as_str().is_some_and(|found| found.contains(reason))
}

/// A daemon that knows its organisation, with one event queued and a token that has ended.
fn with_an_ended_token(sandbox: &Sandbox, home: &Home) -> Running {
    let daemon = home.run();
    eventually("the organisation is known", || home.status()["organisation_name"].is_string());
    sandbox.set_faults(&json!({"unauthorized": true}));
    assert_eq!(home.producer().ask(&hold_event(Uuid::new_v4(), 1).1), accepted());
    eventually("the token has ended", || home.status()["state"] == "unauthorized");
    daemon
}

#[test]
fn a_token_from_a_file_that_is_of_another_organisation_sends_nothing_of_what_was_queued() {
    let sandbox = Sandbox::start(&[]);
    let home = home(&sandbox);
    let daemon = home.run();
    eventually("the organisation is known", || home.status()["organisation_name"].is_string());
    sandbox.set_faults(&json!({"status": 503}));
    assert_eq!(home.producer().ask(&hold_event(Uuid::new_v4(), 1).1), accepted());
    daemon.sigterm();
    daemon.wait();

    sandbox.set_faults(&json!({"status": null, "organisation": OTHER}));
    let _daemon = home.run();
    eventually("it is held, and for whom is told", || is_held(&home, "1 events were accepted for"));
    let before = sandbox.stat("distinct");
    sandbox.set_faults(&json!({"organisation": null}));
    home.say(&["reload"]);

    eventually("with the right one it leaves by itself", || sandbox.stat("distinct") == 1);
    assert_eq!(before, 0);
}

#[test]
fn after_a_401_a_token_of_another_organisation_sends_nothing_of_what_was_queued_until_it_is_adopted() {
    let sandbox = Sandbox::start(&[]);
    let home = home(&sandbox);
    let _daemon = with_an_ended_token(&sandbox, &home);

    // The sandbox takes the old token again once the fault is over: only the new one may be there by then.
    write(&home, &token(&sandbox));
    sandbox.set_faults(&json!({"organisation": OTHER}));
    eventually("it is held, and for whom is told", || is_held(&home, "1 events were accepted for"));
    sandbox.set_faults(&json!({"unauthorized": null}));
    // It would be sent at once if it might be.
    home.say(&["resume"]);
    assert_eq!(home.producer().ask(&hold_event(Uuid::new_v4(), 2).1), accepted());
    eventually("both are held", || home.status()["queue_events"] == 2 && is_held(&home, "accepted for"));
    let before = sandbox.stat("distinct");
    home.say(&["adopt"]);

    eventually("both are sent now", || sandbox.stat("distinct") == 2);
    assert_eq!(before, 0);
}

#[test]
fn after_a_401_a_token_of_the_same_organisation_goes_on_by_itself() {
    let sandbox = Sandbox::start(&[]);
    let home = home(&sandbox);
    let _daemon = with_an_ended_token(&sandbox, &home);

    write(&home, &token(&sandbox));
    sandbox.set_faults(&json!({"unauthorized": null}));

    eventually("it is delivered", || sandbox.stat("distinct") == 1);
    eventually("all is well", || home.status()["state"] == "running");
    assert!(!home.log().contains("sending none"), "{}", home.log());
}

#[test]
fn a_token_that_tells_no_organisation_sends_nothing_where_one_was_known() {
    let sandbox = Sandbox::start(&[]);
    let home = home(&sandbox);
    let _daemon = with_an_ended_token(&sandbox, &home);

    write(&home, "not-a-token");
    eventually("it is held", || is_held(&home, "the token's organisation is not known yet"));
    sandbox.set_faults(&json!({"unauthorized": null}));
    write(&home, &token(&sandbox));
    home.say(&["reload"]);

    eventually("with a good one it leaves by itself", || sandbox.stat("distinct") == 1);
}

#[test]
fn the_next_token_of_a_file_that_could_not_be_read_is_no_less_suspect() {
    let sandbox = Sandbox::start(&[]);
    let home = home(&sandbox);
    let daemon = home.run();
    eventually("the organisation is known", || home.status()["organisation_name"].is_string());
    daemon.sigterm();
    daemon.wait();
    let file = home.path().join("token");
    std::fs::remove_file(&file).unwrap();
    let _daemon = home.run();
    assert_eq!(home.producer().ask(&hold_event(Uuid::new_v4(), 1).1), accepted());
    eventually("there is no token", || home.status()["state"] == "unauthorized");

    sandbox.set_faults(&json!({"organisation": OTHER}));
    write(&home, &token(&sandbox));

    eventually("it is held, and for whom is told", || is_held(&home, "1 events were accepted for"));
    assert_eq!(sandbox.stat("distinct"), 0);
}

#[test]
fn a_secret_on_a_mount_that_hangs_is_told_and_keeps_neither_reload_nor_the_end_from_coming() {
    let sandbox = Sandbox::start(&[]);
    let home = Home::new(&sandbox.addr, "");
    home.reconfigure("client_secret = \"test-secret\"", "client_secret_file = \"pipe\"");
    nix::unistd::mkfifo(&home.path().join("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();

    let daemon = home.run();
    assert_eq!(home.producer().ask(&hold_event(Uuid::new_v4(), 1).1), accepted());
    eventually("the lane says why", || is_held(&home, "pipe is not read within 5s"));
    let reload = home.cli(&["reload"]);
    daemon.sigterm();
    let exit = daemon.wait();

    assert!(reload.status.success(), "{reload:?}");
    assert_eq!(exit.code(), Some(0));
}
