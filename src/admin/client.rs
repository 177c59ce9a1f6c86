//! The other end of the admin socket, for commands.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::{Method, Request, Response, header};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

/// How long an answer may take to begin: a reload may wait for a login, a trace reads the whole queue.
const ANSWERS_WITHIN: Duration = Duration::from_secs(120);
/// How long a probe may take in all.
const PROBE_WITHIN: Duration = Duration::from_secs(5);

/// Why the daemon did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens there.
    #[error("no daemon answers on {path}; is it running, and is that its admin.listen?")]
    Unreachable {
        /// Admin socket.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Not allowed to connect.
    #[error("{path}: permission denied")]
    Permission {
        /// Admin socket.
        path: PathBuf,
    },
    /// The connection was taken, and nothing was said. systemd takes it too, while it tries to start a daemon.
    #[error(
        "{path} is there and the daemon does not answer: it is starting, its configuration is refused, or it is stuck; see `systemctl status trunkline` and `trunkline config check`"
    )]
    Silent {
        /// Admin socket.
        path: PathBuf,
    },
    /// The daemon went away in the middle.
    #[error("the daemon ended the connection")]
    Broken,
    /// The daemon said no.
    #[error("{message}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// Its words.
        message: String,
    },
    /// It speaks another language: a newer or older daemon.
    #[error("the daemon's answer cannot be understood; is it of this version?")]
    Foreign,
}

/// One admin socket.
#[derive(Clone, Debug)]
pub struct Client {
    path: PathBuf,
}

impl Client {
    /// The daemon that listens on `path`.
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// Where it listens.
    pub fn path(&self) -> &Path {
        &self.path
    }

    async fn request(
        &self,
        method: Method,
        path: &str,
        body: Vec<u8>,
    ) -> Result<Response<Incoming>, ClientError> {
        tokio::time::timeout(ANSWERS_WITHIN, self.ask(method, path, body)).await.map_err(|_| self.silent())?
    }

    fn silent(&self) -> ClientError {
        ClientError::Silent { path: self.path.clone() }
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Vec<u8>,
    ) -> Result<Response<Incoming>, ClientError> {
        let connected = UnixStream::connect(&self.path).await;
        let stream = connected.map_err(|source| match source.kind() {
            io::ErrorKind::PermissionDenied => ClientError::Permission { path: self.path.clone() },
            _ => ClientError::Unreachable { path: self.path.clone(), source },
        })?;
        let broken = |_: hyper::Error| ClientError::Broken;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        // Ends with the answer's body, which the caller reads.
        tokio::spawn(connection);
        // Whether anybody is there shows soon, however long the answer itself may take.
        let knock = sender.send_request(asking(Method::GET, "/livez", Vec::new())?);
        let there = tokio::time::timeout(PROBE_WITHIN, knock).await.map_err(|_| self.silent())?;
        there.map_err(broken)?.into_body().collect().await.map_err(broken)?;
        sender.ready().await.map_err(broken)?;
        sender.send_request(asking(method, path, body)?).await.map_err(broken)
    }

    /// Status and text of `GET path`, within the few seconds that a probe has.
    ///
    /// # Errors
    /// If no answer came.
    pub async fn probe(&self, path: &str) -> Result<(u16, String), ClientError> {
        tokio::time::timeout(PROBE_WITHIN, self.text(path)).await.map_err(|_| self.silent())?
    }

    async fn text(&self, path: &str) -> Result<(u16, String), ClientError> {
        let response = self.request(Method::GET, path, Vec::new()).await?;
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.map_err(|_| ClientError::Broken)?.to_bytes();
        Ok((status, String::from_utf8_lossy(&body).into_owned()))
    }

    /// What `GET path` answers.
    ///
    /// # Errors
    /// If no answer came, or it was no.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        let (status, text) = self.text(path).await?;
        understood(status, text.as_bytes())
    }

    /// What `POST path` answers.
    ///
    /// # Errors
    /// If no answer came, or it was no.
    pub async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, ClientError> {
        let body = serde_json::to_vec(body).map_err(|_| ClientError::Foreign)?;
        let response = self.request(Method::POST, path, body).await?;
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.map_err(|_| ClientError::Broken)?.to_bytes();
        understood(status, &body)
    }

    /// Calls `each` with every line of what `POST path` answers, until it says `false`.
    ///
    /// # Errors
    /// If no answer came, it was no, or it broke off.
    pub async fn lines(
        &self,
        path: &str,
        body: &impl Serialize,
        mut each: impl FnMut(&[u8]) -> bool,
    ) -> Result<(), ClientError> {
        let body = serde_json::to_vec(body).map_err(|_| ClientError::Foreign)?;
        let response = self.request(Method::POST, path, body).await?;
        let status = response.status().as_u16();
        let mut body = response.into_body();
        if status != 200 {
            let body = body.collect().await.map_err(|_| ClientError::Broken)?.to_bytes();
            return understood::<serde_json::Value>(status, &body).map(|_| ());
        }
        let mut held: Vec<u8> = Vec::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| ClientError::Broken)?;
            let Ok(data) = frame.into_data() else { continue };
            held.extend_from_slice(&data);
            while let Some(end) = held.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = held.drain(..=end).collect();
                if !each(&line[..end]) {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

fn asking(method: Method, path: &str, body: Vec<u8>) -> Result<Request<Full<Bytes>>, ClientError> {
    Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, "trunkline")
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(body)))
        .map_err(|_| ClientError::Foreign)
}

fn understood<T: DeserializeOwned>(status: u16, body: &[u8]) -> Result<T, ClientError> {
    if status == 200 {
        return serde_json::from_slice(body).map_err(|_| ClientError::Foreign);
    }
    let said: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let message = said["message"].as_str().map_or_else(|| format!("status {status}"), str::to_owned);
    Err(ClientError::Refused { status, message })
}
