//! Options of the commands that ask a running daemon.

use std::time::Duration;

use clap::{Args, Subcommand};

use super::values::{ArrayName, Since, field_value, lane, look_interval, since};
use crate::admin::FieldValue;
use crate::event::Lane;

/// Options of `status`.
#[derive(Args, Debug)]
pub(in crate::cli) struct StatusArgs {
    /// Print it as JSON
    #[arg(long, conflicts_with = "quiet")]
    pub json: bool,
    /// Print nothing; only set the exit code
    #[arg(long, short)]
    pub quiet: bool,
    /// Check only that its loops make progress, whatever the API does
    #[arg(long, group = "probe")]
    pub live: bool,
    /// Check only that it accepts events
    #[arg(long, group = "probe")]
    pub ready: bool,
    /// Check that nothing is wrong
    #[arg(long, group = "probe")]
    pub healthy: bool,
}

/// Options of `top`.
#[derive(Args, Debug)]
pub(in crate::cli) struct TopArgs {
    /// Refresh interval, at least 100ms
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = look_interval)]
    pub interval: Duration,
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
    /// Lane [default: all lanes]
    #[arg(value_name = "LANE", value_parser = lane())]
    pub lane: Option<Lane>,
}

/// What to do with dead letters.
#[derive(Subcommand, Debug)]
pub(in crate::cli) enum LettersCommand {
    /// List dead letters, oldest first
    #[command(
        after_help = "Examples:\n  trunkline dead-letters list --group\n  trunkline dead-letters list --lane presence --since 24h --json"
    )]
    List {
        #[command(flatten)]
        filter: FilterArgs,
        /// Count them by reason, array and the API's message
        #[arg(long)]
        group: bool,
        /// Print a JSON array
        #[arg(long)]
        json: bool,
    },
    /// Show one dead letter with its event
    #[command(after_help = "Example: trunkline dead-letters show 7d1c1f0e-54c5-4c0e-9f3c-1f1a7f0c9d11")]
    Show {
        /// Event id, or any other id in the event
        #[arg(value_name = "ID")]
        id: String,
    },
    /// Accept them again, unchanged or corrected, oldest first
    #[command(after_help = "Examples:\n  trunkline dead-letters replay --all --dry-run\n  \
        trunkline dead-letters replay --reason rejected --where sourceConfiguration.sourceId=OLD --set sourceConfiguration.sourceId=NEW\n\
        Each event is on stable storage before its dead letter is removed. If the queue fills up it stops; run the same command again to continue")]
    Replay {
        #[command(flatten)]
        selection: SelectionArgs,
        /// Set a field; use dots for nested fields. A value that is valid JSON is used as JSON
        #[arg(long, value_name = "FIELD=VALUE", value_parser = field_value)]
        set: Vec<FieldValue>,
    },
    /// Write their events as lines for `trunkline send`
    #[command(after_help = "Example: trunkline dead-letters export --reason expired >expired.ndjson")]
    Export {
        #[command(flatten)]
        filter: FilterArgs,
    },
    /// Delete them permanently
    #[command(after_help = "Example: trunkline dead-letters discard --reason expired --before 7d --dry-run")]
    Discard {
        #[command(flatten)]
        selection: SelectionArgs,
    },
}

/// Which dead letters are to be changed.
#[derive(Args, Debug)]
pub(in crate::cli) struct SelectionArgs {
    #[command(flatten)]
    pub filter: FilterArgs,
    /// Only events whose field has this value
    #[arg(long = "where", value_name = "FIELD=VALUE", value_parser = field_value)]
    pub only_where: Vec<FieldValue>,
    /// Select all dead letters
    #[arg(long)]
    pub all: bool,
    /// Only show what would be done
    #[arg(long)]
    pub dry_run: bool,
}

/// Which dead letters.
#[derive(Args, Debug)]
pub(in crate::cli) struct FilterArgs {
    /// Only this lane
    #[arg(long, value_name = "LANE", value_parser = lane())]
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
    /// Only if the API's message contains this text
    #[arg(long, value_name = "TEXT")]
    pub message: Option<String>,
    /// Only dead letters since then, e.g. 24h or 2026-11-24T08:00:00Z
    #[arg(long, value_name = "AGE|TIME", value_parser = since)]
    pub since: Option<Since>,
    /// Only dead letters before then
    #[arg(long, value_name = "AGE|TIME", value_parser = since)]
    pub before: Option<Since>,
    /// Stop after this many
    #[arg(long, value_name = "COUNT")]
    pub limit: Option<u64>,
}
