//! From a producer's socket over the disk to a sandbox without a rate limit: events a second, and what the
//! daemon's CPU costs. Three processes share the machine. Run with `cargo bench --bench relay`.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a bench fails by panicking and tells on stdout; its numbers are far below 2^52"
)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use trunkline::clock::Clock;
use uuid::Uuid;

const RUNS: usize = 3;
const EVENTS: usize = 300_000;
/// Events of a line: what a busy producer collects.
const LINE: usize = 50;
/// Conversations that the events belong to.
const KEYS: usize = 20_000;

struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn trunkline(args: &[&str]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_trunkline"));
    command.args(args).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
}

fn sandbox() -> (Process, String) {
    let mut child = trunkline(&["sandbox", "--listen", "127.0.0.1:0", "--requests-per-minute", "100000000"]);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let line = lines.find_map(|line| line.unwrap().split_once("http://").map(|(_, rest)| rest.to_owned()));
    std::thread::spawn(move || lines.count());
    (Process(child), line.unwrap().trim_end_matches(['"', '/']).to_owned())
}

/// Events that the sandbox has taken.
fn taken(addr: &str) -> usize {
    let mut stream = TcpStream::connect(addr).unwrap();
    write!(stream, "GET /sandbox/stats HTTP/1.1\r\nhost: {addr}\r\nconnection: close\r\n\r\n").unwrap();
    let mut raw = String::new();
    stream.read_to_string(&mut raw).unwrap();
    let stats: serde_json::Value = serde_json::from_str(raw.split_once("\r\n\r\n").unwrap().1).unwrap();
    usize::try_from(stats["events"].as_u64().unwrap()).unwrap()
}

fn line(conversations: &[Uuid], nth: usize) -> String {
    let events: Vec<String> = (0..LINE)
        .map(|at| {
            let conversation = conversations[(nth * LINE + at) % conversations.len()];
            let (id, communication) = (Uuid::new_v4(), Uuid::new_v4());
            format!(
                r#"{{"eventId":"{id}","eventDateTime":"2026-11-10T13:{:02}:{:02}.{:03}Z","conversationId":"{conversation}","communicationId":"{communication}","held":true,"padding":"{}"}}"#,
                nth / 60_000 % 60, nth / 1_000 % 60, nth % 1_000, "x".repeat(380)
            )
        })
        .collect();
    format!("{{\"holdUpdatedEvents\":[{}]}}\n", events.join(","))
}

/// User and system time of a process, seconds.
fn cpu_seconds(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    ticks as f64 / 100.0
}

fn until(mut is_so: impl FnMut() -> bool) {
    while !is_so() {
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn run(dir: &Path) -> (f64, f64) {
    let (_sandbox, addr) = sandbox();
    let config = dir.join("trunkline.toml");
    let text = format!(
        "[upstream]\napi_url = \"http://{addr}\"\nlogin_url = \"http://{addr}\"\nclient_id = \"bench\"\nclient_secret = \"bench\"\n\
         [queue]\ndir = \"queue\"\nmin_free_disk = \"1MiB\"\n[ingest.stream]\npath = \"events.sock\"\n\
         [admin]\nlisten = \"unix:admin.sock\"\n[relay]\nrequests_per_minute = 100000\nburst = 1000\n"
    );
    std::fs::write(&config, text).unwrap();
    let daemon = Process(trunkline(&["run", "--config", config.to_str().unwrap()]));
    let socket = dir.join("events.sock");
    until(|| UnixStream::connect(&socket).is_ok());
    let conversations: Vec<Uuid> = (0..KEYS).map(|_| Uuid::new_v4()).collect();
    let lines: Vec<String> = (0..EVENTS / LINE).map(|nth| line(&conversations, nth)).collect();
    let clock = Clock::system();
    let (began, before) = (clock.mono(), cpu_seconds(daemon.0.id()));
    let stream = UnixStream::connect(&socket).unwrap();
    let mut answers = BufReader::new(stream.try_clone().unwrap());
    let reading = std::thread::spawn(move || {
        let mut answer = String::new();
        for _ in 0..EVENTS / LINE {
            answer.clear();
            answers.read_line(&mut answer).unwrap();
            assert_eq!(answer, "{\"errors\":[]}\n");
        }
    });
    let mut writer = stream;
    for line in &lines {
        writer.write_all(line.as_bytes()).unwrap();
    }
    reading.join().unwrap();
    until(|| taken(&addr) >= EVENTS);
    let took = clock.mono().since(began).as_secs_f64();
    let cpu = cpu_seconds(daemon.0.id()) - before;
    (EVENTS as f64 / took, cpu * 1e6 / EVENTS as f64)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() {
    // `cargo test --benches` only wants to know that it builds.
    if std::env::args().any(|arg| arg == "--test") {
        return;
    }
    let (mut rates, mut cpus) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let (rate, cpu) = run(dir.path());
        println!("{rate:>9.0} events/s from socket to sandbox, {cpu:.1} CPU s per million in the daemon");
        rates.push(rate);
        cpus.push(cpu);
    }
    println!("{:>9.0} events/s, {:.1} CPU s per million: medians of {RUNS}", median(rates), median(cpus));
}
