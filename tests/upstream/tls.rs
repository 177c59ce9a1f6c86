//! TLS to the API: a private CA, and HTTP/2 where it is offered.

use std::path::Path;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::rustls::{ServerConfig, crypto};
use trunkline::clock::Clock;
use trunkline::config;
use trunkline::event::Lane;
use trunkline::upstream::{Client, Outbound, Upstream, Verdict};

/// What the two sides agreed upon, a connection each.
type Agreed = Arc<Mutex<Vec<Option<Vec<u8>>>>>;

/// A server on loopback with a certificate of its own, which is written to `ca`. It answers HTTP/1.1
/// requests as login host and API do.
async fn server(ca: &Path, protocols: &[&[u8]]) -> (u16, Agreed) {
    server_that_is(IsCa::NoCa, ca, protocols).await
}

async fn server_that_is(is_ca: IsCa, ca: &Path, protocols: &[&[u8]]) -> (u16, Agreed) {
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.is_ca = is_ca;
    let key = KeyPair::generate().unwrap();
    let cert = params.self_signed(&key).unwrap();
    std::fs::write(ca, cert.pem()).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let mut tls = ServerConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    tls.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    let (acceptor, listener) =
        (TlsAcceptor::from(Arc::new(tls)), TcpListener::bind("127.0.0.1:0").await.unwrap());
    let (port, agreed) = (listener.local_addr().unwrap().port(), Agreed::default());
    let noted = agreed.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let protocol = stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec);
            noted.lock().unwrap().push(protocol);
            let mut request = vec![0; 4096];
            let length = stream.read(&mut request).await.unwrap_or(0);
            let is_login = request[..length].windows(12).any(|part| part == b"/oauth/token");
            let body = if is_login { r#"{"access_token":"t","expires_in":600}"# } else { r#"{"errors":[]}"# };
            let head =
                format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
            let _ = stream.write_all(format!("{head}{body}").as_bytes()).await;
            let _ = stream.shutdown().await;
        }
    });
    (port, agreed)
}

fn client(port: u16, ca: Option<&Path>) -> Client {
    let ca = ca.map(|ca| format!("ca_file = {ca:?}\n")).unwrap_or_default();
    let text = format!(
        "[upstream]\napi_url = \"https://localhost:{port}\"\nlogin_url = \"https://localhost:{port}\"\nclient_id = \"c\"\nclient_secret = \"s\"\n{ca}"
    );
    let config = config::from_toml_str(&text, Path::new("/"), std::iter::empty()).unwrap().config;
    Client::new(&config.upstream, Clock::system()).unwrap()
}

async fn verdict(client: &Client) -> Verdict {
    client.send(Outbound { lane: Lane::Presence, body: Bytes::from_static(b"{}") }).await.verdict
}

#[tokio::test]
async fn a_private_ca_is_trusted_if_the_operator_says_so_and_only_then() {
    let dir = tempfile::tempdir().unwrap();
    let ca = dir.path().join("ca.pem");
    let (port, _) = server(&ca, &[b"http/1.1"]).await;

    let trusted = verdict(&client(port, Some(&ca))).await;
    let unknown = verdict(&client(port, None)).await;

    assert_eq!(trusted, Verdict::Taken { errors: Vec::new() });
    assert!(
        matches!(&unknown, Verdict::Unavailable { reason, .. } if reason.to_lowercase().contains("certificate")),
        "{unknown:?}"
    );
}

#[tokio::test]
async fn a_ca_certificate_that_a_server_uses_as_its_own_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let ca = dir.path().join("ca.pem");
    let is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let (port, _) = server_that_is(is_ca, &ca, &[b"http/1.1"]).await;

    let verdict = verdict(&client(port, Some(&ca))).await;

    assert!(
        matches!(&verdict, Verdict::Unavailable { reason, .. } if reason.contains("CA:TRUE")),
        "{verdict:?}"
    );
}

#[test]
fn roots_of_the_system_on_a_mount_that_hangs_end_check_and_run_with_their_name() {
    let home = crate::common::Home::new("127.0.0.1:1", "");
    let pipe = home.path().join("roots");
    mkfifo(&pipe, Mode::S_IRWXU).unwrap();
    let empty = home.path().join("empty.pem");
    std::fs::write(&empty, "").unwrap();
    home.reconfigure("[upstream]\n", "[upstream]\nca_file = \"empty.pem\"\n");
    let config = home.config();

    let check = crate::common::trunkline()
        .args(["config", "check", "--config"])
        .arg(&config)
        .env("SSL_CERT_FILE", &pipe)
        .output()
        .unwrap();
    let run = home.spawn_with(&[("SSL_CERT_FILE", pipe.to_str().unwrap())]).wait();

    let said = String::from_utf8(check.stderr).unwrap();
    let found = format!("SSL_CERT_FILE={} can't be read: not read within 5s", pipe.display());
    assert!(said.contains(&found) && home.log().contains(&found), "{said}{}", home.log());
    assert_eq!((check.status.code(), run.code()), (Some(78), Some(78)));
}

#[tokio::test]
async fn http_2_is_spoken_where_the_server_offers_it() {
    let dir = tempfile::tempdir().unwrap();
    let ca = dir.path().join("ca.pem");
    let (port, agreed) = server(&ca, &[b"h2", b"http/1.1"]).await;

    // The server agrees to HTTP/2 and then does not speak it: the agreement is what counts here.
    let _ = verdict(&client(port, Some(&ca))).await;

    assert_eq!(agreed.lock().unwrap()[0].as_deref(), Some(&b"h2"[..]));
}

#[test]
fn a_bundle_with_a_bad_certificate_is_used_without_it_and_one_without_a_good_one_is_refused() {
    let home = crate::common::Home::new("127.0.0.1:1", "");
    let good = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap().cert.pem();
    let bad = "-----BEGIN CERTIFICATE-----\nMIIBAAAA\n-----END CERTIFICATE-----\n";
    let ca = home.path().join("ca.pem");
    home.reconfigure("[upstream]\n", "[upstream]\nca_file = \"ca.pem\"\n");

    std::fs::write(&ca, format!("\u{feff}{good}{bad}")).unwrap();
    let mixed = home.cli(&["config", "check"]);
    std::fs::write(&ca, bad).unwrap();
    let none = home.cli(&["config", "check"]);
    let exit = home.spawn().wait();

    let said = String::from_utf8(mixed.stdout).unwrap();
    let line = good.lines().count() + 1;
    let found = format!("ca.pem: certificate 2 (line {line}) is not a certificate in DER, or a damaged one");
    assert!(mixed.status.success() && said.contains(&found), "{said}");
    assert_eq!((none.status.code(), exit.code()), (Some(78), Some(78)), "{none:?}");
    assert!(home.log().contains("certificate 1 (line 1) is not a certificate"), "{}", home.log());
}
