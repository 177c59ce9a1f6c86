//! Removes the token from responses, in case a proxy echoes requests. Pure.

use super::types::{Answer, Verdict};

/// The answer without the token.
pub(super) fn scrub(answer: &mut Answer, token: &str) {
    let clean = |text: &mut String| {
        if text.contains(token) {
            *text = text.replace(token, "[token]");
        }
    };
    match &mut answer.verdict {
        Verdict::Taken { errors } => errors.iter_mut().for_each(|error| {
            clean(&mut error.message);
            error.event_id.iter_mut().for_each(clean);
        }),
        Verdict::Invalid { code, message, hints } => {
            clean(code);
            clean(message);
            hints.iter_mut().for_each(clean);
        }
        Verdict::Conflict { message } | Verdict::TooLarge { message } => clean(message),
        Verdict::Unauthorized { reason }
        | Verdict::Forbidden { reason }
        | Verdict::Misconfigured { reason }
        | Verdict::Unavailable { reason, .. } => clean(reason),
        Verdict::NotTheApi => {}
    }
    if answer.correlation_id.as_deref().is_some_and(|id| id.contains(token)) {
        answer.correlation_id = None;
    }
}
