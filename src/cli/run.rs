//! `run`, `sandbox`, `send` and `emit`: from arguments to the parts that do the work.

use std::io::IsTerminal;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;

use crate::activation::Activation;
use crate::clock::Clock;
use crate::config::Need;
use crate::daemon::{self, Daemon, Start};
use crate::event::catalogue::types;
use crate::shutdown::{self, Shutdown};

use super::args::{self, EmitArgs, SendArgs};
use super::emit::{self, build, describe};
use super::locate::contact;
use super::send::{self, SendError};
use super::{Exit, async_runtime, complain, config, logging, sandbox, say};

/// The daemon, in the foreground, until a stop signal.
pub(super) fn run(path: Option<&Path>) -> anyhow::Result<Exit> {
    let loaded = crate::config::load(path)?;
    let set_level = logging::start(&loaded.config.log);
    daemon::harden().context("cannot set umask and core limit")?;
    let activation = Activation::from_env()?;
    async_runtime()?.block_on(async {
        let shutdown = Shutdown::default();
        let signals = tokio::spawn(shutdown.clone().listen());
        // Before the start: a reload that comes early must not end us.
        let mut hangups = shutdown::hangups()?;
        let again = path.map(Path::to_owned);
        let daemon = Daemon::start(Start {
            loaded,
            load: Arc::new(move || crate::config::load(again.as_deref())),
            set_level,
            activation,
            clock: Clock::system(),
            shutdown,
        })
        .await?;
        let reloads = daemon.reloads();
        let reloading = tokio::spawn(async move {
            while hangups.recv().await.is_some() {
                reloads.reload("SIGHUP").await;
            }
        });
        let ended = daemon.finished().await;
        reloading.abort();
        signals.abort();
        ended?;
        Ok(Exit::Done)
    })
}

/// An Events API on loopback until a stop signal.
pub(super) async fn sandbox(options: crate::sandbox::Options) -> anyhow::Result<Exit> {
    let shutdown = Shutdown::default();
    let stop = shutdown.stop.clone();
    let signals = tokio::spawn(shutdown.listen());
    sandbox::run(options, stop, &mut std::io::stdout()).await?;
    signals.abort();
    Ok(Exit::Done)
}

/// Lines from files or stdin to the stream socket.
pub(super) fn send(path: Option<&Path>, args: SendArgs) -> anyhow::Result<Exit> {
    let socket = match args.socket {
        Some(socket) => socket,
        None => contact(path, &[Need::Stream])?.stream,
    };
    let options = send::SendOptions {
        socket,
        files: args.files,
        reconnect_for: args.reconnect_for.into(),
        progress: std::io::stderr().is_terminal(),
    };
    let sent = async_runtime()?.block_on(send::run(options, |refused| complain(&refused.to_string())));
    if let Ok(report) | Err(SendError::Input { report, .. }) = &sent {
        say(&format!("accepted {} · refused {}\n", report.accepted, report.refused))?;
    }
    Ok(if sent?.refused == 0 { Exit::Done } else { Exit::Failed })
}

/// Validates, and looks at everything between us and the API.
pub(super) fn check_online(path: Option<&Path>) -> anyhow::Result<Exit> {
    let loaded = crate::config::load(path)?;
    say(&config::check(path)?)?;
    let findings = async_runtime()?.block_on(daemon::check_online(&loaded.config))?;
    let mut exit = Exit::Done;
    for finding in findings {
        let (mark, text) = match &finding.result {
            Ok(text) => ("ok   ", text),
            Err(text) => ("fault", text),
        };
        if finding.result.is_err() {
            exit = Exit::Failed;
        }
        say(&format!("{mark} {:<14} {text}\n", finding.name))?;
    }
    Ok(exit)
}

/// One event from words.
pub(super) fn emit(path: Option<&Path>, args: EmitArgs) -> anyhow::Result<Exit> {
    let deadline = emit::Deadline::new(Clock::system(), args.timeout.into());
    if args.list {
        return say(&describe::list());
    }
    let known = args.array.as_deref().and_then(|array| types().iter().find(|known| known.array == array));
    if args.help {
        return say(&known.map_or_else(args::emit_help, describe::fields));
    }
    let Some(array) = &args.array else {
        complain(&args::emit_help());
        return Ok(Exit::Usage);
    };
    // A dialplan that names the socket needs no configuration.
    let needs: &[Need] =
        if args.socket.is_some() { &[Need::SourceId] } else { &[Need::Stream, Need::SourceId] };
    let contact = contact(path, needs)?;
    if known.is_none() && !contact.extra_arrays.iter().any(|extra| extra.name.as_ref() == array.as_str()) {
        complain(&format!("trunkline: there is no array {array:?}; `trunkline emit --list` has them all"));
        return Ok(Exit::Usage);
    }
    let stdin = match args.from_json.as_deref() {
        Some("-") => Some(emit::standard_input(&deadline)?),
        _ => None,
    };
    let now =
        jiff::Timestamp::from_millisecond(Clock::system().unix_ms()).context("the clock is out of range")?;
    let built = build::build(&build::Parts {
        array,
        known,
        json: stdin.as_deref().or(args.from_json.as_deref()),
        words: &args.fields,
        source_id: contact.source_id.as_deref(),
        event_id: uuid::Uuid::new_v4(),
        time: &now.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string(),
    });
    let built = match built {
        Ok(built) => built,
        Err(error) => {
            complain(&format!("trunkline: {error}"));
            return Ok(Exit::Usage);
        }
    };
    let socket = args.socket.unwrap_or(contact.stream);
    emit::hand_over(&built.line, &socket, &deadline)?;
    say(&format!("{}\n", built.event_id))
}
