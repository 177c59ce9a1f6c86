//! The commands, one file each, and their exit codes.
//!
//! Invariants
//! - `args` is the only folder that names clap.
//! - What is wanted goes to stdout, what went wrong to stderr.
//! - Exit codes are those of [`Exit`], whatever failed below.
//!
//! Not here: what a command does once its arguments are clear (`daemon`, `sandbox`, `config`).

mod access;
mod answer;
mod args;
pub mod config;
mod control;
pub mod demo;
mod demo_calls;
pub mod emit;
mod exit;
mod format;
mod letters;
mod locate;
mod logging;
mod man;
mod queue;
mod run;
pub mod sandbox;
pub mod send;
mod status;
mod top;
mod trace;
mod visible;

pub use exit::Exit;

use std::io::Write;
use std::os::fd::AsFd;
use std::process::ExitCode;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// How long stderr may take to have room for a line.
const STDERR_TAKES_WITHIN_MS: u16 = 1_000;

/// Runs the command line and gives the process's exit code.
pub fn main() -> ExitCode {
    crate::memory::keep_small();
    let parsed = match args::parse() {
        Ok(parsed) => parsed,
        Err(exit) => return exit.into(),
    };
    match dispatch(parsed) {
        Ok(exit) => exit.into(),
        Err(error) => {
            let exit = exit::of(&error);
            complain(&format!("trunkline: {error:#}"));
            exit.into()
        }
    }
}

fn dispatch(parsed: args::Parsed) -> anyhow::Result<Exit> {
    use args::{CliCommand, ConfigCommand, QueueCommand};
    let config = parsed.config.as_deref();
    let at = locate::Where { config, admin: parsed.admin.as_deref() };
    match parsed.command {
        CliCommand::Status(options) => status::run(at, &options),
        CliCommand::Top(options) => top::run(at, options.interval),
        CliCommand::Trace(options) => trace::run(at, &options),
        CliCommand::DeadLetters(command) => letters::run(at, command),
        CliCommand::Pause(options) => control::lanes(at, "/pause", &options),
        CliCommand::Resume(options) => control::lanes(at, "/resume", &options),
        CliCommand::Reload => control::reload(at),
        CliCommand::Completions { shell } => man::completions(&args::completions(shell)),
        CliCommand::Man => man::man(),
        CliCommand::Run => run::run(config),
        CliCommand::Demo(options) => demo::run(options.for_time),
        CliCommand::Sandbox(options) => async_runtime()?.block_on(sandbox::run((*options).into())),
        CliCommand::Send(options) => send::command(config, options),
        CliCommand::Emit(options) => emit::command(config, options),
        CliCommand::Queue(QueueCommand::Verify { dir }) => queue::verify(dir, config),
        CliCommand::Queue(QueueCommand::Export(options)) => queue::export(options, config),
        CliCommand::Queue(QueueCommand::Restore { dir }) => queue::restore(dir, config),
        CliCommand::Adopt => control::adopt(at),
        CliCommand::Config(ConfigCommand::Check { online: false }) => say(&config::check(config)?),
        CliCommand::Config(ConfigCommand::Check { online: true }) => config::check_online(config),
        CliCommand::Config(ConfigCommand::Show) => say(&config::show(config)?),
        CliCommand::Config(ConfigCommand::Reference) => say(&config::reference()),
    }
}

/// A runtime for commands and daemon: two workers carry far more than 300 requests a minute.
fn async_runtime() -> std::io::Result<Runtime> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    Ok(Runtime(Some(runtime)))
}

/// Ends without waiting for blocking calls: a name look-up or a file that hangs must not keep the process.
struct Runtime(Option<tokio::runtime::Runtime>);

impl Runtime {
    fn block_on<F: Future>(&self, work: F) -> F::Output {
        self.0.as_ref().expect("there until it is dropped").block_on(work)
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// Writes to stdout.
fn say(text: &str) -> anyhow::Result<Exit> {
    let mut out = std::io::stdout().lock();
    is_read(out.write_all(text.as_bytes()).and_then(|()| out.flush()))?;
    Ok(Exit::Done)
}

/// Whether somebody still reads what was `written` to stdout. A reader that went away (`| head`) is no fault: what
/// only prints ends well, and what changes something goes on.
fn is_read(written: std::io::Result<()>) -> std::io::Result<bool> {
    match written {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(std::io::Error::new(error.kind(), format!("cannot write to stdout: {error}"))),
    }
}

/// Writes a line to stderr, fit for a terminal; there is nowhere to report that this failed. Whoever does not read stderr does not hold us
/// up: a command ends all the same.
fn complain(text: &str) {
    let mut stderr = std::io::stderr();
    let can_write = {
        let mut asked = [PollFd::new(stderr.as_fd(), PollFlags::POLLOUT)];
        poll(&mut asked, PollTimeout::from(STDERR_TAKES_WITHIN_MS)).is_ok_and(|ready| ready > 0)
    };
    if can_write {
        let _ = writeln!(stderr, "{}", visible::visible_lines(text));
    }
}
