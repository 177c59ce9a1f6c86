//! The relay on paused time, between a backlog in memory and an API that answers as a script says.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod backlog_day;
mod basics;
mod bisect;
mod holds;
mod kit;
mod limits;
mod unhealthy_api;
