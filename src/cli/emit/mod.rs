//! `trunkline emit`: one event from a shell or a dialplan.
//!
//! A call must never hang for it: everything together, reading the configuration and printing the id included,
//! ends after `--timeout`. So the work is done on a thread that is left behind if it hangs in a system call.
//!
//! Not here: how the event is made (`build`), what its fields are (`describe`).

pub mod build;
pub mod build_error;
pub mod describe;
mod error;
mod lossy;
pub mod names;
mod submit;
mod value;

pub use error::EmitError;

use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use anyhow::Context;
use parking_lot::Mutex;

use crate::clock::{Clock, Mono};
use crate::config::{Need, nearest};
use crate::event::{Catalogue, catalogue};
use crate::ids;

use super::access;
use super::args::{self, EmitArgs};
use super::exit::Exit;
use super::locate::contact;
use super::output::{complain, say};
use build::Built;
use names::Names;

/// Time for printing, if `--timeout` is over by then.
pub(super) const LAST_WORDS: Duration = Duration::from_millis(100);

/// What is being waited for.
#[derive(Clone, Debug)]
enum Stage {
    Configuration,
    Names,
    Input,
    /// A place among the connections that wait to be accepted.
    Place(PathBuf),
    Answer(PathBuf),
}

impl Stage {
    fn late(self, timeout: Duration) -> EmitError {
        let what = match self {
            Stage::Configuration => "reading the configuration",
            Stage::Names => "reading the map of names",
            Stage::Input => "reading standard input",
            Stage::Place(socket) => return EmitError::Crowded(access::busy(&socket)),
            Stage::Answer(socket) => {
                let reason = format!("no answer within {}", humantime::format_duration(timeout));
                return EmitError::Unreachable { socket, reason };
            }
        };
        EmitError::Late { what, timeout }
    }
}

/// The time for all that `emit` does, from its start.
#[derive(Clone, Debug)]
struct Deadline {
    clock: Clock,
    began: Mono,
    timeout: Duration,
}

impl Deadline {
    fn left(&self) -> Duration {
        self.timeout.saturating_sub(self.clock.mono().since(self.began))
    }
}

/// What `work` gives, unless `time` is over before. Then its thread ends with the process.
fn within<T: Send + 'static>(time: Duration, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (done, waited) = mpsc::sync_channel(1);
    std::thread::spawn(move || {
        let _ = done.send(work());
    });
    waited.recv_timeout(time).ok()
}

/// From arguments to an exit code.
pub(super) fn command(path: Option<&Path>, args: EmitArgs) -> anyhow::Result<Exit> {
    if args.list {
        return say(&describe::list());
    }
    let known = args.array.as_deref().and_then(catalogue::by_name);
    if args.help {
        return say(&known.map_or_else(args::emit_help, describe::fields));
    }
    let Some(array) = args.array.clone() else {
        complain(&args::emit_help());
        return Ok(Exit::Usage);
    };
    let clock = Clock::system();
    let deadline = Deadline { began: clock.mono(), clock, timeout: args.timeout };
    let stage = Arc::new(Mutex::new(Stage::Configuration));
    let work = {
        let (path, stage, clock) = (path.map(Path::to_owned), stage.clone(), deadline.clock.clone());
        move || hand_over(path.as_deref(), &array, &args, &clock, &stage)
    };
    let built = within(deadline.left(), work).unwrap_or_else(|| {
        let stage = stage.lock().clone();
        Err(stage.late(deadline.timeout).into())
    })?;
    // Whoever does not read the id keeps nobody waiting either: the event is accepted.
    within(deadline.left().max(LAST_WORDS), move || tell(&built));
    Ok(Exit::Done)
}

/// Prints the id of an accepted event.
fn tell(built: &Built) {
    for key in &built.replaced {
        complain(&format!("trunkline: {key}: not UTF-8; invalid bytes were replaced by U+FFFD"));
    }
    let mut out = io::stdout().lock();
    let said = writeln!(out, "{}", built.event_id).and_then(|()| out.flush());
    match said {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => complain(&format!(
            "trunkline: event {} was accepted, but its id cannot be written to stdout: {error}",
            built.event_id
        )),
        _ => {}
    }
}

/// Makes the event and hands it to the daemon. It is on stable storage when this returns `Ok`.
fn hand_over(
    path: Option<&Path>,
    array: &str,
    args: &EmitArgs,
    clock: &Clock,
    stage: &Mutex<Stage>,
) -> anyhow::Result<Built> {
    let known = catalogue::by_name(array);
    // A dialplan that names the socket needs no configuration.
    let mut needs = vec![Need::SourceId];
    if args.socket.is_none() {
        needs.push(Need::Stream);
    }
    let has_names = names::may_be_in(&args.fields);
    if has_names {
        needs.push(Need::IdsFile);
    }
    let contact = contact(path, &needs)?;
    if known.is_none() && !contact.extra_arrays.iter().any(|extra| &*extra.name == array) {
        let arrays = Catalogue::new(&contact.extra_arrays);
        let near = nearest(array, arrays.names()).map(str::to_owned);
        return Err(EmitError::UnknownArray { found: array.to_owned(), near }.into());
    }
    let stdin = match &args.from_json {
        Some(json) if json == OsStr::new("-") => {
            *stage.lock() = Stage::Input;
            Some(standard_input()?)
        }
        _ => None,
    };
    *stage.lock() = Stage::Names;
    let ids_file = contact.ids_file.as_deref().filter(|_| has_names);
    let map = ids_file.map(ids::read).transpose().map_err(EmitError::Names)?;
    let now = jiff::Timestamp::from_millisecond(clock.unix_ms()).context("the clock is out of range")?;
    let built = build::build(&build::BuildInput {
        array,
        known,
        json: stdin.as_deref().or(args.from_json.as_deref().map(OsStr::as_bytes)),
        words: &args.fields,
        source_id: contact.source_id.as_deref(),
        names: ids_file.zip(map.as_ref()).map(|(file, map)| Names { file, map }),
        event_id: uuid::Uuid::new_v4(),
        time: &now.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string(),
    })
    .map_err(EmitError::Words)?;
    let socket = args.socket.as_deref().unwrap_or(&contact.stream);
    *stage.lock() = Stage::Place(socket.to_owned());
    submit::submit(&built.line, socket, || *stage.lock() = Stage::Answer(socket.to_owned()))?;
    Ok(built)
}

fn standard_input() -> Result<Vec<u8>, EmitError> {
    let mut text = Vec::new();
    io::stdin().lock().read_to_end(&mut text).map_err(EmitError::Input)?;
    Ok(text)
}
