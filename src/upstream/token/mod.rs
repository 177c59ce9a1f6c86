//! The token: fetched once for all who wait, renewed ahead, fetched again when the API refuses it.
//!
//! none ──login──> fresh ──age──> ageing ──login──> fresh
//!   ^               └──401────────┴──> none
//!   └── refused: pause 1 s … 60 s
//!
//! Invariants
//! - One login at a time; who waited for it gets its outcome, good or bad.
//! - A valid token stays in use while renewal fails; nobody waits for the renewal.
//! - After a failed login, and after a fresh token that the API refuses, there is a pause for every caller.
//! - A token from a file that is not the one before counts as another account's, until somebody clears it.
//!
//! `state` decides and is pure; `cache` logs in.
//!
//! Not here: what the login host's answer means (`grant`), which account may send (`gate`).

mod cache;
mod state;

pub(super) use cache::TokenCache;
