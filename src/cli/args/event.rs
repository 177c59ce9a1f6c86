//! Options of the commands that handle events.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::values::{ArrayName, Since, demo_time, lane, since};
use crate::config::parse_duration;
use crate::event::Lane;

/// Options of `emit`.
#[derive(Args, Debug)]
pub(in crate::cli) struct EmitArgs {
    /// Array of the event, e.g. userPresenceEvents; see --list
    #[arg(value_name = "ARRAY", value_parser = ArrayName, hide_possible_values = true)]
    pub array: Option<String>,
    /// Fields of the event; use dots for nested fields. For an id: uuid:TEXT is always the same UUID for the same text; user:NAME,
    /// queue:NAME, wrapup:NAME, presence:NAME and source:NAME are looked up in ids.file
    #[arg(value_name = "KEY=VALUE")]
    pub fields: Vec<OsString>,
    /// JSON object to start from; - reads it from standard input, within --timeout
    #[arg(long, value_name = "OBJECT")]
    pub from_json: Option<OsString>,
    /// Stream socket [default: ingest.stream.path of the configuration]
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// Give up after this long in total; the event may still have been accepted
    #[arg(long, value_name = "DURATION", default_value = "500ms", value_parser = parse_duration)]
    pub timeout: Duration,
    /// List all arrays
    #[arg(long)]
    pub list: bool,
    /// Print help; with ARRAY, print its fields
    #[arg(long, short)]
    pub help: bool,
}

/// Options of `queue export`.
#[derive(Args, Debug)]
pub(in crate::cli) struct ExportArgs {
    /// Directory [default: queue.dir of the configuration]
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// Only this lane
    #[arg(long, value_name = "LANE", value_parser = lane())]
    pub lane: Option<Lane>,
    /// Only events accepted since then (with --dead: dead letters since then), e.g. 24h or 2026-11-24T08:00:00Z
    #[arg(long, value_name = "AGE|TIME", value_parser = since)]
    pub since: Option<Since>,
    /// Export the dead letters instead of the undelivered events
    #[arg(long)]
    pub dead: bool,
}

/// Options of `demo`.
#[derive(Args, Debug)]
pub(in crate::cli) struct DemoArgs {
    /// Stop after this long, e.g. 10s
    #[arg(long = "for", value_name = "DURATION", value_parser = demo_time)]
    pub for_time: Option<Duration>,
}

/// Options of `send`.
#[derive(Args, Debug)]
pub(in crate::cli) struct SendArgs {
    /// Files with one JSON object per line [default: standard input]
    pub files: Vec<PathBuf>,
    /// Stream socket [default: ingest.stream.path of the configuration]
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// How long to keep trying while the daemon is away
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = parse_duration)]
    pub reconnect_for: Duration,
}
