//! What answers mean, opened for `fuzz/`: bytes in, verdicts out. Not part of a build.

use std::time::Duration;

use hyper::HeaderMap;
use secrecy::ExposeSecret;

use super::grant;
use super::response::{self, Body};
use super::types::Answer;

/// What the Events API's answer means: read whole, longer than is read, and broken off.
pub fn answers(status: u16, headers: &HeaderMap, body: &[u8], now_ms: i64) -> [Answer; 3] {
    [Body::Whole(body), Body::TooLong, Body::Broken("connection lost")]
        .map(|body| response::answer(status, headers, body, now_ms))
}

/// What the login host's answer means: the token, its life and the age at which it is renewed.
///
/// # Errors
/// If there is no token: the verdict on the request that waits for it, and how long the next login
/// waits after so many failures.
pub fn login(
    status: u16,
    headers: &HeaderMap,
    body: &[u8],
    now_ms: i64,
    failures: u32,
) -> Result<(String, Duration, Duration), Box<(Answer, Duration)>> {
    match grant::grant(status, headers, body, now_ms, "client-id") {
        Ok(grant) => {
            let token = grant.token.expose_secret().to_owned();
            let life = grant.life.unwrap_or(Duration::MAX);
            Ok((token, life, grant::renewal_age(life)))
        }
        Err(fault) => {
            let pause = fault.pause(failures);
            Err(Box::new((fault.answer(), pause)))
        }
    }
}
