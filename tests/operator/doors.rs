//! The daemon's sockets: what is at their paths, who keeps their places, and how they end.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::process::Command;

use crate::common::{Home, accepted, eventually, hold_event, http};
use uuid::Uuid;

/// An address on loopback that is free now.
fn free_address() -> String {
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    socket.local_addr().unwrap().to_string()
}

/// Sends requests until no more fit, and reads none of the answers.
fn ask_without_reading<S: Write>(stream: &mut S) {
    let requests = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n".repeat(50);
    loop {
        match stream.write(&requests) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return,
            // Somebody else needed its place.
            Err(_) => return,
        }
    }
}

#[test]
fn peers_that_do_not_read_shut_out_no_probe() {
    let address = free_address();
    let home = Home::new("127.0.0.1:1", "");
    home.reconfigure("[admin]\n", &format!("[admin]\nmetrics_listen = \"{address}\"\n"));
    let _daemon = home.run();
    let mut deaf = Vec::new();
    for _ in 0..100 {
        let mut stream = TcpStream::connect(&address).unwrap();
        stream.set_nonblocking(true).unwrap();
        ask_without_reading(&mut stream);
        deaf.push(stream);
    }
    let mut deaf_operators = Vec::new();
    for _ in 0..100 {
        let mut stream = UnixStream::connect(home.path().join("admin.sock")).unwrap();
        stream.set_nonblocking(true).unwrap();
        ask_without_reading(&mut stream);
        deaf_operators.push(stream);
    }

    let (status, metrics) = http(&address, "GET", "/metrics", "");
    let live = home.cli(&["status", "--quiet", "--live"]);

    assert_eq!(status, 200);
    assert!(String::from_utf8(metrics).unwrap().contains("trunkline_build_info"));
    assert_eq!(live.status.code(), Some(0), "{live:?}");
}

#[test]
fn operators_that_never_finish_a_body_shut_out_no_probe() {
    let home = Home::new("127.0.0.1:1", "");
    let _daemon = home.run();
    let mut unfinished = Vec::new();
    let part = "POST /dead-letters/list HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{";
    for _ in 0..100 {
        let mut stream = UnixStream::connect(home.path().join("admin.sock")).unwrap();
        // The places are all in use: some are closed before they have written it.
        let _ = stream.write_all(part.as_bytes());
        unfinished.push(stream);
    }

    let live = home.cli(&["status", "--quiet", "--live"]);

    assert_eq!(live.status.code(), Some(0), "{live:?}");
}

#[test]
fn directories_on_the_way_to_a_socket_let_others_through() {
    let home = Home::new("127.0.0.1:1", "");
    let config = std::fs::read_to_string(home.config()).unwrap();
    let listen = config.lines().find(|line| line.starts_with("listen = \"unix:")).unwrap();
    home.reconfigure(listen, "listen = \"unix:one/two/admin.sock\"");

    let _daemon = home.run();
    eventually("the socket is there", || home.path().join("one/two/admin.sock").exists());

    for dir in ["one", "one/two"] {
        let mode = std::fs::metadata(home.path().join(dir)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o755, "{dir}");
    }
}

#[test]
fn an_http_door_whose_section_a_reload_took_away_lets_nobody_in() {
    let address = free_address();
    let section = format!("[ingest.http]\nlisten = \"{address}\"\nallow_anonymous = true\n");
    let home = Home::new("127.0.0.1:1", &section);
    let _daemon = home.run();
    let ask = || http(&address, "POST", "/api/v2/events/conversations", &hold_event(Uuid::new_v4(), 1).1).0;
    let before = ask();

    home.reconfigure(&section, "");
    home.cli(&["reload"]);

    // The door itself goes with a restart only.
    assert_eq!((before, ask()), (200, 401));
}

#[test]
fn a_second_signal_ends_a_body_that_is_under_way() {
    let address = free_address();
    let more = format!("[ingest.http]\nlisten = \"{address}\"\nallow_anonymous = true\n");
    let home = Home::new("127.0.0.1:1", &more);
    let daemon = home.run();
    let mut slow = TcpStream::connect(&address).unwrap();
    let head = "POST /api/v2/events/users/presence HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
                Expect: 100-continue\r\nContent-Length: 5000\r\n\r\n";
    slow.write_all(head.as_bytes()).unwrap();
    let mut told_to_go_on = [0; 25];
    slow.read_exact(&mut told_to_go_on).unwrap();

    daemon.sigterm();
    eventually("the stop has reached the doors", || !home.socket().exists());
    daemon.sigterm();
    let ended = daemon.wait();

    assert!(told_to_go_on.starts_with(b"HTTP/1.1 100"));
    assert!(ended.success(), "{ended:?}: {}", home.log());
    assert!(!home.log().contains("slow_body"), "it did not wait for the body: {}", home.log());
}

#[test]
fn a_socket_file_that_was_removed_is_not_ready_and_made_anew() {
    let home = Home::new("127.0.0.1:1", "");
    let _daemon = home.run();
    let ready_before = home.admin("GET", "/readyz", "").0;

    std::fs::remove_file(home.socket()).unwrap();
    let (status, said) = home.admin("GET", "/readyz", "");
    eventually("it is created again", || home.socket().exists());
    let answer = home.producer().ask(&hold_event(Uuid::new_v4(), 1).1);

    assert_eq!((ready_before, status), (200, 503));
    assert!(said.contains("events.sock: the socket file was removed"), "{said}");
    assert_eq!(answer, accepted());
    eventually("it is ready", || home.admin("GET", "/readyz", "").0 == 200);
    eventually("the log says so", || home.log().contains("the socket file was created again"));
}

#[test]
fn sockets_have_their_mode_and_what_else_is_made_is_ours_alone() {
    let home = Home::new("127.0.0.1:1", "");
    home.reconfigure("[ingest.stream]\n", "[ingest.stream]\nmode = \"0622\"\n");
    let _daemon = home.run();
    home.producer().ask(&hold_event(Uuid::new_v4(), 1).1);

    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&home.socket()), mode(&home.path().join("admin.sock"))), (0o622, 0o660));
    let mut open = vec![home.path().join("queue")];
    while let Some(path) = open.pop() {
        let metadata = std::fs::symlink_metadata(&path).unwrap();
        assert_eq!(metadata.mode() & 0o077, 0, "{}", path.display());
        if metadata.is_dir() {
            assert_eq!(metadata.mode() & 0o700, 0o700, "{}", path.display());
            open.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
}

#[test]
fn the_limit_of_open_files_is_used_whole_and_bounds_the_connections() {
    let home = Home::new("127.0.0.1:1", "");
    home.reconfigure("[ingest.stream]\n", "[ingest]\nmax_connections = 4000\n[ingest.stream]\n");
    let script = "ulimit -Sn 100; ulimit -Hn 256; exec \"$0\" run --config \"$1\" 2>> \"$2\"";
    let mut child = Command::new("bash")
        .args(["-c", script, env!("CARGO_BIN_EXE_trunkline")])
        .args([home.config(), home.path().join("log")])
        .spawn()
        .unwrap();
    eventually("the daemon accepts", || UnixStream::connect(home.socket()).is_ok());
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", child.id())).unwrap();
    let mut idle = Vec::new();

    for _ in 0..200 {
        idle.push(UnixStream::connect(home.socket()).unwrap());
    }
    let mut last = String::new();
    idle.last_mut().unwrap().read_to_string(&mut last).unwrap();
    drop(idle.split_off(1));
    eventually("there is a place again", || {
        let asked = crate::common::Producer::try_connect(&home.socket());
        asked.is_ok_and(|mut producer| {
            producer.line(&hold_event(Uuid::new_v4(), 1).1).is_ok()
                && producer.answer().is_ok_and(|answer| answer == Some(accepted()))
        })
    });

    let files = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let soft = files.split_whitespace().nth(3).unwrap();
    assert_eq!(soft, "256", "{files}");
    assert!(last.contains("this user has 64 connections"), "{last}");
    eventually("the log says so", || {
        home.log().contains("max_connections=4000") && home.log().contains("most=128")
    });
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_relative_path_of_the_http_door_counts_from_the_configuration_file() {
    let more = "[ingest.http]\nlisten = \"unix:http.sock\"\nallow_anonymous = true\n";
    let home = Home::new("127.0.0.1:1", more);
    let elsewhere = tempfile::tempdir().unwrap();
    let mut child = crate::common::trunkline()
        .current_dir(elsewhere.path())
        .args(["run", "--config"])
        .arg(home.config())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();

    eventually("the door is there", || UnixStream::connect(home.path().join("http.sock")).is_ok());

    assert_eq!(std::fs::read_dir(elsewhere.path()).unwrap().count(), 0);
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_command_that_finds_too_many_waiting_says_busy() {
    let home = Home::new("127.0.0.1:1", "");
    let listener = nix::sys::socket::socket(
        nix::sys::socket::AddressFamily::Unix,
        nix::sys::socket::SockType::Stream,
        nix::sys::socket::SockFlag::SOCK_CLOEXEC,
        None,
    )
    .unwrap();
    let address = nix::sys::socket::UnixAddr::new(&home.socket()).unwrap();
    nix::sys::socket::bind(std::os::fd::AsRawFd::as_raw_fd(&listener), &address).unwrap();
    nix::sys::socket::listen(&listener, nix::sys::socket::Backlog::new(0).unwrap()).unwrap();
    let _waiting = UnixStream::connect(home.socket()).unwrap();
    let (_, line) = hold_event(Uuid::new_v4(), 1);
    let file = home.path().join("lines");
    std::fs::write(&file, format!("{line}\n")).unwrap();

    let send = crate::common::trunkline()
        .args(["send", "--reconnect-for", "300ms", "--socket"])
        .arg(home.socket())
        .arg(&file)
        .output()
        .unwrap();
    let emit = crate::common::trunkline()
        .args(["emit", "userRoutingStatusEvents", "agentId=a", "status=Idle", "sourceId=s", "--socket"])
        .arg(home.socket())
        .output()
        .unwrap();

    for output in [send, emit] {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(69), "{said}");
        assert!(said.contains("busy"), "{said}");
    }
}
