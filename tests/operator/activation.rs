//! Sockets that systemd makes: the daemon takes them and makes none of its own.

use std::net::TcpListener;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixListener;
use std::process::{Child, Command, Stdio};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, socket};
use uuid::Uuid;

use crate::common::{Home, Producer, Sandbox, accepted, eventually, hold_event, http};

/// The daemon with these sockets as its descriptors 3 and on, as systemd starts it.
fn activated(home: &Home, sockets: &[&dyn AsFd], names: &str) -> Child {
    for socket in sockets {
        fcntl(socket.as_fd(), FcntlArg::F_SETFD(FdFlag::empty())).unwrap();
    }
    let redirects: Vec<String> =
        sockets.iter().zip(3..).map(|(socket, to)| format!("{to}<&{}", socket.as_fd().as_raw_fd())).collect();
    // The process that execs keeps its number.
    let script = format!("exec {}; export LISTEN_PID=$$; exec \"$0\" \"$@\"", redirects.join(" "));
    Command::new("bash")
        .args(["-c", &script, env!("CARGO_BIN_EXE_trunkline"), "run", "--config"])
        .arg(home.config())
        .env("LISTEN_FDS", sockets.len().to_string())
        .env("LISTEN_FDNAMES", names)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
fn handed_over_sockets_are_used_and_outlive_the_daemon() {
    let sandbox = Sandbox::start(&[]);
    let home = Home::new(&sandbox.addr, "[ingest.http]\nlisten = \"127.0.0.1:1\"\nallow_anonymous = true\n");
    let path = home.path().join("systemd.sock");
    let stream = UnixListener::bind(&path).unwrap();
    let web = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = web.local_addr().unwrap().to_string();

    let mut first = activated(&home, &[&stream, &web], "stream:http");
    let answer = Producer::connect(&path).ask(&hold_event(Uuid::new_v4(), 1).1);
    let (status, _) = http(&addr, "POST", "/api/v2/events/conversations", &hold_event(Uuid::new_v4(), 2).1);
    first.kill().unwrap();
    first.wait().unwrap();
    // Nobody listens now, and nobody is refused: the producer waits for the next daemon.
    let mut waiting = Producer::connect(&path);
    waiting.line(&hold_event(Uuid::new_v4(), 3).1).unwrap();
    let mut second = activated(&home, &[&stream, &web], "stream:http");

    assert_eq!((answer, status), (accepted(), 200));
    assert_eq!(waiting.answer().unwrap(), Some(accepted()));
    assert!(!home.socket().exists(), "the daemon made a socket of its own");
    eventually("all are delivered", || sandbox.stat("distinct") == 3);
    second.kill().unwrap();
    second.wait().unwrap();
}

#[test]
fn a_handed_over_http_socket_lets_nobody_in_while_neither_a_token_nor_anybody_is_configured() {
    let home = Home::new("127.0.0.1:1", "");
    let web = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = web.local_addr().unwrap().to_string();

    let mut daemon = activated(&home, &[&web], "http");
    let (status, _) = http(&addr, "POST", "/api/v2/events/conversations", &hold_event(Uuid::new_v4(), 1).1);
    daemon.kill().unwrap();
    let said = daemon.wait_with_output().unwrap().stderr;

    assert_eq!(status, 401);
    let said = String::from_utf8_lossy(&said);
    assert!(said.contains("set ingest.http.token_file"), "{said}");
}

#[test]
fn a_socket_that_no_door_takes_is_a_fault_of_configuration() {
    let home = Home::new("127.0.0.1:1", "");
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();

    let unknown = activated(&home, &[&socket], "events").wait_with_output().unwrap();
    let wrong = activated(&home, &[&socket], "stream").wait_with_output().unwrap();

    assert_eq!((unknown.status.code(), wrong.status.code()), (Some(78), Some(78)));
    let said = String::from_utf8_lossy(&unknown.stderr).into_owned();
    assert!(said.contains("\"events\"") && said.contains("FileDescriptorName"), "{said}");
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("is not a unix stream socket"));
}

#[test]
fn two_sockets_of_one_name_are_a_fault_of_configuration() {
    let home = Home::new("127.0.0.1:1", "[ingest.http]\nlisten = \"127.0.0.1:1\"\nallow_anonymous = true\n");
    let bound = || TcpListener::bind("127.0.0.1:0").unwrap();
    let (one, two) = (bound(), bound());

    let refused = activated(&home, &[&one, &two], "http:http").wait_with_output().unwrap();

    assert_eq!(refused.status.code(), Some(78), "{refused:?}");
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("2 sockets named http") && said.contains("ListenStream="), "{said}");
}

#[test]
fn a_socket_that_does_not_listen_is_a_fault_of_configuration() {
    let home = Home::new("127.0.0.1:1", "");
    let bound = socket(AddressFamily::Unix, SockType::Stream, SockFlag::empty(), None).unwrap();
    nix::sys::socket::bind(bound.as_raw_fd(), &UnixAddr::new(&home.path().join("bound")).unwrap()).unwrap();

    let refused = activated(&home, &[&bound], "stream").wait_with_output().unwrap();

    assert_eq!(refused.status.code(), Some(78), "{refused:?}");
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("the socket named stream does not listen"), "{said}");
}
