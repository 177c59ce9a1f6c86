//! Options of `sandbox`.

use std::net::SocketAddr;
use std::time::Duration;

use clap::Args;

use super::values::rate;
use crate::sandbox;

/// Options of `sandbox`.
#[derive(Args, Debug)]
pub(in crate::cli) struct SandboxArgs {
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
