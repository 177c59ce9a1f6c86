//! The way out through a proxy, with the daemon as a process: a proxy that demands credentials, lets
//! nobody in or is down; `upstream.proxy` for all, the environment's proxy for https.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::runtime::Runtime;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::rustls::{ServerConfig, crypto};
use uuid::Uuid;

use crate::common::{Home, PATIENCE, Running, Sandbox, accepted, eventually, hold_event, trunkline, within};

/// User and password as the proxy knows them. Characters that a URL cannot hold as they are, and a part
/// that nothing else in a log looks like.
const CREDENTIALS: &str = "out:p@ss/9f2c7d";
/// The same in a URL.
const IN_URL: &str = "out:p%40ss%2F9f2c7d";
/// Others, which a URL can hold as they are.
const WRONG: &str = "out:wrong-9f2c7d";
/// What of the passwords must show nowhere.
const TELLING: &str = "9f2c7d";
/// A name that no resolver knows (RFC 6761, 6.4).
const ELSEWHERE: &str = "api.trunkline.invalid";

/// A runtime beside the test, for one of the far sides.
fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

fn basic(credentials: &str) -> String {
    format!("Basic {}", BASE64_STANDARD.encode(credentials))
}

/// An address at which nothing listens yet, and which nobody else can take.
fn reserve() -> (TcpSocket, SocketAddr) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let addr = socket.local_addr().unwrap();
    (socket, addr)
}

/// A forward proxy: requests in absolute form, and tunnels. All tunnels end at `tunnels_to`, whatever
/// name they are for. Gone when dropped.
struct Proxy {
    addr: SocketAddr,
    seen: Arc<Seen>,
    runtime: Option<Runtime>,
}

struct Seen {
    /// The `Proxy-Authorization` that is let in.
    admitted: Mutex<String>,
    tunnels_to: Option<SocketAddr>,
    requests: AtomicUsize,
    tunnels: AtomicUsize,
    refused: AtomicUsize,
}

impl Proxy {
    fn start() -> Self {
        let (socket, addr) = reserve();
        Self::listen(socket, addr, None)
    }

    fn listen(socket: TcpSocket, addr: SocketAddr, tunnels_to: Option<SocketAddr>) -> Self {
        let seen = Arc::new(Seen {
            admitted: Mutex::new(basic(CREDENTIALS)),
            tunnels_to,
            requests: AtomicUsize::default(),
            tunnels: AtomicUsize::default(),
            refused: AtomicUsize::default(),
        });
        let (runtime, of_loop) = (runtime(), seen.clone());
        let listener = runtime.block_on(async { socket.listen(64) }).unwrap();
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let seen = of_loop.clone();
                tokio::spawn(async move {
                    // A client that goes away is none of the proxy's business.
                    let _ = serve(stream, &seen).await;
                });
            }
        });
        Self { addr, seen, runtime: Some(runtime) }
    }

    /// From now on these are let in.
    fn admit(&self, credentials: &str) {
        *self.seen.admitted.lock().unwrap() = basic(credentials);
    }

    fn url(&self, credentials: &str) -> String {
        proxy_url(credentials, self.addr)
    }

    fn requests(&self) -> usize {
        self.seen.requests.load(Ordering::SeqCst)
    }

    fn tunnels(&self) -> usize {
        self.seen.tunnels.load(Ordering::SeqCst)
    }

    fn refused(&self) -> usize {
        self.seen.refused.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(PATIENCE);
        }
    }
}

fn proxy_url(credentials: &str, addr: SocketAddr) -> String {
    if credentials.is_empty() { format!("http://{addr}") } else { format!("http://{credentials}@{addr}") }
}

/// One request, then the connection ends.
async fn serve(mut client: TcpStream, seen: &Seen) -> std::io::Result<()> {
    let mut raw = Vec::new();
    let body_at = loop {
        if let Some(end) = raw.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
        if client.read_buf(&mut raw).await? == 0 {
            return Ok(());
        }
    };
    let head = String::from_utf8(raw[..body_at].to_vec()).unwrap();
    let (line, fields) = head.split_once("\r\n").unwrap();
    let field = |wanted: &str| {
        let named =
            |line: &str| line.split_once(": ").is_some_and(|(name, _)| name.eq_ignore_ascii_case(wanted));
        fields.lines().find(|line| named(line)).map(|line| line.split_once(": ").unwrap().1.to_owned())
    };
    let length: usize = field("content-length").map_or(0, |length| length.parse().unwrap());
    while raw.len() < body_at + length {
        if client.read_buf(&mut raw).await? == 0 {
            return Ok(());
        }
    }
    if field("proxy-authorization").as_ref() != Some(&*seen.admitted.lock().unwrap()) {
        seen.refused.fetch_add(1, Ordering::SeqCst);
        let refusal = "HTTP/1.1 407 Proxy Authentication Required\r\nproxy-authenticate: Basic realm=\"out\"\r\n\
                       content-length: 0\r\nconnection: close\r\n\r\n";
        return client.write_all(refusal.as_bytes()).await;
    }
    if line.starts_with("CONNECT ") {
        seen.tunnels.fetch_add(1, Ordering::SeqCst);
        let mut server = TcpStream::connect(seen.tunnels_to.unwrap()).await?;
        client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await?;
        return copy_bidirectional(&mut client, &mut server).await.map(drop);
    }
    seen.requests.fetch_add(1, Ordering::SeqCst);
    let (method, rest) = line.split_once(" http://").expect("a request to a proxy is in absolute form");
    let (host, path) = rest.split_once('/').unwrap();
    let is_ours = |line: &&str| !line.to_ascii_lowercase().starts_with("proxy-");
    let fields: String = fields.lines().filter(is_ours).map(|line| format!("{line}\r\n")).collect();
    let mut server = TcpStream::connect(host).await?;
    // The last of `fields` is the empty line.
    let head = format!("{method} /{path}\r\nconnection: close\r\n{fields}");
    server.write_all(head.as_bytes()).await?;
    server.write_all(&raw[body_at..]).await?;
    tokio::io::copy(&mut server, &mut client).await.map(drop)
}

/// TLS in front of a sandbox, for `localhost` and [`ELSEWHERE`]. Gone when dropped.
struct Front {
    addr: SocketAddr,
    _runtime: Runtime,
}

impl Front {
    /// The certificate is written to `ca`.
    fn start(sandbox: &Sandbox, ca: &std::path::Path) -> Self {
        let names = vec!["localhost".to_owned(), ELSEWHERE.to_owned()];
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        std::fs::write(ca, made.cert.pem()).unwrap();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
        let tls = ServerConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        let (acceptor, runtime) = (TlsAcceptor::from(Arc::new(tls)), runtime());
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let (addr, sandbox) = (listener.local_addr().unwrap(), sandbox.addr.clone());
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, sandbox) = (acceptor.clone(), sandbox.clone());
                tokio::spawn(async move {
                    let mut client = acceptor.accept(stream).await?;
                    let mut server = TcpStream::connect(sandbox).await?;
                    copy_bidirectional(&mut client, &mut server).await
                });
            }
        });
        Self { addr, _runtime: runtime }
    }
}

/// Writes these lines into the configuration's `[upstream]`, in place of those written before.
fn configure(home: &Home, lines: &str) {
    let config = std::fs::read_to_string(home.config()).unwrap();
    let rest =
        config.split_once("# end\n").map_or(config.strip_prefix("[upstream]\n"), |(_, rest)| Some(rest));
    std::fs::write(home.config(), format!("[upstream]\n{lines}# end\n{}", rest.unwrap())).unwrap();
}

/// A daemon's home for `sandbox`, whose way out is `proxy_url`. It logs all that it can.
fn home_behind(proxy_url: &str, sandbox: &Sandbox) -> Home {
    let home = Home::new(&sandbox.addr, "[log]\nlevel = \"trace\"\n");
    configure(&home, &format!("proxy = \"{proxy_url}\"\n"));
    home
}

/// As `home_behind` without a proxy of its own, for the same sandbox as `https://{host}`.
fn home_with_tls(host: &str, sandbox: &Sandbox) -> (Home, Front) {
    let home = Home::new(&sandbox.addr, "[log]\nlevel = \"trace\"\n");
    let ca = home.path().join("ca.pem");
    let front = Front::start(sandbox, &ca);
    let config = std::fs::read_to_string(home.config()).unwrap();
    let (plain, tls) = (format!("http://{}", sandbox.addr), format!("https://{host}:{}", front.addr.port()));
    std::fs::write(home.config(), config.replace(&plain, &tls)).unwrap();
    configure(&home, "ca_file = \"ca.pem\"\n");
    (home, front)
}

/// Hands one event over.
fn produce(home: &Home) -> String {
    let (id, line) = hold_event(Uuid::new_v4(), 1);
    assert_eq!(home.producer().ask(&line), accepted());
    id.to_string()
}

fn is_delivered(sandbox: &Sandbox, id: &str) -> bool {
    sandbox.taken_ids().iter().any(|taken| taken == id)
}

fn start(home: &Home, env: &[(&str, &str)]) -> Running {
    let daemon = home.spawn_with(env);
    eventually("the daemon accepts", || std::os::unix::net::UnixStream::connect(home.socket()).is_ok());
    daemon
}

/// Neither the log nor `config show` holds anything of a password.
fn shows_no_password(home: &Home) {
    let shown = trunkline().args(["config", "show", "--config"]).arg(home.config()).output().unwrap();
    assert!(shown.status.success(), "{shown:?}");
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(shown.contains("********@127.0.0.1:"), "{shown}");
    let log = home.log();
    let encoded = [CREDENTIALS, WRONG].map(|credentials| BASE64_STANDARD.encode(credentials));
    for secret in [TELLING, &encoded[0], &encoded[1]] {
        assert!(!shown.contains(secret), "{shown}");
        assert!(!log.contains(secret), "{log}");
    }
}

#[test]
fn all_requests_take_the_configured_proxy_also_to_a_plain_api_on_loopback() {
    let (sandbox, proxy) = (Sandbox::start(&[]), Proxy::start());
    let home = home_behind(&proxy.url(IN_URL), &sandbox);
    let _daemon = home.run();

    let id = produce(&home);

    eventually("it is delivered", || is_delivered(&sandbox, &id));
    // At least the login and the batch.
    assert!(proxy.requests() >= 2, "{}", proxy.requests());
    assert_eq!(proxy.refused(), 0);
    shows_no_password(&home);
}

#[test]
fn a_proxy_that_refuses_the_password_keeps_the_events_and_they_leave_once_it_lets_us_in() {
    let (sandbox, proxy) = (Sandbox::start(&[]), Proxy::start());
    let home = home_behind(&proxy.url(WRONG), &sandbox);
    let _daemon = home.run();
    let id = produce(&home);
    eventually("the lane says why", || {
        home.log().contains("state=\"misconfigured\"") && home.log().contains("answers 407")
    });
    let (refused, before) = (proxy.refused(), sandbox.taken().len());

    proxy.admit(WRONG);

    // A probe comes each minute.
    within(3 * PATIENCE, "it is delivered", || is_delivered(&sandbox, &id));
    assert!(refused > 0);
    assert_eq!(before, 0);
    assert_eq!(sandbox.taken_ids(), [id]);
    shows_no_password(&home);
}

#[test]
fn credentials_for_the_proxy_that_were_missing_come_by_a_reload() {
    let (sandbox, proxy) = (Sandbox::start(&[]), Proxy::start());
    let home = home_behind(&proxy.url(""), &sandbox);
    let _daemon = home.run();
    let id = produce(&home);
    eventually("the lane says why", || home.log().contains("answers 407"));
    let before = proxy.requests();

    configure(&home, &format!("proxy = \"{}\"\n", proxy.url(IN_URL)));
    let reloaded = trunkline().args(["reload", "--config"]).arg(home.config()).output().unwrap();

    assert!(reloaded.status.success(), "{reloaded:?}");
    within(3 * PATIENCE, "it is delivered", || is_delivered(&sandbox, &id));
    assert_eq!(before, 0);
    shows_no_password(&home);
    let told =
        format!("{}{}", String::from_utf8_lossy(&reloaded.stdout), String::from_utf8_lossy(&reloaded.stderr));
    assert!(!told.contains(TELLING), "{told}");
}

#[test]
fn a_proxy_that_is_down_keeps_the_events_and_they_leave_when_it_is_back() {
    let sandbox = Sandbox::start(&[]);
    let (socket, addr) = reserve();
    let home = home_behind(&proxy_url(IN_URL, addr), &sandbox);
    let _daemon = home.run();
    let first = produce(&home);
    eventually("the lane says why", || home.log().contains("connection refused"));

    let proxy = Proxy::listen(socket, addr, None);
    eventually("the first is delivered", || is_delivered(&sandbox, &first));
    drop(proxy);
    let again = TcpSocket::new_v4().unwrap();
    again.set_reuseaddr(true).unwrap();
    again.bind(addr).unwrap();
    let fallen = home.log().matches("not delivering").count();
    let second = produce(&home);
    eventually("that is told", || home.log().matches("not delivering").count() > fallen);
    let while_down = sandbox.taken_ids();
    let _proxy = Proxy::listen(again, addr, None);

    eventually("the second is delivered", || is_delivered(&sandbox, &second));
    assert_eq!(while_down, [first]);
    assert_eq!(sandbox.taken_ids().into_iter().collect::<HashSet<_>>().len(), 2);
    shows_no_password(&home);
}

#[test]
fn https_goes_through_a_tunnel_and_names_are_resolved_at_the_proxy() {
    let sandbox = Sandbox::start(&[]);
    let (home, front) = home_with_tls(ELSEWHERE, &sandbox);
    let (socket, addr) = reserve();
    let proxy = Proxy::listen(socket, addr, Some(front.addr));
    configure(&home, &format!("ca_file = \"ca.pem\"\nproxy = \"{}\"\n", proxy.url(IN_URL)));
    let _daemon = home.run();

    let id = produce(&home);

    eventually("it is delivered", || is_delivered(&sandbox, &id));
    assert!(proxy.tunnels() > 0);
    assert_eq!((proxy.requests(), proxy.refused()), (0, 0));
    shows_no_password(&home);
}

#[test]
fn a_refused_tunnel_is_told_as_the_proxys_refusal_and_costs_no_event() {
    let sandbox = Sandbox::start(&[]);
    let (home, front) = home_with_tls(ELSEWHERE, &sandbox);
    let (socket, addr) = reserve();
    let proxy = Proxy::listen(socket, addr, Some(front.addr));
    configure(&home, &format!("ca_file = \"ca.pem\"\nproxy = \"{}\"\n", proxy.url(WRONG)));
    let _daemon = home.run();
    let id = produce(&home);
    eventually("the lane waits", || home.log().contains("not delivering"));
    let (told, before) = (home.log(), sandbox.taken().len());

    proxy.admit(WRONG);

    eventually("it is delivered", || is_delivered(&sandbox, &id));
    assert!(told.contains("the proxy answers 407; check its user and password"), "{told}");
    assert_eq!(before, 0);
    shows_no_password(&home);
}

#[test]
fn without_a_configured_proxy_the_environments_counts_for_https() {
    let sandbox = Sandbox::start(&[]);
    let (home, front) = home_with_tls(ELSEWHERE, &sandbox);
    let (socket, addr) = reserve();
    let proxy = Proxy::listen(socket, addr, Some(front.addr));
    // A file that a variable is made of ends in a line break.
    let _daemon = start(&home, &[("HTTPS_PROXY", &format!("{}\n", proxy.url(IN_URL)))]);

    let id = produce(&home);

    eventually("it is delivered", || is_delivered(&sandbox, &id));
    assert!(proxy.tunnels() > 0);
    assert!(!home.log().contains(TELLING), "{}", home.log());
}

#[test]
fn hosts_of_no_proxy_are_reached_without_the_environments_proxy() {
    let sandbox = Sandbox::start(&[]);
    let (home, front) = home_with_tls("localhost", &sandbox);
    let (socket, addr) = reserve();
    let proxy = Proxy::listen(socket, addr, Some(front.addr));
    let _daemon = start(&home, &[("HTTPS_PROXY", &proxy.url(IN_URL)), ("NO_PROXY", "localhost")]);

    let id = produce(&home);

    eventually("it is delivered", || is_delivered(&sandbox, &id));
    assert_eq!((proxy.tunnels(), proxy.refused()), (0, 0));
}

#[test]
fn a_plain_api_on_loopback_is_never_behind_the_environments_proxy() {
    let (sandbox, proxy) = (Sandbox::start(&[]), Proxy::start());
    let home = Home::new(&sandbox.addr, "");
    let url = proxy.url(IN_URL);
    let _daemon = start(&home, &[("HTTP_PROXY", &url), ("http_proxy", &url), ("ALL_PROXY", &url)]);

    let id = produce(&home);

    eventually("it is delivered", || is_delivered(&sandbox, &id));
    assert_eq!((proxy.requests(), proxy.refused()), (0, 0));
}

/// `trunkline config check` with these arguments and variables: exit code, and all that it says.
fn check(home: &Home, args: &[&str], env: &[(&str, &str)]) -> (Option<i32>, String) {
    let mut command = trunkline();
    command.args(["config", "check"]).args(args).arg("--config").arg(home.config());
    let output = command.envs(env.iter().copied()).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(said).unwrap())
}

#[test]
fn the_online_check_goes_the_daemons_way_and_names_the_environments_proxy() {
    let sandbox = Sandbox::start(&[]);
    let (home, front) = home_with_tls(ELSEWHERE, &sandbox);
    let (socket, addr) = reserve();
    let proxy = Proxy::listen(socket, addr, Some(front.addr));
    let env = [("HTTPS_PROXY", &*proxy.url(IN_URL))];

    let (code, said) = check(&home, &["--online"], &env);
    let _daemon = start(&home, &env);
    let status = home.say(&["status"]);

    assert_eq!(code, Some(0), "{said}");
    let named = format!("http://********@{addr} (HTTPS_PROXY)");
    assert!(said.contains(&named) && !said.contains(TELLING), "{said}");
    assert!(status.contains(&named) && !status.contains(TELLING), "{status}");
}

#[test]
fn an_environments_proxy_that_is_none_is_refused_by_check_and_run_alike() {
    let sandbox = Sandbox::start(&[]);
    let (home, _front) = home_with_tls(ELSEWHERE, &sandbox);
    let env = [("HTTPS_PROXY", "socks5://out:p@ss-9f2c7d@127.0.0.1:1080")];

    let (code, said) = check(&home, &[], &env);
    let exit = home.spawn_with(&env).wait();

    assert_eq!((code, exit.code()), (Some(78), Some(78)), "{said}");
    assert!(said.contains("HTTPS_PROXY in the environment is not"), "{said}");
    eventually("the log says so", || home.log().contains("HTTPS_PROXY in the environment is not"));
    shows_no_password_of(&said);
    shows_no_password_of(&home.log());
}

fn shows_no_password_of(text: &str) {
    assert!(!text.contains(TELLING), "{text}");
}
