//! Every response becomes the verdict that its status asks for, and no words of its body reach a log.
//!
//! Input, as text: status · line feed · a header a line · empty line · the body.

#![no_main]

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use trunkline::upstream::{Answer, Verdict, fuzzing};

const NOW_MS: i64 = 1_790_000_000_000;
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fuzz_target!(|input: &[u8]| {
    let at = memchr::memmem::find(input, b"\n\n").unwrap_or(input.len());
    let body = input.get(at + 2..).unwrap_or_default();
    let mut lines = input[..at].split(|byte| *byte == b'\n');
    let status = lines.next().and_then(|line| std::str::from_utf8(line).ok()?.parse().ok());
    let Some(status) = status else { return };
    let mut headers = HeaderMap::new();
    for line in lines {
        let Some((name, value)) = line.iter().position(|byte| *byte == b':').map(|at| line.split_at(at))
        else {
            continue;
        };
        let name = HeaderName::from_bytes(name.trim_ascii());
        let value = HeaderValue::from_bytes(value[1..].trim_ascii());
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.append(name, value);
        }
    }

    let [whole, long, broken] = fuzzing::answers(status, &headers, body, NOW_MS);
    for answer in [&whole, &long, &broken] {
        check_answer(answer, status);
    }
    check_whole(&whole.verdict, whole.correlation_id.is_some(), status, body);
    assert!(
        !matches!(long.verdict, Verdict::Taken { .. }) && !matches!(broken.verdict, Verdict::Taken { .. })
    );

    check_login(status, &headers, body);
});

fn check_answer(answer: &Answer, status: u16) {
    assert_eq!(answer.status, Some(status));
    assert!(answer.retry_after.is_none_or(|wait| (Duration::from_secs(1)..=DAY).contains(&wait)));
    assert!(answer.correlation_id.as_deref().is_none_or(|id| !id.is_empty()));
    let fits = match &answer.verdict {
        Verdict::Taken { .. } => (200..300).contains(&status),
        Verdict::NotTheApi => {
            (200..300).contains(&status) || (!answer.by_api && [400, 409, 422].contains(&status))
        }
        Verdict::Invalid { .. } => status == 400 || status == 422,
        Verdict::Conflict { .. } => status == 409,
        Verdict::TooLarge { .. } => status == 413,
        Verdict::Unauthorized { .. } => status == 401,
        Verdict::Forbidden { .. } => status == 403,
        Verdict::Misconfigured { .. } => {
            status < 500 && ![400, 401, 403, 408, 409, 413, 422, 425, 429].contains(&status)
        }
        Verdict::Unavailable { maybe_taken: false, .. } => [400, 408, 422, 425, 429, 503].contains(&status),
        Verdict::Unavailable { maybe_taken: true, .. } => {
            (200..300).contains(&status) || [400, 422].contains(&status) || (status >= 500 && status != 503)
        }
    };
    assert!(fits, "{status}: {:?}", answer.verdict);
    check_reason(&answer.verdict);
}

/// A reason is logged: a status, our own words, codes and names of permissions, and no more of them than
/// fit a line.
fn check_reason(verdict: &Verdict) {
    if let Verdict::Unauthorized { reason }
    | Verdict::Forbidden { reason }
    | Verdict::Misconfigured { reason }
    | Verdict::Unavailable { reason, .. } = verdict
    {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b" .,:;_-*?'()".contains(&byte);
        assert!(!reason.is_empty() && reason.len() <= 520 && reason.bytes().all(is_plain), "{reason}");
    }
}

/// Events count as taken only where the API says so, and nothing of its words is made up.
fn check_whole(verdict: &Verdict, correlated: bool, status: u16, body: &[u8]) {
    let json: Option<Value> = serde_json::from_slice(body).ok();
    let object = json.as_ref().and_then(Value::as_object);
    match verdict {
        Verdict::Taken { errors } => match object.and_then(|object| object.get("errors")) {
            Some(Value::Array(listed)) => assert_eq!(listed.len(), errors.len()),
            Some(Value::Null) | None => {
                assert!(correlated && errors.is_empty());
                assert!(object.is_some() || body.trim_ascii().is_empty());
            }
            Some(_) => panic!("errors is no array"),
        },
        Verdict::Invalid { code, message, hints } => {
            assert!(hints.len() <= 1_000);
            assert!(hints.iter().chain([code]).map(String::len).sum::<usize>() <= body.len());
            assert!(message.len() <= body.len().max(3));
            assert!(object.is_some() || (code.is_empty() && hints.is_empty()));
        }
        Verdict::Unavailable { maybe_taken, .. } if status == 400 || status == 422 => {
            assert!(*maybe_taken && object.is_some_and(|object| object["code"] == "client.failed.request"));
        }
        _ => {}
    }
}

fn check_login(status: u16, headers: &HeaderMap, body: &[u8]) {
    let failures = u32::try_from(body.len()).unwrap_or(u32::MAX);
    match fuzzing::login(status, headers, body, NOW_MS, failures) {
        Ok((token, life, renewal)) => {
            assert!((200..300).contains(&status));
            HeaderValue::try_from(format!("Bearer {token}")).unwrap();
            assert!(!token.is_empty() && life <= 2 * DAY && renewal <= life);
        }
        Err(refused) => {
            let (answer, pause) = *refused;
            assert!((Duration::from_secs(1)..=DAY).contains(&pause));
            assert!(!matches!(answer.verdict, Verdict::Taken { .. }));
            check_reason(&answer.verdict);
        }
    }
}
