//! A real stream door on a socket in a temporary directory, over a queue in memory.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use trunkline::clock::Clock;
use trunkline::config;
use trunkline::event::Envelope;
use trunkline::ingest::{DoorContext, DoorSettings, HttpListener, Sink, serve, serve_http};
use trunkline::metrics::Metrics;
use trunkline::queue::{AppendError, Appended};
use trunkline::socket::{BindError, UnixSocket};
use uuid::Uuid;

/// How long a condition may take on a busy machine before the test says that it never came.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A queue in memory behind a gate: while it is shut nothing is answered.
#[derive(Clone)]
pub(crate) struct Memory {
    pub(crate) events: Arc<Mutex<Vec<Envelope>>>,
    pub(crate) fault: Arc<Mutex<Option<AppendError>>>,
    pub(crate) gate: watch::Sender<bool>,
}

impl Memory {
    pub(crate) fn new() -> Self {
        Self { events: Arc::default(), fault: Arc::default(), gate: watch::Sender::new(true) }
    }

    pub(crate) fn count(&self) -> usize {
        self.events.lock().unwrap().len()
    }

    pub(crate) fn ids(&self) -> Vec<Uuid> {
        self.events.lock().unwrap().iter().map(|event| event.event_id).collect()
    }
}

impl Sink for Memory {
    fn submit(
        &self,
        events: Vec<Envelope>,
    ) -> impl Future<Output = Vec<Result<Appended, AppendError>>> + Send + 'static {
        let fault = self.fault.lock().unwrap().clone();
        let mut stored = self.events.lock().unwrap();
        let results = events.into_iter().map(|event| {
            if let Some(fault) = &fault {
                return Err(fault.clone());
            }
            if stored.iter().any(|found| found.event_id == event.event_id) {
                return Ok(Appended::Duplicate);
            }
            stored.push(event);
            Ok(Appended::Stored(stored.len() as u64))
        });
        let results = results.collect();
        let mut gate = self.gate.subscribe();
        async move {
            let _ = gate.wait_for(|open| *open).await;
            results
        }
    }
}

pub(crate) fn ingest(path: &Path) -> config::IngestConfig {
    config::IngestConfig {
        max_line: 64 * 1024,
        max_event: 40_000,
        max_pending: 1024 * 1024,
        max_connections: 256,
        max_unacked: 1024,
        unknown: config::UnknownPolicy::Forward,
        extra_arrays: Vec::new(),
        stream: config::StreamConfig {
            path: path.to_owned(),
            mode: 0o660,
            group: None,
            allow_uids: Vec::new(),
        },
        http: config::HttpConfig { listen: None, token_file: None, allow_anonymous: false },
    }
}

/// The stream socket, as the daemon makes it.
pub(crate) fn bind(config: &config::StreamConfig) -> Result<UnixSocket, BindError> {
    UnixSocket::bind(&config.path, config.mode, config.group.as_deref())
}

pub(crate) struct Harness {
    pub(crate) dir: TempDir,
    pub(crate) path: PathBuf,
    pub(crate) memory: Memory,
    pub(crate) context: Arc<DoorContext<Memory>>,
    /// Of the HTTP door, if `http.listen` is a TCP address.
    pub(crate) http: Option<SocketAddr>,
    stop: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
}

impl Harness {
    pub(crate) fn new(change: impl FnOnce(&mut config::IngestConfig)) -> Self {
        Self::over(tempfile::tempdir().unwrap(), Memory::new(), change)
    }

    pub(crate) fn over(dir: TempDir, memory: Memory, change: impl FnOnce(&mut config::IngestConfig)) -> Self {
        let mut config = ingest(&dir.path().join("events.sock"));
        change(&mut config);
        let listener = bind(&config.stream).unwrap();
        Self::open(dir, memory, config, listener)
    }

    /// Over a socket that a test has made.
    pub(crate) fn with_socket(dir: TempDir, listener: UnixSocket) -> Self {
        let config = ingest(&dir.path().join("events.sock"));
        Self::open(dir, Memory::new(), config, listener)
    }

    fn open(dir: TempDir, memory: Memory, config: config::IngestConfig, listener: UnixSocket) -> Self {
        let path = config.stream.path.clone();
        let metrics = Arc::new(Metrics::new());
        let http = config.http.clone();
        let settings = DoorSettings::new(config).unwrap();
        let context = Arc::new(DoorContext::new(settings, memory.clone(), Clock::system(), metrics));
        let stop = CancellationToken::new();
        let mut tasks = vec![tokio::spawn(serve(listener, context.clone(), stop.clone()))];
        let door = HttpListener::bind(&http).unwrap();
        let http = door.as_ref().and_then(HttpListener::local_addr);
        tasks.extend(door.map(|door| tokio::spawn(serve_http(door, context.clone(), stop.clone()))));
        Self { dir, path, memory, context, http, stop, tasks }
    }

    /// Stops in order and hands back what outlives the daemon.
    pub(crate) async fn stop(self) -> (TempDir, Memory) {
        self.stop.cancel();
        for task in self.tasks {
            task.await.unwrap();
        }
        (self.dir, self.memory)
    }

    pub(crate) async fn producer(&self) -> Producer {
        let (reader, writer) = UnixStream::connect(&self.path).await.unwrap().into_split();
        Producer { answers: BufReader::new(reader).lines(), writer: Some(writer) }
    }
}

pub(crate) struct Producer {
    answers: Lines<BufReader<OwnedReadHalf>>,
    writer: Option<OwnedWriteHalf>,
}

impl Producer {
    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.writer.as_mut().unwrap().write_all(bytes.as_ref()).await.unwrap();
    }

    pub(crate) fn half_close(&mut self) {
        self.writer = None;
    }

    /// The next answer; `None` at the end of the stream.
    pub(crate) async fn answer(&mut self) -> Option<String> {
        let answer = tokio::time::timeout(PATIENCE, self.answers.next_line());
        answer.await.expect("an answer").unwrap()
    }

    pub(crate) async fn rest(&mut self) -> Vec<String> {
        let mut answers = Vec::new();
        while let Some(answer) = self.answer().await {
            answers.push(answer);
        }
        answers
    }
}

pub(crate) const OK: &str = r#"{"errors":[]}"#;

/// An event of presence with this id.
pub(crate) fn event(id: Uuid) -> String {
    let user = "f7b7474c-53c3-4579-8f46-42982e159731";
    format!(
        r#"{{"eventId":"{id}","eventDateTime":"2026-11-10T13:00:00.000Z","userId":"{user}","sourceId":"90f95193-2c91-4a42-a506-930d4c964c45","presenceDefinitionId":"298ddfb9-f337-4091-a75e-ef7434aa9ce4"}}"#
    )
}

/// A line with one event.
pub(crate) fn line(id: Uuid) -> String {
    format!("{{\"userPresenceEvents\":[{}]}}\n", event(id))
}

/// Waits until `is_so`; fails when the patience is at its end.
pub(crate) async fn until(is_so: impl Fn() -> bool) {
    let pause = Duration::from_millis(10);
    for _ in 0..PATIENCE.as_millis() / pause.as_millis() {
        if is_so() {
            return;
        }
        tokio::time::sleep(pause).await;
    }
    panic!("it never came to be");
}
