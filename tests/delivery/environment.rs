//! What surrounds the daemon may hang, be full, or be handed down oddly: it accepts, delivers and ends all the same.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::time::Duration;

use nix::fcntl::{FcntlArg, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, mkfifo};
use uuid::Uuid;

use crate::common::{Home, PATIENCE, Sandbox, accepted, eventually, hold_event, trunkline, within};

/// A daemon that was started in a way of its own; killed when dropped.
struct Started(Child);

impl Started {
    fn by(command: &mut Command, home: &Home) -> Self {
        let started = Self(command.spawn().unwrap());
        eventually("the daemon accepts", || std::os::unix::net::UnixStream::connect(home.socket()).is_ok());
        started
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.0.id().cast_signed()), signal).unwrap();
    }

    fn ended(&mut self) -> ExitStatus {
        let mut status = None;
        eventually("the daemon ends", || {
            status = self.0.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn run(home: &Home) -> Command {
    let log = File::options().create(true).append(true).open(home.path().join("log")).unwrap();
    let mut command = trunkline();
    command.args(["run", "--config"]).arg(home.config()).stderr(log);
    command
}

fn is_full(pipe: impl AsFd) -> bool {
    let mut asked = [PollFd::new(pipe.as_fd(), PollFlags::POLLOUT)];
    poll(&mut asked, PollTimeout::ZERO).unwrap() == 0
}

/// An event is accepted and delivered.
fn assert_works(home: &Home, sandbox: &Sandbox) {
    let (id, line) = hold_event(Uuid::new_v4(), 1);
    assert_eq!(home.producer().ask(&line), accepted());
    eventually("the event is delivered", || sandbox.taken_ids().contains(&id.to_string()));
    assert_eq!(home.admin("GET", "/livez", "").0, 200);
}

#[test]
fn a_log_that_nobody_reads_holds_up_nothing() {
    let sandbox = Sandbox::start(&[]);
    let home = Home::new(&sandbox.addr, "[log]\nlevel = \"trace\"\n");
    let (_reader, writer) = std::io::pipe().unwrap();
    fcntl(&writer, FcntlArg::F_SETPIPE_SZ(4096)).unwrap();
    let ours = writer.try_clone().unwrap();
    let mut daemon = Started::by(run(&home).stderr(writer), &home);
    let refused = [
        r#"{"nothing":[{}]}"#,
        "nonsense",
        r#"{"userRoutingStatusEvents":[{"agentId":7}]}"#,
        r#"{"userRoutingStatusEvents":[{"agentId":"a","sourceId":"s","status":"Idle","eventId":"x"}]}"#,
    ];

    eventually("the pipe is full", || {
        refused.iter().for_each(|line| drop(home.producer().ask(line)));
        is_full(&ours)
    });

    for _ in 0..20 {
        refused.iter().for_each(|line| drop(home.producer().ask(line)));
    }
    assert_works(&home, &sandbox);
    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.ended().code(), Some(0));
}

#[test]
fn a_notify_socket_that_is_full_holds_up_nothing_and_hears_ready_once_it_is_read() {
    let sandbox = Sandbox::start(&[]);
    let home = Home::new(&sandbox.addr, "");
    let path = home.path().join("notify.sock");
    let systemd = UnixDatagram::bind(&path).unwrap();
    systemd.set_read_timeout(Some(PATIENCE)).unwrap();
    let filler = UnixDatagram::unbound().unwrap();
    filler.set_nonblocking(true).unwrap();
    while filler.send_to(b"x", &path).is_ok() {}

    let mut command = run(&home);
    let mut daemon = Started::by(command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "400000"), &home);

    assert_works(&home, &sandbox);
    let mut buffer = [0; 8192];
    loop {
        let length = systemd.recv(&mut buffer).expect("READY=1 comes");
        if buffer[..length].starts_with(b"READY=1") {
            break;
        }
    }
    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.ended().code(), Some(0));
}

#[test]
fn a_configuration_file_that_hangs_is_refused_at_a_reload_and_holds_up_nothing_else() {
    let sandbox = Sandbox::start(&[]);
    let home = Home::new(&sandbox.addr, "");
    let mut daemon = Started::by(&mut run(&home), &home);
    std::fs::remove_file(home.config()).unwrap();
    mkfifo(&home.config(), Mode::S_IRWXU).unwrap();

    daemon.signal(Signal::SIGHUP);
    assert_works(&home, &sandbox);
    let told = trunkline().args(["reload", "--admin"]).arg(home.path().join("admin.sock")).output().unwrap();

    let text = String::from_utf8(told.stderr).unwrap();
    assert_eq!(told.status.code(), Some(78), "{text}");
    assert!(text.contains("trunkline.toml cannot be read: not read within 5s"), "{text}");
    assert_works(&home, &sandbox);
    daemon.signal(Signal::SIGHUP);
    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.ended().code(), Some(0));
}

#[test]
fn signals_that_the_parent_blocked_are_heard() {
    let sandbox = Sandbox::start(&[]);
    let home = Home::new(&sandbox.addr, "");
    let log = File::create(home.path().join("log")).unwrap();
    let mut command = Command::new("env");
    command
        .args(["-i", "--block-signal=TERM", "--block-signal=INT", "--block-signal=HUP"])
        .arg(env!("CARGO_BIN_EXE_trunkline"))
        .args(["run", "--config"])
        .arg(home.config())
        .stderr(log);
    let mut daemon = Started::by(&mut command, &home);

    daemon.signal(Signal::SIGTERM);

    assert_eq!(daemon.ended().code(), Some(0));
}

#[test]
fn a_file_size_limit_of_the_parent_refuses_events_and_ends_nothing() {
    let sandbox = Sandbox::start(&[]);
    let home = Home::new(&sandbox.addr, "");
    let log = File::create(home.path().join("log")).unwrap();
    let mut command = Command::new("sh");
    command
        // Blocks of 512 bytes.
        .args(["-c", "ulimit -f 512; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_trunkline"), "run", "--config"])
        .arg(home.config())
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .stderr(log);
    let mut daemon = Started::by(&mut command, &home);

    let mut producer = home.producer();
    let mut answer = accepted();
    eventually("an event is refused", || {
        answer = producer.ask(&hold_event(Uuid::new_v4(), 1).1);
        answer != accepted()
    });

    assert_eq!(answer["errors"][0]["retryable"], true, "{answer}");
    assert_eq!(home.admin("GET", "/readyz", "").0, 503);
    daemon.signal(Signal::SIGTERM);
    assert!(daemon.ended().code().is_some(), "{}", home.log());
}

#[test]
fn a_file_size_limit_that_may_be_raised_is_raised() {
    let sandbox = Sandbox::start(&[]);
    let home = Home::new(&sandbox.addr, "");
    let mut command = Command::new("sh");
    command
        .args([
            "-c",
            "ulimit -S -f 1; exec \"$0\" \"$@\"",
            env!("CARGO_BIN_EXE_trunkline"),
            "run",
            "--config",
        ])
        .arg(home.config())
        .env_clear()
        .env("PATH", "/usr/bin:/bin");
    let _daemon = Started::by(&mut command, &home);

    assert_works(&home, &sandbox);
}

#[test]
fn an_export_that_meets_a_file_size_limit_says_so() {
    let home = Home::new("127.0.0.1:1", "");
    let daemon = home.run();
    let mut producer = home.producer();
    for nth in 0..20 {
        assert_eq!(producer.ask(&hold_event(Uuid::new_v4(), nth).1), accepted());
    }
    daemon.sigkill();

    let output = Command::new("sh")
        .args(["-c", "ulimit -f 1; exec \"$0\" queue export --config \"$1\" >\"$2\""])
        .arg(env!("CARGO_BIN_EXE_trunkline"))
        .args([home.config(), home.path().join("export")])
        .output()
        .unwrap();

    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("cannot write the export: cannot write to stdout: File too large"), "{said}");
}

#[test]
fn a_sandbox_hears_signals_that_the_parent_blocked() {
    let mut child = Command::new("env")
        .args(["-i", "--block-signal=TERM", env!("CARGO_BIN_EXE_trunkline")])
        .args(["sandbox", "--listen", "127.0.0.1:0"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = [0];
    child.stdout.as_mut().unwrap().read_exact(&mut first).unwrap();
    let mut sandbox = Started(child);

    sandbox.signal(Signal::SIGTERM);

    assert_eq!(sandbox.ended().code(), Some(0));
}

#[test]
fn the_second_signal_waits_for_no_body_that_is_on_its_way() {
    let sandbox = Sandbox::start(&[]);
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let door = format!("[ingest.http]\nlisten = \"127.0.0.1:{port}\"\nallow_anonymous = true\n");
    let home = Home::new(&sandbox.addr, &door);
    let mut daemon = Started::by(&mut run(&home), &home);
    let mut slow = TcpStream::connect(("127.0.0.1", port)).unwrap();
    slow.write_all(
        b"POST /api/v2/events/conversations HTTP/1.1\r\nhost: x\r\nauthorization: Bearer x\r\n\
          content-type: application/json\r\ncontent-length: 100000\r\n\r\n{",
    )
    .unwrap();
    eventually("the body is under way", || home.metric("trunkline_connections{door=\"http\"}") == Some(1.0));

    daemon.signal(Signal::SIGTERM);
    eventually("the first signal is heard", || home.log().contains("stop signal at_once=false"));
    daemon.signal(Signal::SIGTERM);

    // The body itself may take 30 s.
    within(Duration::from_secs(20), "the daemon ends", || daemon.0.try_wait().unwrap().is_some());
    assert_eq!(daemon.ended().code(), Some(0), "{}", home.log());
    assert!(home.log().contains("stopped delivered=0"), "the queue was closed: {}", home.log());
}

#[test]
fn another_process_of_the_same_user_cannot_look_into_the_memory() {
    let sandbox = Sandbox::start(&[]);
    let home = Home::new(&sandbox.addr, "");
    let log = File::create(home.path().join("log")).unwrap();
    let binary = home.path().join("trunkline");
    std::fs::copy(env!("CARGO_BIN_EXE_trunkline"), &binary).unwrap();
    let mut command = Command::new(&binary);
    command.env_clear().args(["run", "--config"]).arg(home.config()).stderr(log);
    if nix::unistd::geteuid().is_root() {
        // What belongs to root must show, and not that root started it.
        let nobody = 65_534;
        for path in [home.path(), &home.config()] {
            std::os::unix::fs::chown(path, Some(nobody), Some(nobody)).unwrap();
        }
        command.uid(nobody).gid(nobody);
    }
    let daemon = Started::by(&mut command, &home);

    // The kernel gives the files of a process that is not dumpable to root: proc(5).
    let memory = std::fs::metadata(format!("/proc/{}/mem", daemon.0.id())).unwrap();

    assert_eq!(memory.uid(), 0);
}

/// Calls of the C library that fail, or never return, while a file is there.
const SHIM: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <netdb.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>
static int is_on(const char *name) { const char *path = getenv(name); return path && access(path, F_OK) == 0; }
int pthread_create(pthread_t *t, const pthread_attr_t *a, void *(*f)(void *), void *arg) {
    if (is_on("NO_THREADS")) return EPERM;
    int (*real)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *) = dlsym(RTLD_NEXT, "pthread_create");
    return real(t, a, f, arg);
}
int getaddrinfo(const char *n, const char *s, const struct addrinfo *h, struct addrinfo **r) {
    if (is_on("NO_NAMES")) for (;;) pause();
    int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **) = dlsym(RTLD_NEXT, "getaddrinfo");
    return real(n, s, h, r);
}
"#;

fn shim(dir: &Path) -> PathBuf {
    let (source, library) = (dir.join("shim.c"), dir.join("shim.so"));
    std::fs::write(&source, SHIM).unwrap();
    let built =
        Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source).arg("-ldl").status();
    assert!(built.unwrap().success());
    library
}

#[test]
fn a_name_look_up_that_hangs_does_not_keep_the_process() {
    let sandbox = Sandbox::start(&[]);
    let home = Home::new(&sandbox.addr, "");
    home.reconfigure(
        &format!("api_url = \"http://{0}\"\nlogin_url = \"http://{0}\"", sandbox.addr),
        "api_url = \"https://api.example.org\"\nlogin_url = \"https://login.example.org\"",
    );
    let flag = home.path().join("no-names");
    File::create(&flag).unwrap();
    let mut command = run(&home);
    command.env("LD_PRELOAD", shim(home.path())).env("NO_NAMES", &flag);
    let mut daemon = Started::by(&mut command, &home);
    assert_eq!(home.producer().ask(&hold_event(Uuid::new_v4(), 1).1), accepted());
    eventually("a thread looks the name up", || threads(daemon.0.id(), "tokio") > 2);

    daemon.signal(Signal::SIGTERM);

    assert_eq!(daemon.ended().code(), Some(0), "{}", home.log());
}

/// How many threads of a process have a name that begins so.
fn threads(pid: u32, name: &str) -> usize {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let names = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
    names.filter(|found| found.starts_with(name)).count()
}

#[test]
fn a_panic_that_nobody_waits_for_ends_the_process_with_1_and_without_its_text() {
    let sandbox = Sandbox::start(&[]);
    let home = Home::new(&sandbox.addr, "");
    let flag = home.path().join("no-threads");
    let mut command = run(&home);
    command.env("LD_PRELOAD", shim(home.path())).env("NO_THREADS", &flag);
    let mut daemon = Started::by(&mut command, &home);
    assert_works(&home, &sandbox);
    // Those for blocking calls end after ten quiet seconds; the two workers stay.
    eventually("no spare thread is left", || threads(daemon.0.id(), "tokio") <= 2);
    File::create(&flag).unwrap();

    // A connection's task has no thread for its work, which tokio answers with a panic.
    let _ =
        trunkline().args(["dead-letters", "list", "--admin"]).arg(home.path().join("admin.sock")).output();

    assert_eq!(daemon.ended().code(), Some(1), "{}", home.log());
    let log = home.log();
    assert!(log.contains("a panic, which is a bug in trunkline: stopping"), "{log}");
    assert!(!log.contains("OS can't spawn"), "{log}");
}

#[test]
fn words_of_others_are_shown_as_escapes_on_a_terminal_and_as_they_are_in_json() {
    let evil = "caller \u{1b}[31mRED\u{1b}]0;owned\u{7}\u{9b}31m\u{202e}\r\nforged: all is well";
    let upstream = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = upstream.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in upstream.incoming() {
            let Ok(stream) = stream else { return };
            std::thread::spawn(move || answer_with(stream, evil));
        }
    });
    let home = Home::new(&addr, "");
    let _daemon = home.run();
    let (id, line) = hold_event(Uuid::new_v4(), 1);
    home.producer().ask(&line);
    eventually("the event is dead", || home.status()["dead_letters"] == 1);
    let id = id.to_string();

    for words in [
        home.say(&["dead-letters", "list"]),
        home.say(&["dead-letters", "list", "--group"]),
        home.say(&["status"]),
        home.say(&["trace", &id]),
    ] {
        let acts = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
        assert!(!words.contains(acts), "{words:?}");
        assert!(!words.lines().any(|line| line.trim_start().starts_with("forged")), "{words}");
    }
    assert!(home.say(&["dead-letters", "list"]).contains(r"caller \u{1b}[31mRED"));
    let listed: serde_json::Value =
        serde_json::from_str(&home.say(&["dead-letters", "list", "--json"])).unwrap();
    assert_eq!(listed[0]["message"], evil);
}

/// Answers each request of a connection: a token, an organisation with an odd name, every event refused.
fn answer_with(mut stream: TcpStream, evil: &str) {
    let mut read: Vec<u8> = Vec::new();
    loop {
        let head_end = loop {
            if let Some(at) = read.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
            let mut more = [0; 4096];
            match stream.read(&mut more) {
                Ok(length) if length > 0 => read.extend_from_slice(&more[..length]),
                _ => return,
            }
        };
        let head = String::from_utf8_lossy(&read[..head_end]).to_ascii_lowercase();
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "))
            .map_or(0, |length| length.trim().parse::<usize>().unwrap());
        while read.len() < head_end + length {
            let mut more = [0; 4096];
            match stream.read(&mut more) {
                Ok(length) if length > 0 => read.extend_from_slice(&more[..length]),
                _ => return,
            }
        }
        let body: serde_json::Value =
            serde_json::from_slice(&read[head_end..head_end + length]).unwrap_or_default();
        let answer = if head.contains("/oauth/token") {
            serde_json::json!({"access_token": "token", "token_type": "bearer", "expires_in": 3600})
        } else if let Some(event) = body["holdUpdatedEvents"].get(0) {
            serde_json::json!({"errors": [{"eventId": event["eventId"], "message": evil, "retryable": false}]})
        } else {
            serde_json::json!({"organization": {"id": Uuid::from_u128(5), "name": evil}})
        };
        let answer = answer.to_string();
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nININ-Correlation-Id: {}\r\ncontent-length: {}\r\n\r\n",
            Uuid::new_v4(),
            answer.len()
        );
        if stream.write_all((head + &answer).as_bytes()).is_err() {
            return;
        }
        read.drain(..head_end + length);
    }
}

#[test]
fn a_record_of_starts_that_is_damaged_is_told_as_the_reason_for_the_wait() {
    let sandbox = Sandbox::start(&[]);
    let home = Home::new(&sandbox.addr, "");
    home.run().sigkill();
    std::fs::write(home.path().join("queue/starts"), "cut").unwrap();

    let _daemon = home.run();
    assert_eq!(home.producer().ask(&hold_event(Uuid::new_v4(), 1).1), accepted());

    eventually("status says why", || {
        let lane = &home.status()["lanes"]["conversations"];
        lane["reason"].as_str().is_some_and(|reason| reason.contains("before the restart"))
            && lane["next_attempt_seconds"].as_u64().is_some_and(|wait| wait > 0)
    });
    assert!(home.log().contains("starts in queue.dir does not tell"), "{}", home.log());
}
