//! The other end of the admin socket, for commands.

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::{RequestBuilder, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// How long an answer may take to begin: a reload may wait for a login, a trace reads the whole queue.
const ANSWERS_WITHIN: Duration = Duration::from_secs(120);
/// How long a probe may take in all.
const PROBE_WITHIN: Duration = Duration::from_secs(5);

/// Why the daemon did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum AdminClientError {
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
        "{path} exists but the daemon does not answer: it is starting, its configuration was refused, or it is stuck; see `systemctl status trunkline` and `trunkline config check`"
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
    #[error("cannot parse the daemon's answer; is it the same version?")]
    Foreign,
}

/// One admin socket.
#[derive(Clone, Debug)]
pub struct AdminClient {
    path: PathBuf,
    http: reqwest::Client,
}

/// What a probe answered.
#[derive(Debug)]
pub struct ProbeAnswer {
    /// HTTP status.
    pub status: u16,
    /// Its lines.
    pub text: String,
}

impl AdminClient {
    /// The daemon that listens on `path`.
    pub fn new(path: PathBuf) -> Self {
        // Fails only if there is one already, and then that one serves.
        let _installed = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder()
            .unix_socket(path.as_path())
            .retry(reqwest::retry::never())
            .no_proxy()
            .tls_certs_only([])
            .build()
            .expect("without proxy and certificates there is nothing that could be wrong");
        Self { path, http }
    }

    /// Where it listens.
    pub fn path(&self) -> &Path {
        &self.path
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, AdminClientError> {
        // Whether anybody is there shows soon, however long the answer itself may take.
        let knock = async { self.http.get(url("/livez")).send().await?.bytes().await };
        let there = tokio::time::timeout(PROBE_WITHIN, knock).await.map_err(|_| self.silent())?;
        there.map_err(|error| self.fault(&error))?;
        let answer = tokio::time::timeout(ANSWERS_WITHIN, request.send());
        answer.await.map_err(|_| self.silent())?.map_err(|error| self.fault(&error))
    }

    fn silent(&self) -> AdminClientError {
        AdminClientError::Silent { path: self.path.clone() }
    }

    fn fault(&self, error: &reqwest::Error) -> AdminClientError {
        let source = system_error(error);
        match source.kind() {
            _ if !error.is_connect() => AdminClientError::Broken,
            io::ErrorKind::PermissionDenied => AdminClientError::Permission { path: self.path.clone() },
            _ => AdminClientError::Unreachable { path: self.path.clone(), source },
        }
    }

    /// Status and text of `GET path`, within the few seconds that a probe has.
    ///
    /// # Errors
    /// If no answer came.
    pub async fn probe(&self, path: &str) -> Result<ProbeAnswer, AdminClientError> {
        let asked = async {
            let response = self.http.get(url(path)).send().await?;
            Ok(ProbeAnswer { status: response.status().as_u16(), text: response.text().await? })
        };
        let answer = tokio::time::timeout(PROBE_WITHIN, asked).await.map_err(|_| self.silent())?;
        answer.map_err(|error: reqwest::Error| self.fault(&error))
    }

    /// What `GET path` answers.
    ///
    /// # Errors
    /// If no answer came, or it was no.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, AdminClientError> {
        understood(self.send(self.http.get(url(path))).await?).await
    }

    /// What `POST path` answers.
    ///
    /// # Errors
    /// If no answer came, or it was no.
    pub async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, AdminClientError> {
        understood(self.send(self.posting(path, body)?).await?).await
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
    ) -> Result<(), AdminClientError> {
        let mut response = self.send(self.posting(path, body)?).await?;
        if response.status() != 200 {
            return understood::<serde_json::Value>(response).await.map(|_| ());
        }
        let mut held: Vec<u8> = Vec::new();
        while let Some(data) = response.chunk().await.map_err(|_| AdminClientError::Broken)? {
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

    fn posting(&self, path: &str, body: &impl Serialize) -> Result<RequestBuilder, AdminClientError> {
        let body = serde_json::to_vec(body).map_err(|_| AdminClientError::Foreign)?;
        Ok(self.http.post(url(path)).header("content-type", "application/json").body(body))
    }
}

/// What the system said, as far down as that is.
fn system_error(error: &reqwest::Error) -> io::Error {
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(code) = error.downcast_ref().and_then(io::Error::raw_os_error) {
            return io::Error::from_raw_os_error(code);
        }
        cause = error.source();
    }
    io::ErrorKind::Other.into()
}

/// Where a path stands: the host is not looked up, the socket is the way there.
fn url(path: &str) -> String {
    format!("http://trunkline{path}")
}

async fn understood<T: DeserializeOwned>(response: Response) -> Result<T, AdminClientError> {
    let status = response.status().as_u16();
    let body = response.bytes().await.map_err(|_| AdminClientError::Broken)?;
    if status == 200 {
        return serde_json::from_slice(&body).map_err(|_| AdminClientError::Foreign);
    }
    let said: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
    let message = said["message"].as_str().map_or_else(|| format!("status {status}"), str::to_owned);
    Err(AdminClientError::Refused { status, message })
}
