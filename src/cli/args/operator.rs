//! Options of the commands that ask a running daemon.

use clap::{Args, Subcommand};

use super::values::{ArrayName, Since, field_value, lane, look_interval, since};
use crate::event::Lane;

/// Options of `status`.
#[derive(Args, Debug)]
pub(in crate::cli) struct StatusArgs {
    /// Print it as JSON
    #[arg(long, conflicts_with = "quiet")]
    pub json: bool,
    /// Print nothing; the exit code says it
    #[arg(long, short)]
    pub quiet: bool,
    /// Only whether its loops make progress, whatever the API does
    #[arg(long, group = "probe")]
    pub live: bool,
    /// Only whether it accepts events
    #[arg(long, group = "probe")]
    pub ready: bool,
    /// Only whether nothing is wrong
    #[arg(long, group = "probe")]
    pub healthy: bool,
}

/// Options of `top`.
#[derive(Args, Debug)]
pub(in crate::cli) struct TopArgs {
    /// Time between two looks, at least 100ms
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = look_interval)]
    pub interval: humantime::Duration,
}

/// Options of `trace`.
#[derive(Args, Debug)]
pub(in crate::cli) struct TraceArgs {
    /// Event, conversation, communication, interaction, user or agent id
    #[arg(value_name = "ID")]
    pub id: String,
    /// Print it as JSON
    #[arg(long)]
    pub json: bool,
}

/// Options of `pause` and `resume`.
#[derive(Args, Debug)]
pub(in crate::cli) struct LaneArgs {
    /// conversations, presence, routingstatus or customkpi; without one, all
    #[arg(value_name = "LANE", value_parser = lane)]
    pub lane: Option<Lane>,
}

/// What to do with dead letters.
#[derive(Subcommand, Debug)]
pub(in crate::cli) enum LettersCommand {
    /// List them, the oldest first
    #[command(
        after_help = "Examples:\n  trunkline dead-letters list --group\n  trunkline dead-letters list --lane presence --since 24h --json"
    )]
    List {
        #[command(flatten)]
        filter: FilterArgs,
        /// Count them by reason, array and the API's words
        #[arg(long)]
        group: bool,
        /// Print an array of objects
        #[arg(long)]
        json: bool,
    },
    /// Show one with its event
    #[command(after_help = "Example: trunkline dead-letters show 7d1c1f0e-54c5-4c0e-9f3c-1f1a7f0c9d11")]
    Show {
        /// Event id, or any other id that the event carries
        #[arg(value_name = "ID")]
        id: String,
    },
    /// Accept them anew, as they are or mended, in order of their death
    #[command(after_help = "Examples:\n  trunkline dead-letters replay --all --dry-run\n  \
        trunkline dead-letters replay --reason rejected --where sourceConfiguration.sourceId=OLD --set sourceConfiguration.sourceId=NEW\n\
        Each is on stable storage before its letter ends. When the queue is full it stops; the same command goes on")]
    Replay {
        #[command(flatten)]
        filter: FilterArgs,
        /// Give a field another value; dots nest. A value that is JSON is taken as such
        #[arg(long, value_name = "FIELD=VALUE", value_parser = field_value)]
        set: Vec<(String, String)>,
        /// Only events in which the field has this value
        #[arg(long = "where", value_name = "FIELD=VALUE", value_parser = field_value)]
        only_where: Vec<(String, String)>,
        /// All of them
        #[arg(long)]
        all: bool,
        /// Say what would be done
        #[arg(long)]
        dry_run: bool,
    },
    /// Write their events as lines that `trunkline send` takes
    #[command(after_help = "Example: trunkline dead-letters export --reason expired >expired.ndjson")]
    Export {
        #[command(flatten)]
        filter: FilterArgs,
    },
    /// Remove them for good
    #[command(after_help = "Example: trunkline dead-letters discard --reason expired --before 7d --dry-run")]
    Discard {
        #[command(flatten)]
        filter: FilterArgs,
        /// Only events in which the field has this value
        #[arg(long = "where", value_name = "FIELD=VALUE", value_parser = field_value)]
        only_where: Vec<(String, String)>,
        /// All of them
        #[arg(long)]
        all: bool,
        /// Say what would be done
        #[arg(long)]
        dry_run: bool,
    },
}

/// Which dead letters.
#[derive(Args, Debug)]
pub(in crate::cli) struct FilterArgs {
    /// Only this lane: conversations, presence, routingstatus or customkpi
    #[arg(long, value_name = "LANE", value_parser = lane)]
    pub lane: Option<Lane>,
    /// Only this array
    #[arg(long, value_name = "ARRAY", value_parser = ArrayName, hide_possible_values = true)]
    pub array: Option<String>,
    /// Only this reason
    #[arg(long, value_name = "REASON", value_parser = ["rejected", "invalid_alone", "too_large", "attempts", "expired"])]
    pub reason: Option<String>,
    /// Only events with this event, conversation, communication, interaction, user or agent id
    #[arg(long, value_name = "ID")]
    pub id: Option<String>,
    /// Only where the API's words have this part
    #[arg(long, value_name = "TEXT")]
    pub message: Option<String>,
    /// Only what died since, e.g. 24h or 2026-11-24T08:00:00Z
    #[arg(long, value_name = "AGE|TIME", value_parser = since)]
    pub since: Option<Since>,
    /// Only what died before
    #[arg(long, value_name = "AGE|TIME", value_parser = since)]
    pub before: Option<Since>,
    /// At most so many
    #[arg(long, value_name = "COUNT")]
    pub limit: Option<u64>,
}
