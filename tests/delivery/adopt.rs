//! A queue that was filled for one account is not sent to another until an operator says so.

use std::process::Output;

use serde_json::json;
use uuid::Uuid;

use crate::common::{Home, Sandbox, accepted, eventually, hold_event, trunkline};

fn rename_client(home: &Home, to: &str) {
    let text = std::fs::read_to_string(home.config()).unwrap();
    let line = text.lines().find(|line| line.starts_with("client_id")).unwrap().to_owned();
    std::fs::write(home.config(), text.replace(&line, &format!("client_id = \"{to}\""))).unwrap();
}

fn adopt(home: &Home) -> Output {
    trunkline().args(["adopt", "--config"]).arg(home.config()).output().unwrap()
}

#[test]
fn events_of_another_client_wait_until_they_are_adopted() {
    let sandbox = Sandbox::start(&[]);
    sandbox.set_faults(&json!({"status": 503}));
    let home = Home::new(&sandbox.addr, "");
    let daemon = home.run();
    assert_eq!(home.producer().ask(&hold_event(Uuid::new_v4(), 1).1), accepted());
    daemon.sigterm();
    daemon.wait();
    let other = "11111111-1111-4111-8111-111111111111";
    sandbox.set_faults(&json!({"status": null, "organisation": other}));
    rename_client(&home, "another");

    let daemon = home.run();
    assert_eq!(home.producer().ask(&hold_event(Uuid::new_v4(), 1).1), accepted());
    eventually("the log says why", || home.log().contains("1 events were accepted for client test"));
    daemon.sigterm();
    assert_eq!(daemon.wait().code(), Some(0));
    let before = sandbox.taken().len();
    let adopted = adopt(&home);
    let _daemon = home.run();

    eventually("both are delivered", || sandbox.taken().len() == 2);
    assert_eq!(before, 0);
    assert_eq!(adopted.status.code(), Some(0), "{adopted:?}");
    let said = String::from_utf8(adopted.stdout).unwrap();
    assert!(said.contains("client another") && said.contains("before: client test"), "{said}");
}

#[test]
fn events_of_another_client_of_the_same_organisation_leave_by_themselves() {
    let sandbox = Sandbox::start(&[]);
    let home = Home::new(&sandbox.addr, "");
    let daemon = home.run();
    assert_eq!(home.producer().ask(&hold_event(Uuid::new_v4(), 1).1), accepted());
    let owner = home.path().join("queue/owner");
    let knows = || std::fs::read_to_string(&owner).is_ok_and(|text| text.contains("00000000-0000"));
    eventually("the organisation is known", knows);
    sandbox.set_faults(&json!({"status": 503}));
    assert_eq!(home.producer().ask(&hold_event(Uuid::new_v4(), 2).1), accepted());
    daemon.sigterm();
    daemon.wait();
    sandbox.set_faults(&json!({"status": null}));
    rename_client(&home, "another");

    let _daemon = home.run();

    eventually("both are delivered", || sandbox.taken().len() == 2);
    eventually("the log says so", || home.log().contains("belong to the same organisation"));
}

#[test]
fn a_running_daemon_adopts_and_sends_at_once() {
    let sandbox = Sandbox::start(&[]);
    sandbox.set_faults(&json!({"status": 503}));
    let home = Home::new(&sandbox.addr, "");
    let daemon = home.run();
    assert_eq!(home.producer().ask(&hold_event(Uuid::new_v4(), 1).1), accepted());
    daemon.sigterm();
    daemon.wait();
    sandbox.set_faults(&json!({"status": null, "organisation": "11111111-1111-4111-8111-111111111111"}));
    rename_client(&home, "another");
    let _daemon = home.run();
    eventually("nothing is sent", || home.log().contains("1 events were accepted for client test"));

    let adopted = adopt(&home);

    assert_eq!(adopted.status.code(), Some(0), "{adopted:?}");
    eventually("it is delivered", || sandbox.taken().len() == 1);
    eventually("the log says so", || home.log().contains("adopted by an operator"));
    eventually("the organisation is known", || home.status()["organisation_name"].is_string());
    assert!(!home.log().contains("belong to the same organisation"), "{}", home.log());
}
