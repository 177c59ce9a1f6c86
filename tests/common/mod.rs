//! Real parts for the tests: the sandbox and the daemon as processes, a pipelining producer.

#![allow(dead_code, reason = "each test binary uses its own part of this")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::{Value, json};
use uuid::Uuid;

/// How long a condition may take on a busy machine before the test says that it never came.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The binary under test.
pub(crate) fn trunkline() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_trunkline"));
    command.env_clear().stdin(Stdio::null());
    command
}

/// Polls until `condition` holds; panics with `what` after [`PATIENCE`].
pub(crate) fn eventually(what: &str, condition: impl FnMut() -> bool) {
    within(PATIENCE, what, condition);
}

/// Polls until `condition` holds; panics with `what` after `patience`.
pub(crate) fn within(patience: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    let pause = Duration::from_millis(20);
    for _ in 0..patience.as_millis() / pause.as_millis() {
        if condition() {
            return;
        }
        std::thread::park_timeout(pause);
    }
    panic!("never: {what}");
}

/// `trunkline sandbox` as a process; ended when dropped.
pub(crate) struct Sandbox {
    child: Child,
    pub(crate) addr: String,
    _stdout: JoinHandle<()>,
}

impl Sandbox {
    pub(crate) fn start(flags: &[&str]) -> Self {
        let mut child = trunkline()
            .args(["sandbox", "--listen", "127.0.0.1:0"])
            .args(flags)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let addr = loop {
            let mut line = String::new();
            assert!(stdout.read_line(&mut line).unwrap() > 0, "sandbox ended before it said its address");
            if let Some((_, rest)) = line.split_once("http://") {
                break rest.trim().trim_end_matches(['"', '/']).to_owned();
            }
        };
        let drain = std::thread::spawn(move || {
            let _ = std::io::copy(&mut stdout, &mut std::io::sink());
        });
        Self { child, addr, _stdout: drain }
    }

    pub(crate) fn stats(&self) -> Value {
        serde_json::from_slice(&http(&self.addr, "GET", "/sandbox/stats", "").1).unwrap()
    }

    pub(crate) fn stat(&self, name: &str) -> u64 {
        self.stats()[name].as_u64().unwrap_or_else(|| panic!("no number {name} in {}", self.stats()))
    }

    pub(crate) fn set_faults(&self, faults: &Value) {
        let (status, body) = http(&self.addr, "PUT", "/sandbox/faults", &faults.to_string());
        assert!((200..300).contains(&status), "{status}: {}", String::from_utf8_lossy(&body));
    }

    /// What was taken, in order of taking.
    pub(crate) fn taken(&self) -> Vec<Value> {
        let (_, body) = http(&self.addr, "GET", "/sandbox/events", "");
        body.split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
            .map(|line| serde_json::from_slice(line).unwrap())
            .collect()
    }

    pub(crate) fn taken_ids(&self) -> Vec<String> {
        self.taken().iter().map(|event| event["eventId"].as_str().unwrap().to_owned()).collect()
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One HTTP/1.1 exchange on loopback: status and body.
pub(crate) fn http(addr: &str, method: &str, path: &str, body: &str) -> (u16, Vec<u8>) {
    let stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    exchange(stream, addr, method, path, body)
}

/// The same on a stream that is open.
fn exchange(
    mut stream: impl Read + Write,
    addr: &str,
    method: &str,
    path: &str,
    body: &str,
) -> (u16, Vec<u8>) {
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nhost: {addr}\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut raw = Vec::new();
    stream.read_to_end(&mut raw).unwrap();
    let head_end = raw.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
    let head = String::from_utf8_lossy(&raw[..head_end]).to_ascii_lowercase();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let body = &raw[head_end..];
    let body = if head.contains("transfer-encoding: chunked") { dechunk(body) } else { body.to_vec() };
    (status, body)
}

fn dechunk(mut raw: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(end) = raw.windows(2).position(|window| window == b"\r\n") {
        let length = usize::from_str_radix(std::str::from_utf8(&raw[..end]).unwrap().trim(), 16).unwrap();
        if length == 0 {
            break;
        }
        body.extend_from_slice(&raw[end + 2..end + 2 + length]);
        raw = &raw[end + 2 + length + 2..];
    }
    body
}

/// A directory with a configuration for one daemon.
pub(crate) struct Home {
    dir: tempfile::TempDir,
}

impl Home {
    /// Fast pace and short waits, so that a test is about what happens and not about time.
    pub(crate) fn new(sandbox_addr: &str, more: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = format!(
            "[upstream]\napi_url = \"http://{sandbox_addr}\"\nlogin_url = \"http://{sandbox_addr}\"\n\
             client_id = \"test\"\nclient_secret = \"test-secret\"\n\
             [queue]\ndir = \"queue\"\nmin_free_disk = \"1MiB\"\n\
             [ingest.stream]\npath = \"events.sock\"\n[admin]\nlisten = \"unix:admin.sock\"\n\
             [relay]\nrequests_per_minute = 60000\nburst = 100\nbatch_linger = \"50ms\"\n\
             retry_initial = \"20ms\"\nretry_max = \"200ms\"\n{more}"
        );
        std::fs::write(dir.path().join("trunkline.toml"), config).unwrap();
        Self { dir }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.path().join("trunkline.toml")
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.path().join("events.sock")
    }

    /// The daemon as a process, accepting.
    pub(crate) fn run(&self) -> Running {
        let running = self.spawn();
        eventually("the daemon accepts", || UnixStream::connect(self.socket()).is_ok());
        running
    }

    /// The daemon as a process, perhaps still starting.
    pub(crate) fn spawn(&self) -> Running {
        self.spawn_with(&[])
    }

    /// As `spawn`, with these variables for its environment.
    pub(crate) fn spawn_with(&self, env: &[(&str, &str)]) -> Running {
        let log = std::fs::File::options().create(true).append(true).open(self.path().join("log")).unwrap();
        let mut run = trunkline();
        run.arg("run").arg("--config").arg(self.config()).envs(env.iter().copied()).stderr(log);
        Running { child: run.spawn().unwrap() }
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.path().join("log")).unwrap_or_default()
    }

    /// `trunkline send` of `files` to this daemon.
    pub(crate) fn send(&self, files: &[&Path]) -> Output {
        trunkline().arg("send").arg("--socket").arg(self.socket()).args(files).output().unwrap()
    }

    /// One exchange on the admin socket: status and text.
    pub(crate) fn admin(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        let stream = UnixStream::connect(self.path().join("admin.sock")).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let (status, body) = exchange(stream, "localhost", method, path, body);
        (status, String::from_utf8(body).unwrap())
    }

    /// `trunkline ARGS… --config` of this home.
    pub(crate) fn cli(&self, args: &[&str]) -> Output {
        trunkline().args(args).arg("--config").arg(self.config()).output().unwrap()
    }

    /// What such a command prints; it must end well.
    pub(crate) fn say(&self, args: &[&str]) -> String {
        let output = self.cli(args);
        assert!(output.status.success(), "{args:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// `status --json`
    pub(crate) fn status(&self) -> Value {
        serde_json::from_str(&self.say(&["status", "--json"])).unwrap()
    }

    /// The value of a metric's series, as it is written; `None` without it.
    pub(crate) fn metric(&self, series: &str) -> Option<f64> {
        let (_, text) = self.admin("GET", "/metrics", "");
        let line = text.lines().find(|line| line.rsplit_once(' ').is_some_and(|(name, _)| name == series))?;
        line.rsplit_once(' ').unwrap().1.parse().ok()
    }

    /// Replaces a line of the configuration, or a part of it.
    pub(crate) fn reconfigure(&self, before: &str, now: &str) {
        let text = std::fs::read_to_string(self.config()).unwrap();
        assert!(text.contains(before), "{before:?} is not in {text}");
        std::fs::write(self.config(), text.replace(before, now)).unwrap();
    }

    pub(crate) fn producer(&self) -> Producer {
        Producer::connect(&self.socket())
    }
}

/// The daemon as a process; killed when dropped.
pub(crate) struct Running {
    child: Child,
}

impl Running {
    pub(crate) fn sigkill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    pub(crate) fn signal(&self, signal: nix::sys::signal::Signal) {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(self.pid()), signal).unwrap();
    }

    pub(crate) fn sigterm(&self) {
        self.signal(nix::sys::signal::Signal::SIGTERM);
    }

    pub(crate) fn wait(mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One connection to the stream socket.
pub(crate) struct Producer {
    writer: UnixStream,
    reader: BufReader<UnixStream>,
}

impl Producer {
    pub(crate) fn connect(socket: &Path) -> Self {
        Self::try_connect(socket).unwrap()
    }

    pub(crate) fn try_connect(socket: &Path) -> std::io::Result<Self> {
        let writer = UnixStream::connect(socket)?;
        writer.set_read_timeout(Some(PATIENCE))?;
        let reader = BufReader::new(writer.try_clone()?);
        Ok(Self { writer, reader })
    }

    pub(crate) fn write(&mut self, raw: &[u8]) -> std::io::Result<()> {
        self.writer.write_all(raw)
    }

    pub(crate) fn line(&mut self, line: &str) -> std::io::Result<()> {
        self.write(format!("{line}\n").as_bytes())
    }

    /// The next answer; `None` at the end of the stream.
    pub(crate) fn answer(&mut self) -> std::io::Result<Option<Value>> {
        let mut line = String::new();
        if self.reader.read_line(&mut line)? == 0 || !line.ends_with('\n') {
            return Ok(None);
        }
        Ok(Some(serde_json::from_str(&line).unwrap()))
    }

    pub(crate) fn ask(&mut self, line: &str) -> Value {
        self.line(line).unwrap();
        self.answer().unwrap().expect("an answer")
    }

    pub(crate) fn half_close(&mut self) {
        self.writer.shutdown(Shutdown::Write).unwrap();
    }

    /// A second handle for writing from another thread.
    pub(crate) fn split_writer(&self) -> UnixStream {
        self.writer.try_clone().unwrap()
    }
}

/// The accepted answer.
pub(crate) fn accepted() -> Value {
    json!({"errors": []})
}

/// One event of a conversation: `nth` gives its time, so that order can be told from the event.
pub(crate) fn hold_event(conversation: Uuid, nth: u64) -> (Uuid, String) {
    let id = Uuid::new_v4();
    let event = json!({"holdUpdatedEvents": [{
        "eventId": id,
        "eventDateTime": timestamp(nth),
        "conversationId": conversation,
        "communicationId": conversation,
        "held": nth.is_multiple_of(2),
    }]});
    (id, event.to_string())
}

/// A time of a day long past, `nth` milliseconds into it.
pub(crate) fn timestamp(nth: u64) -> String {
    let (seconds, ms) = (nth / 1000, nth % 1000);
    format!("2026-03-02T{:02}:{:02}:{:02}.{ms:03}Z", seconds / 3600 % 24, seconds / 60 % 60, seconds % 60)
}
