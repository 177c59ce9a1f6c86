//! The official SDKs against the HTTP door, through trunkline, to the sandbox. They need runtimes of their
//! own, which `.ci/run` prepares and names in the environment.

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use crate::common::{Home, Sandbox, eventually};

/// A Python that has the SDK.
const PYTHON: &str = "TRUNKLINE_TEST_SDK_PYTHON";
/// A directory `node_modules` that has the SDK.
const NODE_MODULES: &str = "TRUNKLINE_TEST_SDK_NODE_MODULES";
const TOKEN: &str = "token-for-sdks";

/// Runs a program of `tests/ingest/sdk` against a daemon and checks that all it published was delivered.
fn publish(mut program: Command, script: &str) {
    let sandbox = Sandbox::start(&[]);
    // Free a moment ago; nobody else takes ports of the loopback here.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let more = format!("[ingest.http]\nlisten = \"127.0.0.1:{port}\"\ntoken_file = \"token\"\n");
    let home = Home::new(&sandbox.addr, &more);
    std::fs::write(home.path().join("token"), TOKEN).unwrap();
    let _daemon = home.run();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ingest/sdk").join(script);

    let output = program.arg(script).args([&format!("http://127.0.0.1:{port}"), TOKEN]).output().unwrap();

    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}\n{}", home.log());
    let last = String::from_utf8(output.stdout).unwrap();
    let ids: Vec<String> = serde_json::from_str(last.lines().last().unwrap()).unwrap();
    assert_eq!(ids.len(), 5);
    eventually("all are delivered", || {
        let taken = sandbox.taken_ids();
        ids.iter().all(|id| taken.contains(id))
    });
}

#[expect(clippy::print_stderr, reason = "a skipped test says so")]
fn skipped(variable: &str) {
    eprintln!("skipped: {variable} is not set; .ci/run prepares it");
}

#[test]
fn the_python_sdk_logs_in_and_publishes_to_every_endpoint_it_knows() {
    let Ok(python) = std::env::var(PYTHON) else { return skipped(PYTHON) };

    publish(Command::new(python), "publish.py");
}

#[test]
fn the_javascript_sdk_logs_in_and_publishes_to_every_endpoint_it_knows() {
    let Ok(modules) = std::env::var(NODE_MODULES) else { return skipped(NODE_MODULES) };
    let mut node = Command::new("node");
    node.env("NODE_PATH", modules);

    publish(node, "publish.cjs");
}
