//! What systemd hears: ready, status, reloading, stopping, and the watchdog, which delivery never stops.

use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;
use uuid::Uuid;

use crate::common::{Home, PATIENCE, Sandbox, accepted, hold_event, trunkline};

/// A stand-in for systemd's end of `NOTIFY_SOCKET`.
struct Notified {
    socket: UnixDatagram,
    daemon: Child,
}

impl Notified {
    fn run(home: &Home, watchdog: Option<&str>) -> Self {
        let path = home.path().join("notify.sock");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let log = std::fs::File::create(home.path().join("log")).unwrap();
        let mut command: Command = trunkline();
        command.args(["run", "--config"]).arg(home.config()).env("NOTIFY_SOCKET", &path).stderr(log);
        if let Some(usec) = watchdog {
            command.env("WATCHDOG_USEC", usec);
        }
        Self { socket, daemon: command.spawn().unwrap() }
    }

    /// Reads messages until one has `wanted`; gives all of them.
    fn until(&self, wanted: &str) -> Vec<String> {
        let mut heard = Vec::new();
        let mut buffer = [0; 8192];
        loop {
            let length =
                self.socket.recv(&mut buffer).unwrap_or_else(|_| panic!("never: {wanted}; {heard:?}"));
            let text = String::from_utf8(buffer[..length].to_vec()).unwrap();
            let is_it = text.contains(wanted);
            heard.push(text);
            if is_it {
                return heard;
            }
        }
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.daemon.id().cast_signed()), signal).unwrap();
    }
}

impl Drop for Notified {
    fn drop(&mut self) {
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}

#[test]
fn it_says_when_it_is_ready_reloads_and_stops_and_what_it_does_in_between() {
    let sandbox = Sandbox::start(&[]);
    let home = Home::new(&sandbox.addr, "");
    let mut told = Notified::run(&home, None);

    told.until("READY=1");
    let accepts = home.producer().ask(&hold_event(Uuid::new_v4(), 1).1);
    told.until("STATUS=delivering");
    told.signal(Signal::SIGHUP);
    let reloading = told.until("RELOADING=1");
    let ready_again = told.until("READY=1");
    told.signal(Signal::SIGTERM);
    told.until("STOPPING=1");

    assert_eq!(accepts, accepted());
    assert!(reloading.last().unwrap().contains("MONOTONIC_USEC="), "{reloading:?}");
    assert!(!ready_again.is_empty());
    assert!(told.daemon.wait().unwrap().success());
}

#[test]
fn the_watchdog_is_fed_while_nothing_can_be_delivered() {
    let sandbox = Sandbox::start(&[]);
    sandbox.set_faults(&json!({"status": 503}));
    let home = Home::new(&sandbox.addr, "");
    let told = Notified::run(&home, Some("400000"));
    told.until("READY=1");
    home.producer().ask(&hold_event(Uuid::new_v4(), 1).1);

    told.until("STATUS=waiting to deliver conversations: 503");

    for _ in 0..3 {
        told.until("WATCHDOG=1");
    }
}

#[test]
fn a_long_drain_tells_systemd_no_more_than_the_time_before() {
    let sandbox = Sandbox::start(&[]);
    sandbox.set_faults(&json!({"status": 503}));
    let home = Home::new(&sandbox.addr, "[daemon]\ndrain = \"60s\"\n");
    let told = Notified::run(&home, Some("30000000"));
    told.until("READY=1");
    home.producer().ask(&hold_event(Uuid::new_v4(), 1).1);
    told.until("STATUS=waiting to deliver conversations: 503");

    told.signal(Signal::SIGTERM);
    told.until("STOPPING=1");
    told.socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    // Two seconds, unless there is always one more.
    let messages = (0..40).filter(|_| told.socket.recv(&mut [0; 8192]).is_ok()).count();

    assert!(messages < 5, "{messages} of 40 times there was a message");
}
