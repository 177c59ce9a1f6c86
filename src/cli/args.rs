//! The command line. The only file that names clap.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::event::{Lane, catalogue};
use crate::sandbox;

use super::Exit;

const EXAMPLES: &str = "\
Examples:
  trunkline demo                                   see it work; no account needed
  trunkline sandbox                                an Events API on this machine
  trunkline run --config trunkline.toml            the daemon
  trunkline send --socket events.sock calls.ndjson hand events over
Exit codes: 0 done, 1 something was refused or failed, 64 usage, 69 daemon not reachable,
  73 directory or socket cannot be made or is in use, 74 storage fault, 77 permission, 78 configuration";

#[derive(Parser, Debug)]
#[command(
    name = "trunkline",
    version,
    about = "Keeps contact-centre events on disk and delivers them to the Genesys Cloud Events API",
    after_help = EXAMPLES
)]
struct Cli {
    /// Configuration file [default: /etc/trunkline/trunkline.toml]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

/// A command with its options.
#[derive(Subcommand, Debug)]
pub(super) enum Command {
    /// Run the daemon in the foreground
    #[command(after_help = "Example: trunkline run --config /etc/trunkline/trunkline.toml")]
    Run,
    /// Show the whole way of an event on this machine: no account, no configuration, no root
    #[command(after_help = "Example: trunkline demo --for 10s")]
    Demo(DemoArgs),
    /// Run an Events API to develop against; prints a ready configuration at start
    #[command(after_help = "Example: trunkline sandbox --fail-rate 0.2 --latency 50ms --seed 7\n\
        While it runs: GET /sandbox/stats, GET /sandbox/events, PUT /sandbox/faults {\"status\":503}")]
    Sandbox(Box<SandboxArgs>),
    /// Send lines from files or standard input to the stream socket
    #[command(after_help = "Example: trunkline send --socket /run/trunkline/events.sock calls.ndjson")]
    Send(SendArgs),
    /// Hand over one event, for shells and dialplans; prints its id
    #[command(
        disable_help_flag = true,
        after_help = "Examples:\n  trunkline emit --list\n  trunkline emit userRoutingStatusEvents --help\n  \
            trunkline emit userRoutingStatusEvents agentId=uuid:anna status=Idle sourceId=pbx-1\n\
            Exit codes: 0 it is on stable storage, 1 refused, 69 the daemon did not answer in time, 77 not allowed"
    )]
    Emit(EmitArgs),
    /// Look into a stopped daemon's queue directory
    #[command(subcommand, after_help = "Example: trunkline queue verify --dir /var/lib/trunkline")]
    Queue(QueueCommand),
    /// Send what was queued for another organisation or client to the configured one
    ///
    /// The queue's directory remembers for whom events were accepted. While others are queued, nothing
    /// leaves. The daemon must be stopped.
    #[command(after_help = "Example: trunkline adopt --config /etc/trunkline/trunkline.toml")]
    Adopt,
    /// Check, show or describe the configuration
    #[command(subcommand, after_help = "Example: trunkline config check --config trunkline.toml")]
    Config(ConfigCommand),
}

/// What to do with the configuration.
#[derive(Subcommand, Debug)]
pub(super) enum ConfigCommand {
    /// Validate it; exit 0 or 78
    #[command(after_help = "Example: trunkline config check --online\n\
        --online also looks at DNS, proxy, TLS, login, organisation, each lane's permission and the clock;\n\
        it sends no event. Exit 1 if anything of that is wrong")]
    Check {
        /// Also ask the API
        #[arg(long)]
        online: bool,
    },
    /// Print the values in force and where each came from; secrets are masked
    Show,
    /// Print every key with its default and meaning
    Reference,
}

/// Options of `emit`.
#[derive(Args, Debug)]
pub(super) struct EmitArgs {
    /// Array that the event stands in, e.g. userPresenceEvents; --list has them all
    #[arg(value_name = "ARRAY", value_parser = ArrayName, hide_possible_values = true)]
    pub array: Option<String>,
    /// Fields; dots nest, uuid:TEXT makes an id that is the same for the same text
    #[arg(value_name = "KEY=VALUE")]
    pub fields: Vec<String>,
    /// A JSON object to begin with; - reads it from standard input
    #[arg(long, value_name = "OBJECT")]
    pub from_json: Option<String>,
    /// Stream socket [default: ingest.stream.path of the configuration]
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// Give up after this long; the event is then perhaps accepted
    #[arg(long, value_name = "DURATION", default_value = "500ms")]
    pub timeout: humantime::Duration,
    /// List all arrays
    #[arg(long)]
    pub list: bool,
    /// Print help, or after ARRAY its fields
    #[arg(long, short)]
    pub help: bool,
}

/// Any name; the table's are offered for completion.
#[derive(Clone)]
struct ArrayName;

impl clap::builder::TypedValueParser for ArrayName {
    type Value = String;

    fn parse_ref(
        &self,
        command: &clap::Command,
        _arg: Option<&clap::Arg>,
        value: &std::ffi::OsStr,
    ) -> Result<String, clap::Error> {
        let text = value.to_str().map(str::to_owned);
        text.ok_or_else(|| clap::Error::new(clap::error::ErrorKind::InvalidUtf8).with_cmd(command))
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = clap::builder::PossibleValue> + '_>> {
        let names = catalogue::types().iter().map(|known| known.array);
        Some(Box::new(names.map(clap::builder::PossibleValue::new)))
    }
}

/// The help of `emit` without an array.
pub(super) fn emit_help() -> String {
    use clap::CommandFactory;
    let mut command = Cli::command();
    command.build();
    let emit = command.find_subcommand_mut("emit").expect("it is declared above");
    emit.render_help().to_string()
}

/// What to do with a queue directory. The daemon must be stopped; nothing is changed.
#[derive(Subcommand, Debug)]
pub(super) enum QueueCommand {
    /// Read every chunk, check its sum and its numbers, count; exit 74 on damage
    #[command(after_help = "Example: trunkline queue verify --dir /var/lib/trunkline")]
    Verify {
        /// Directory [default: queue.dir of the configuration]
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
    /// Write unsettled events, or dead letters, as lines that `trunkline send` takes
    #[command(after_help = "Example: trunkline queue export --lane presence --since 24h >presence.ndjson")]
    Export(ExportArgs),
}

/// Options of `queue export`.
#[derive(Args, Debug)]
pub(super) struct ExportArgs {
    /// Directory [default: queue.dir of the configuration]
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// Only this lane: conversations, presence, routingstatus or customkpi
    #[arg(long, value_name = "LANE", value_parser = lane)]
    pub lane: Option<Lane>,
    /// Only what was accepted (with --dead: died) since, e.g. 24h or 2026-11-24T08:00:00Z
    #[arg(long, value_name = "AGE|TIME", value_parser = since)]
    pub since: Option<Since>,
    /// The dead letters instead of the unsettled events
    #[arg(long)]
    pub dead: bool,
}

/// A point in time on the command line.
#[derive(Clone, Copy, Debug)]
pub(super) enum Since {
    /// So long ago.
    Ago(Duration),
    /// Then, milliseconds since 1970.
    Time(i64),
}

fn since(text: &str) -> Result<Since, String> {
    if let Ok(age) = humantime::parse_duration(text) {
        return Ok(Since::Ago(age));
    }
    let time: jiff::Timestamp = text
        .parse()
        .map_err(|_| "neither an age like 24h nor a time like 2026-11-24T08:00:00Z".to_owned())?;
    Ok(Since::Time(time.as_millisecond()))
}

fn lane(text: &str) -> Result<Lane, String> {
    let names = || Lane::ALL.map(Lane::name).join(", ");
    Lane::from_name(text).ok_or_else(|| format!("no lane; the lanes are {}", names()))
}

/// Options of `demo`.
#[derive(Args, Debug)]
pub(super) struct DemoArgs {
    /// End by itself after this long, e.g. 10s
    #[arg(long = "for", value_name = "DURATION")]
    pub for_time: Option<humantime::Duration>,
}

/// Options of `send`.
#[derive(Args, Debug)]
pub(super) struct SendArgs {
    /// Files of lines; without any, standard input
    pub files: Vec<PathBuf>,
    /// Stream socket [default: ingest.stream.path of the configuration]
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// How long to go on trying when the daemon goes away
    #[arg(long, value_name = "DURATION", default_value = "30s")]
    pub reconnect_for: humantime::Duration,
}

/// Options of `sandbox`.
#[derive(Args, Debug)]
pub(super) struct SandboxArgs {
    /// Address to listen on
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9900")]
    listen: SocketAddr,
    /// Part of requests that fail, 0 to 1 [default: all with --status, else none]
    #[arg(long, value_name = "RATE", value_parser = rate)]
    fail_rate: Option<f64>,
    /// Status of failing requests [default: 503]
    #[arg(long, value_name = "STATUS", value_parser = clap::value_parser!(u16).range(300..600))]
    status: Option<u16>,
    /// Retry-After of 429 and 503
    #[arg(long, value_name = "SECONDS")]
    retry_after: Option<u64>,
    /// Wait before each answer, e.g. 50ms
    #[arg(long, value_name = "DURATION", default_value = "0s")]
    latency: humantime::Duration,
    /// Part of events listed as not retryable
    #[arg(long, value_name = "RATE", default_value_t = 0.0, value_parser = rate)]
    reject_event_rate: f64,
    /// Part of events listed as retryable
    #[arg(long, value_name = "RATE", default_value_t = 0.0, value_parser = rate)]
    retry_event_rate: f64,
    /// Part of requests whose connection ends before anything was done
    #[arg(long, value_name = "RATE", default_value_t = 0.0, value_parser = rate)]
    reset_rate: f64,
    /// Part of requests that are done and whose answer is lost
    #[arg(long, value_name = "RATE", default_value_t = 0.0, value_parser = rate)]
    lost_answer_rate: f64,
    /// Part of requests answered with a page, status 200
    #[arg(long, value_name = "RATE", default_value_t = 0.0, value_parser = rate)]
    html_rate: f64,
    /// Answer every request with 401
    #[arg(long)]
    unauthorized: bool,
    /// Permission that is missing: its path answers 403
    #[arg(long, value_name = "PERMISSION")]
    deny: Option<String>,
    /// Organisation that tokens belong to, a UUID
    #[arg(long, value_name = "ID")]
    organisation: Option<String>,
    /// Refuse every login
    #[arg(long)]
    refuse_login: bool,
    /// How far the Date of answers is from the time here
    #[arg(long, value_name = "SECONDS", default_value_t = 0, allow_negative_numbers = true)]
    date_offset: i64,
    /// Requests allowed in 60 s
    #[arg(long, value_name = "COUNT", default_value_t = 300)]
    requests_per_minute: u32,
    /// Life of a token
    #[arg(long, value_name = "DURATION", default_value = "24h")]
    token_life: humantime::Duration,
    /// Seed of the faults: the same seed, the same faults
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    seed: u64,
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(rate) if (0.0..=1.0).contains(&rate) => Ok(rate),
        _ => Err("a rate is a number from 0 to 1".to_owned()),
    }
}

impl From<SandboxArgs> for sandbox::Options {
    fn from(args: SandboxArgs) -> Self {
        let latency: Duration = args.latency.into();
        let faults = sandbox::Faults {
            status: args.status,
            fail_rate: args.fail_rate,
            retry_after_seconds: args.retry_after,
            latency_ms: u64::try_from(latency.as_millis()).unwrap_or(u64::MAX),
            reject_event_rate: args.reject_event_rate,
            retry_event_rate: args.retry_event_rate,
            reset_rate: args.reset_rate,
            lost_answer_rate: args.lost_answer_rate,
            html_rate: args.html_rate,
            unauthorized: args.unauthorized,
            deny: args.deny,
            organisation: args.organisation,
            refuse_login: args.refuse_login,
            date_offset_seconds: args.date_offset,
        };
        Self {
            listen: args.listen,
            faults,
            requests_per_minute: args.requests_per_minute,
            seed: args.seed,
            token_life: args.token_life.into(),
        }
    }
}

/// What was asked for.
#[derive(Debug)]
pub(super) struct Parsed {
    pub(super) config: Option<PathBuf>,
    pub(super) command: Command,
}

/// Reads the command line; help, version and usage errors are answered here.
pub(super) fn parse() -> Result<Parsed, Exit> {
    match Cli::try_parse() {
        Ok(Cli { config, command }) => Ok(Parsed { config, command }),
        Err(error) => {
            // Neither stream being there leaves only the exit code to tell.
            let _ = error.print();
            Err(if error.use_stderr() { Exit::Usage } else { Exit::Done })
        }
    }
}
