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
mod escape;
mod exit;
mod exit_code;
mod format;
mod letters;
mod locate;
mod logging;
mod man;
mod output;
mod queue;
mod run;
mod runtime;
pub mod sandbox;
pub mod send;
mod status;
mod top;
mod trace;

pub use exit::Exit;

use std::process::ExitCode;

use output::{STDERR_TAKES_WITHIN, complain, complain_within, say};
use runtime::async_runtime;

/// Runs the command line and gives the process's exit code.
pub fn main() -> ExitCode {
    crate::memory::keep_small();
    if let Err(error) = crate::shutdown::hear_signals() {
        complain(&format!("trunkline: cannot set the mask of signals: {error}"));
        return Exit::Failed.into();
    }
    let parsed = match args::parse() {
        Ok(parsed) => parsed,
        Err(exit) => return exit.into(),
    };
    // A call must not wait for `emit`.
    let stderr_takes_within = if matches!(parsed.command, args::CliCommand::Emit(_)) {
        emit::LAST_WORDS
    } else {
        STDERR_TAKES_WITHIN
    };
    match dispatch(parsed) {
        Ok(exit) => exit.into(),
        Err(error) => {
            let exit = exit_code::of(&error);
            complain_within(stderr_takes_within, &format!("trunkline: {error:#}"));
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
