//! Options of `sandbox`.

use std::net::SocketAddr;
use std::time::Duration;

use clap::Args;

use super::values::rate;
use crate::config::parse_duration;
use crate::sandbox;

/// Options of `sandbox`.
#[derive(Args, Debug)]
pub(in crate::cli) struct SandboxArgs {
    /// Address to listen on
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9900")]
    listen: SocketAddr,
    /// Share of requests that fail, 0 to 1 [default: 1 with --status, else 0]
    #[arg(long, value_name = "RATE", value_parser = rate)]
    fail_rate: Option<f64>,
    /// Status of failing requests [default: 503]
    #[arg(long, value_name = "STATUS", value_parser = clap::value_parser!(u16).range(300..600))]
    status: Option<u16>,
    /// Retry-After header of 429 and 503 answers
    #[arg(long, value_name = "SECONDS")]
    retry_after: Option<u64>,
    /// Delay before each answer, e.g. 50ms
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = parse_duration)]
    latency: Duration,
    /// Share of events refused as not retryable, 0 to 1
    #[arg(long, value_name = "RATE", default_value_t = 0.0, value_parser = rate)]
    reject_event_rate: f64,
    /// Share of events refused as retryable, 0 to 1
    #[arg(long, value_name = "RATE", default_value_t = 0.0, value_parser = rate)]
    retry_event_rate: f64,
    /// Share of requests whose connection is closed before they are processed, 0 to 1
    #[arg(long, value_name = "RATE", default_value_t = 0.0, value_parser = rate)]
    reset_rate: f64,
    /// Share of requests that are processed but get no answer, 0 to 1
    #[arg(long, value_name = "RATE", default_value_t = 0.0, value_parser = rate)]
    lost_answer_rate: f64,
    /// Share of requests answered with an HTML page and status 200, 0 to 1
    #[arg(long, value_name = "RATE", default_value_t = 0.0, value_parser = rate)]
    html_rate: f64,
    /// Answer every request with 401
    #[arg(long)]
    unauthorized: bool,
    /// Permission the client lacks: its endpoint answers 403
    #[arg(long, value_name = "PERMISSION")]
    deny: Option<String>,
    /// Organisation id of the client, a UUID
    #[arg(long, value_name = "ID")]
    organisation: Option<String>,
    /// Refuse every login
    #[arg(long)]
    refuse_login: bool,
    /// Offset of the Date header in answers
    #[arg(long, value_name = "SECONDS", default_value_t = 0, allow_negative_numbers = true)]
    date_offset: i64,
    /// Requests allowed per 60 s
    #[arg(long, value_name = "COUNT", default_value_t = 300)]
    requests_per_minute: u32,
    /// Lifetime of a token
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = parse_duration)]
    token_life: Duration,
    /// Random seed: the same seed gives the same faults
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    seed: u64,
}

impl From<SandboxArgs> for sandbox::Options {
    fn from(args: SandboxArgs) -> Self {
        let faults = sandbox::Faults {
            status: args.status,
            fail_rate: args.fail_rate,
            retry_after_seconds: args.retry_after,
            latency_ms: u64::try_from(args.latency.as_millis()).unwrap_or(u64::MAX),
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
            token_life: args.token_life,
        }
    }
}
