//! The command line. The only folder that names clap.

mod event;
mod operator;
mod sandbox;
mod values;

use std::io::Write as _;
use std::path::PathBuf;

use clap::{Parser, Subcommand};

pub(in crate::cli) use event::{DemoArgs, EmitArgs, ExportArgs, SendArgs};
pub(in crate::cli) use operator::{
    FilterArgs, LaneArgs, LettersCommand, SelectionArgs, StatusArgs, TopArgs, TraceArgs,
};
pub(in crate::cli) use sandbox::SandboxArgs;

use super::Exit;
use super::output::complain;

const EXAMPLES: &str = "\
Examples:
  trunkline demo                                   see it work; no account needed
  trunkline sandbox                                a local Events API to test against
  trunkline run --config trunkline.toml            run the daemon
  trunkline send --socket events.sock calls.ndjson send events
  trunkline status                                 what it is doing, and what is wrong
  trunkline trace CONVERSATION-ID                  what happened to a call
Exit codes: 0 success, 1 something was refused or failed, 64 usage, 69 daemon not reachable,
  73 directory or socket cannot be created or is in use, 74 storage error, 77 permission, 78 configuration";

/// Heading of the options that every command takes.
const GLOBAL: &str = "Global options";

#[derive(Parser, Debug)]
#[command(
    name = "trunkline",
    version,
    about = "Stores contact-centre events on disk and delivers them to the Genesys Cloud Events API",
    after_help = EXAMPLES
)]
struct Cli {
    /// Configuration file [default: /etc/trunkline/trunkline.toml]
    #[arg(long, global = true, value_name = "FILE", help_heading = GLOBAL)]
    config: Option<PathBuf>,
    /// Admin socket of the daemon [default: admin.listen of the configuration]
    #[arg(long, global = true, value_name = "ADDR", value_parser = values::admin_address, help_heading = GLOBAL)]
    admin: Option<PathBuf>,
    #[command(subcommand)]
    command: CliCommand,
}

/// A command with its options.
#[derive(Subcommand, Debug)]
pub(in crate::cli) enum CliCommand {
    /// Run the daemon in the foreground
    #[command(after_help = "Example: trunkline run --config /etc/trunkline/trunkline.toml")]
    Run,
    /// Run the daemon and a sandbox together with sample calls: no account, no configuration, no root
    #[command(after_help = "Example: trunkline demo --for 10s")]
    Demo(DemoArgs),
    /// Run a local Events API to develop against; prints a matching configuration at start
    #[command(after_help = "Example: trunkline sandbox --fail-rate 0.2 --latency 50ms --seed 7\n\
        While it is running: GET /sandbox/stats, GET /sandbox/events, GET /sandbox/rejected, PUT /sandbox/faults {\"status\":503} (ends with {\"status\":null})")]
    Sandbox(Box<SandboxArgs>),
    /// Send lines from files or standard input to the stream socket
    #[command(after_help = "Example: trunkline send --socket /run/trunkline/events.sock calls.ndjson")]
    Send(SendArgs),
    /// Send one event from a shell script or dialplan; prints its id
    #[command(
        disable_help_flag = true,
        after_help = "Examples:\n  trunkline emit --list\n  trunkline emit userRoutingStatusEvents --help\n  \
            trunkline emit userRoutingStatusEvents agentId=uuid:anna status=Idle sourceId=pbx-1\n\
            Exit codes: 0 the event is on stable storage, 1 refused, 64 usage, 69 no answer in time, 77 not allowed,\n\
            78 configuration or ids.file"
    )]
    Emit(EmitArgs),
    /// Show what the daemon is doing and what is wrong, in plain words first
    #[command(after_help = "Examples:\n  trunkline status\n  trunkline status --json\n  \
        trunkline status --quiet --ready     for probes: exit 0 yes, 1 no, 69 no daemon")]
    Status(StatusArgs),
    /// Show the status live, with sparklines; press q to quit
    #[command(after_help = "Example: trunkline top --interval 2s\nNO_COLOR=1 is honoured.")]
    Top(TopArgs),
    /// Show what happened to an event, a call or an agent's events
    #[command(after_help = "Example: trunkline trace 7d1c1f0e-54c5-4c0e-9f3c-1f1a7f0c9d11\n\
        Looks in the ledger (queue.keep_ledger) and in the queue. Exit 1 if the id is unknown")]
    Trace(TraceArgs),
    /// List events that could not be delivered, replay them, or discard them
    #[command(
        subcommand,
        after_help = "Examples:\n  trunkline dead-letters list --group\n  \
        trunkline dead-letters replay --reason rejected --set sourceConfiguration.sourceId=NEW --dry-run"
    )]
    DeadLetters(LettersCommand),
    /// Stop sending but keep accepting; survives restarts
    #[command(after_help = "Examples:\n  trunkline pause\n  trunkline pause conversations")]
    Pause(LaneArgs),
    /// Start sending again, and try at once whatever is waiting
    #[command(after_help = "Example: trunkline resume conversations")]
    Resume(LaneArgs),
    /// Reload the configuration; all or nothing
    #[command(after_help = "Example: trunkline reload\n\
        Exit 0 applied, 1 applied but some keys need a restart, 78 refused and nothing changed")]
    Reload,
    /// Check, export or restore the queue directory of a stopped daemon
    #[command(subcommand, after_help = "Example: trunkline queue verify --dir /var/lib/trunkline")]
    Queue(QueueCommand),
    /// Send events that were queued for another organisation or client to the configured one
    ///
    /// The queue directory remembers which organisation and client its events were accepted for. Nothing
    /// is sent while events of another one are queued. Uses the running daemon, or its directory if it is
    /// stopped.
    #[command(after_help = "Example: trunkline adopt --config /etc/trunkline/trunkline.toml")]
    Adopt,
    /// Print a shell completion script
    #[command(after_help = "Example: trunkline completions bash >/etc/bash_completion.d/trunkline")]
    Completions {
        /// Shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page
    #[command(after_help = "Example: trunkline man >/usr/share/man/man1/trunkline.1")]
    Man,
    /// Check, show or document the configuration
    #[command(subcommand, after_help = "Example: trunkline config check --config trunkline.toml")]
    Config(ConfigCommand),
}

/// What to do with the configuration.
#[derive(Subcommand, Debug)]
pub(in crate::cli) enum ConfigCommand {
    /// Validate the configuration; exit 0 or 78
    #[command(after_help = "Example: trunkline config check --online\n\
        --online also checks DNS, proxy, TLS, login, organisation, each lane's permission and the clock.\n\
        It sends no event. Exit 1 if a check fails")]
    Check {
        /// Also test the connection to the API
        #[arg(long)]
        online: bool,
    },
    /// Print the effective values and where each comes from; secrets are masked
    Show,
    /// Print every key with its default and description
    Reference,
}

/// A completion script.
pub(in crate::cli) fn completions(shell: clap_complete::Shell) -> Vec<u8> {
    use clap::CommandFactory;
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "trunkline", &mut script);
    script
}

/// The manual page: the command's own, then what each subcommand takes.
pub(in crate::cli) fn man_page() -> std::io::Result<Vec<u8>> {
    use clap::CommandFactory;
    let mut command = Cli::command();
    command.build();
    let mut page = Vec::new();
    clap_mangen::Man::new(command.clone()).render(&mut page)?;
    let mut names: Vec<clap::Command> = command.get_subcommands().cloned().collect();
    while !names.is_empty() {
        let sub = names.remove(0);
        if sub.get_name() == "help" {
            continue;
        }
        // Below another, and above those after it.
        names.splice(0..0, sub.get_subcommands().cloned());
        writeln!(page, ".SH {}", sub.get_bin_name().unwrap_or(sub.get_name()).to_uppercase())?;
        let man = clap_mangen::Man::new(sub);
        man.render_description_section(&mut page)?;
        man.render_options_section(&mut page)?;
        man.render_extra_section(&mut page)?;
    }
    Ok(page)
}

/// The help of `emit` without an array.
pub(in crate::cli) fn emit_help() -> String {
    use clap::CommandFactory;
    let mut command = Cli::command();
    command.build();
    let emit = command.find_subcommand_mut("emit").expect("it is declared above");
    emit.render_help().to_string()
}

/// What to do with a queue directory. The daemon must be stopped.
#[derive(Subcommand, Debug)]
pub(in crate::cli) enum QueueCommand {
    /// Read every chunk and verify its checksum and sequence numbers; exit 74 if anything is damaged
    #[command(after_help = "Example: trunkline queue verify --dir /var/lib/trunkline")]
    Verify {
        /// Directory [default: queue.dir of the configuration]
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
    /// Write undelivered events, or dead letters, as lines for `trunkline send`
    #[command(after_help = "Example: trunkline queue export --lane presence --since 24h >presence.ndjson")]
    Export(ExportArgs),
    /// Restore quarantined data that can be read again; exit 1 if some still cannot
    #[command(after_help = "Example: trunkline queue restore --dir /var/lib/trunkline")]
    Restore {
        /// Directory [default: queue.dir of the configuration]
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
}

/// What was asked for.
#[derive(Debug)]
pub(in crate::cli) struct Parsed {
    pub(in crate::cli) config: Option<PathBuf>,
    pub(in crate::cli) admin: Option<PathBuf>,
    pub(in crate::cli) command: CliCommand,
}

/// Reads the command line; help, version and usage errors are answered here.
pub(in crate::cli) fn parse() -> Result<Parsed, Exit> {
    match Cli::try_parse() {
        Ok(Cli { config, admin, command }) => Ok(Parsed { config, admin, command }),
        Err(error) if error.use_stderr() => {
            complain(error.to_string().trim_end());
            Err(Exit::Usage)
        }
        Err(help) => {
            // Without a stdout there is only the exit code to tell.
            let _ = help.print();
            Err(Exit::Done)
        }
    }
}
