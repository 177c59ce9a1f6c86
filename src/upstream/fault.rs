//! Why no client can be made, and plain words for network errors. Pure.
//!
//! An HTTP client's own texts quote URLs, and a proxy's URL may hold a password. So no error text is
//! passed on except rustls' own, which speaks of certificates only.

use std::error::Error;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// Why no client can be made of the configuration.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// An address is no URL, or is not https and not loopback.
    #[error("{key} must be an https URL with a host (http only for loopback)")]
    Address {
        /// The key that holds it.
        key: &'static str,
    },
    /// The proxy's URL is not one. It is not shown: it may hold a password.
    #[error("upstream.proxy is not a proxy's URL; write http://host:port")]
    Proxy,
    /// The environment's proxy is not one. It is not shown: it may hold a password.
    #[error(
        "{variable} in the environment is not an http or https proxy's URL; write http://host:port, or unset it"
    )]
    EnvironmentProxy {
        /// The variable that holds it.
        variable: &'static str,
    },
    /// The file with extra roots can't be read.
    #[error("upstream.ca_file {} can't be read", path.display())]
    CaFileRead {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file with extra roots holds no certificate.
    #[error("upstream.ca_file {} holds no certificate in PEM{hint}", path.display())]
    CaFileFormat {
        /// The file.
        path: PathBuf,
        /// What it probably is; may be empty.
        hint: &'static str,
    },
    /// The file with extra roots holds no certificate that can be used.
    #[error("upstream.ca_file {}: {found}, and there is no other in it", path.display())]
    CaFileUnusable {
        /// The file.
        path: PathBuf,
        /// The first certificate in it: position and reason.
        found: String,
    },
    /// The system's roots can't be read.
    #[error("{from} can't be read")]
    SystemRoots {
        /// The variables that name them and their values, or the system's own place.
        from: String,
        /// Why.
        source: std::io::Error,
    },
    /// There is no root to trust.
    #[error(
        "{from}: no CA certificate can be used; install ca-certificates, correct the variable, or set upstream.ca_file"
    )]
    NoRoots {
        /// The variables that name them, or the system's own place.
        from: String,
    },
    /// TLS can't be set up.
    #[error("TLS cannot be set up")]
    Tls,
}

/// The proxy wants another user or password.
pub(super) const PROXY_LOGIN: &str = "the proxy answers 407; check its user and password";

/// What a proxy's refusal of a tunnel becomes. The HTTP client tells it by a type that is not public, so
/// by its whole text, which names no host. Source: hyper-util 0.1, `connect/proxy/tunnel.rs`.
const TUNNEL_REFUSALS: [(&str, &str); 4] = [
    ("tunnel error: proxy authorization required", PROXY_LOGIN),
    ("tunnel error: unsuccessful", "the proxy refuses the connection"),
    ("tunnel error: unexpected end of file", "the proxy closed the connection without an answer"),
    ("tunnel error: proxy response headers too long", "the proxy's answer is not valid HTTP"),
];

/// An HTTP/2 connection that leads nowhere. The type is not public; the text is, and names nothing.
/// Source: hyper 1, `proto/h2/ping.rs`.
const PING_UNANSWERED: &str = "keep-alive timed out";

const NOT_HTTP: &str = "the answer is not valid HTTP";

/// What the HTTP client knows of an error by itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Traits {
    /// A time limit was hit.
    pub(super) timeout: bool,
    /// It happened before the request could be sent.
    pub(super) connect: bool,
    /// The name lookup failed.
    pub(super) dns: bool,
}

/// Says what went wrong; `connect_timeout` and `request_timeout` are the limits in force.
pub(super) fn words(
    error: &(dyn Error + 'static),
    traits: Traits,
    connect_timeout: Duration,
    request_timeout: Duration,
) -> String {
    if traits.dns {
        return "name lookup failed".to_owned();
    }
    if let Some(tls) = find(error, &|error| error.downcast_ref::<rustls::Error>().map(tls_words)) {
        return format!("TLS: {tls}");
    }
    if let Some(refusal) = find(error, &tunnel_refusal) {
        return refusal.to_owned();
    }
    if find(error, &|error| (error.to_string() == PING_UNANSWERED).then_some(())).is_some() {
        return "the connection is dead: no answer to HTTP/2 pings".to_owned();
    }
    if traits.timeout {
        return timeout_words(traits.connect, connect_timeout, request_timeout);
    }
    if let Some(words) = find(error, &|error| error.downcast_ref::<hyper::Error>().and_then(http_words)) {
        return words.to_owned();
    }
    let kind = find(error, &|error| error.downcast_ref::<io::Error>().map(io::Error::kind));
    let told = kind.and_then(|kind| io_words(kind, connect_timeout));
    match told {
        Some(words) => words,
        // A body's chunks cannot be read. Source: hyper 1, `proto/h1/decode.rs`.
        None if is_bad_chunk(kind) && !traits.connect => NOT_HTTP.to_owned(),
        None if traits.connect => "connection failed".to_owned(),
        None => "connection lost".to_owned(),
    }
}

/// rustls' own words, and plainer ones for what somebody gets wrong who sets a host up.
fn tls_words(error: &rustls::Error) -> String {
    use rustls::{CertificateError, Error, InvalidMessage};
    match error {
        Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
            "the server does not speak TLS; is this an http port, or a proxy's?".to_owned()
        }
        Error::InvalidCertificate(CertificateError::Other(other)) if is_ca_as_server(other) => {
            "the server uses a CA certificate (CA:TRUE) as its own; give it one that the CA signed".to_owned()
        }
        other => other.to_string(),
    }
}

fn is_ca_as_server(other: &rustls::OtherError) -> bool {
    // The type is webpki's, which is not a dependency of ours.
    format!("{other:?}").contains("CaUsedAsEndEntity")
}

fn is_bad_chunk(kind: Option<io::ErrorKind>) -> bool {
    matches!(kind, Some(io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData))
}

fn http_words(error: &hyper::Error) -> Option<&'static str> {
    match error {
        error if error.is_parse_version_h2() => Some("the answer is HTTP/2, and HTTP/1.1 was agreed upon"),
        error if error.is_parse_too_large() => Some("the answer is not valid HTTP: its head is too large"),
        error if error.is_parse() => Some(NOT_HTTP),
        error if error.is_incomplete_message() => Some("connection closed early"),
        _ => None,
    }
}

fn tunnel_refusal(error: &(dyn Error + 'static)) -> Option<&'static str> {
    let text = error.to_string();
    TUNNEL_REFUSALS.iter().find(|(refusal, _)| *refusal == text).map(|(_, words)| *words)
}

fn timeout_words(connecting: bool, connect_timeout: Duration, request_timeout: Duration) -> String {
    if connecting {
        format!(
            "connecting timed out after {}",
            humantime::format_duration(connect_timeout.min(request_timeout))
        )
    } else {
        format!("timed out after {}", humantime::format_duration(request_timeout))
    }
}

fn io_words(kind: io::ErrorKind, connect_timeout: Duration) -> Option<String> {
    let words = match kind {
        io::ErrorKind::ConnectionRefused => "connection refused",
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionAborted => {
            "connection reset"
        }
        io::ErrorKind::UnexpectedEof => "connection closed early",
        io::ErrorKind::NetworkUnreachable => "network unreachable",
        io::ErrorKind::HostUnreachable => "host unreachable",
        io::ErrorKind::TimedOut => return Some(timeout_words(true, connect_timeout, connect_timeout)),
        _ => return None,
    };
    Some(words.to_owned())
}

/// The first error of the chain that `pick` takes. An `io::Error` hides what it wraps from `source`,
/// so that is looked into as well.
fn find<T>(error: &(dyn Error + 'static), pick: &dyn Fn(&(dyn Error + 'static)) -> Option<T>) -> Option<T> {
    let mut next = Some(error);
    while let Some(error) = next {
        let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        if let Some(found) = wrapped.and_then(|wrapped| find(wrapped, pick)) {
            return Some(found);
        }
        if let Some(found) = pick(error) {
            return Some(found);
        }
        next = error.source();
    }
    None
}
