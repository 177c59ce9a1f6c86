//! The answers table row by row, and the login host's answers.

use std::time::Duration;

use hyper::HeaderMap;
use hyper::header::{HeaderName, HeaderValue};
use secrecy::ExposeSecret;

use super::fault;
use super::grant::{self, LoginFault, LoginFaultKind};
use super::response::{self, Body};
use super::{EventError, RateWindow, Verdict};

/// 2026-11-24T12:00:00Z.
const NOW_MS: i64 = 1_795_521_600_000;

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    let pairs = pairs.iter().map(|(name, value)| {
        (HeaderName::from_static(name), HeaderValue::from_str(value).expect("test values are plain"))
    });
    pairs.collect()
}

fn verdict(status: u16, correlated: bool, body: &str) -> Verdict {
    let headers = if correlated { headers(&[("inin-correlation-id", "c-1")]) } else { HeaderMap::new() };
    response::answer(status, &headers, Body::Whole(body.as_bytes()), NOW_MS).verdict
}

fn taken(errors: &[(Option<&str>, &str, bool)]) -> Verdict {
    let errors = errors.iter().map(|(id, message, retryable)| EventError {
        event_id: id.map(str::to_owned),
        message: (*message).to_owned(),
        retryable: *retryable,
    });
    Verdict::Taken { errors: errors.collect() }
}

fn invalid(code: &str, message: &str, hints: &[&str]) -> Verdict {
    Verdict::Invalid {
        code: code.into(),
        message: message.into(),
        hints: hints.iter().map(|hint| (*hint).to_owned()).collect(),
    }
}

fn unavailable(reason: &str, maybe_taken: bool) -> Verdict {
    Verdict::Unavailable { reason: reason.into(), maybe_taken }
}

fn misconfigured(reason: &str) -> Verdict {
    Verdict::Misconfigured { reason: reason.into() }
}

#[test]
fn a_success_counts_only_in_the_shape_of_the_api() {
    let page = "<html><body>Please log in</body></html>";
    let rows = [
        (200, false, r#"{"errors":[]}"#, taken(&[])),
        (202, false, r#"{"errors":[],"more":1}"#, taken(&[])),
        (200, true, r"{}", taken(&[])),
        (200, true, r#"{"errors":null}"#, taken(&[])),
        (200, true, "", taken(&[])),
        (204, true, " \n", taken(&[])),
        (200, false, r"{}", Verdict::NotTheApi),
        (200, false, r#"{"errors":null}"#, Verdict::NotTheApi),
        (200, false, "", Verdict::NotTheApi),
        (204, false, "", Verdict::NotTheApi),
        (200, false, page, Verdict::NotTheApi),
        (200, true, page, Verdict::NotTheApi),
        (200, true, "[]", Verdict::NotTheApi),
        (200, true, "null", Verdict::NotTheApi),
        (200, true, r#"{"errors":"none"}"#, Verdict::NotTheApi),
        (200, true, r#"{"errors":[]"#, Verdict::NotTheApi),
    ];

    for (status, correlated, body, expected) in rows {
        assert_eq!(verdict(status, correlated, body), expected, "{status} {correlated} {body}");
    }
}

#[test]
fn the_events_that_were_not_taken_are_read_with_all_their_gaps() {
    let body = r#"{"errors":[
        {"eventId":"a","message":"later","retryable":true},
        {"eventId":"b","message":"no","retryable":false},
        {"eventId":"c","message":"unsaid"},
        {"eventId":null,"message":"whose"},
        {"message":"odd","retryable":"true"},
        "bare", 7]}"#;

    let found = verdict(200, false, body);

    let expected = taken(&[
        (Some("a"), "later", true),
        (Some("b"), "no", false),
        (Some("c"), "unsaid", false),
        (None, "whose", false),
        (None, "odd", false),
        (None, "bare", false),
        (None, "", false),
    ]);
    assert_eq!(found, expected);
}

#[test]
fn a_wrong_request_is_told_with_everything_that_may_name_a_suspect() {
    let full = r#"{"message":"bad","code":"constraint.validation","status":400,
        "details":[{"errorCode":"x","fieldName":"agentCalledEvents[3].ani"}],
        "errors":[{"message":"inner","details":[{"entityId":"e-1"}]}]}"#;
    let hints = ["x", "agentCalledEvents[3].ani", "e-1", "inner"];
    let rows = [
        (400, full, invalid("constraint.validation", "bad", &hints)),
        (422, full, invalid("constraint.validation", "bad", &hints)),
        (
            400,
            r#"{"code":"zero.events.submitted"}"#,
            invalid("zero.events.submitted", "zero.events.submitted", &[]),
        ),
        (400, "<html>", invalid("", "400", &[])),
        (422, "", invalid("", "422", &[])),
        (400, r#"{"code":"client.failed.request"}"#, unavailable("400 client.failed.request", true)),
        (422, r#"{"code":"client.failed.request"}"#, unavailable("422 client.failed.request", true)),
    ];

    for (status, body, expected) in rows {
        let found = match verdict(status, true, body) {
            Verdict::Invalid { code, message, mut hints } => {
                hints.sort_by_key(|hint| {
                    ["x", "agentCalledEvents[3].ani", "e-1", "inner"].iter().position(|h| h == hint)
                });
                Verdict::Invalid { code, message, hints }
            }
            other => other,
        };
        assert_eq!(found, expected, "{status} {body}");
    }
}

#[test]
fn every_other_status_has_its_row() {
    let conflict = r#"{"message":"busy","code":"conflict"}"#;
    let large = r#"{"message":"too big","code":"request.entity.too.large"}"#;
    let rows = [
        (409, conflict, Verdict::Conflict { message: "busy".into() }),
        (413, large, Verdict::TooLarge { message: "too big".into() }),
        (413, "", Verdict::TooLarge { message: "413".into() }),
        (401, r#"{"code":"bad.credentials"}"#, Verdict::Unauthorized { reason: "bad.credentials".into() }),
        (401, "<html>", Verdict::Unauthorized { reason: "401".into() }),
        (301, "", misconfigured("301, a redirect")),
        (304, "", misconfigured("304, a redirect")),
        (404, r#"{"code":"not.found"}"#, misconfigured("404 not.found")),
        (405, "", misconfigured("405")),
        (415, "", misconfigured("415")),
        (407, "", misconfigured("407")),
        (418, "", misconfigured("418")),
        (408, "", unavailable("408", false)),
        (429, r#"{"code":"too.many.requests"}"#, unavailable("429 too.many.requests", false)),
        (500, "<html>", unavailable("500", true)),
        (502, "", unavailable("502", true)),
        (503, r#"{"code":"service.unavailable"}"#, unavailable("503 service.unavailable", false)),
        (504, "", unavailable("504", true)),
        (599, "", unavailable("599", true)),
    ];

    for (status, body, expected) in rows {
        assert_eq!(verdict(status, true, body), expected, "{status} {body}");
    }
}

#[test]
fn a_refusal_names_the_missing_permission_else_the_code_and_never_the_message() {
    let rows = [
        (
            r#"{"message":"Missing the following permission(s): [conversation:conversation:inject]","code":"missing.permissions"}"#,
            "missing permission conversation:conversation:inject",
        ),
        (
            r#"{"message":"one of presence:userPresence:inject, a:b:*. At 12:30:45","code":"x"}"#,
            "missing permission presence:userPresence:inject, a:b:*",
        ),
        (r#"{"message":"Ms Miller may not, +49:30:1","code":"not.authorized"}"#, "not.authorized"),
        (r#"{"message":"Ms Miller may not","code":"a text about Ms Miller"}"#, "403"),
        ("<html>", "403"),
    ];

    for (body, reason) in rows {
        assert_eq!(verdict(403, true, body), Verdict::Forbidden { reason: reason.into() }, "{body}");
    }
}

#[test]
fn an_answer_that_broke_off_or_has_no_end_delivers_nothing() {
    let of = |status, body| response::answer(status, &HeaderMap::new(), body, NOW_MS).verdict;

    assert_eq!(
        of(200, Body::Broken("connection reset")),
        unavailable("200, its body broke off: connection reset", true)
    );
    assert_eq!(of(400, Body::Broken("x")), unavailable("400, its body broke off: x", false));
    assert_eq!(of(403, Body::Broken("x")), Verdict::Forbidden { reason: "403".into() });
    assert_eq!(of(200, Body::TooLong), Verdict::NotTheApi);
    assert_eq!(of(503, Body::TooLong), unavailable("503", false));
}

#[test]
fn the_rate_window_and_the_correlation_id_come_from_the_headers() {
    let mut found = headers(&[
        ("inin-ratelimit-count", "12"),
        ("inin-ratelimit-allowed", "300"),
        ("inin-ratelimit-reset", "41"),
        ("inin-correlation-id", "c-9"),
    ]);

    let answer = response::answer(429, &found, Body::Whole(b""), NOW_MS);
    found.remove("inin-ratelimit-reset");
    let without = response::answer(429, &found, Body::Whole(b""), NOW_MS);

    let window = RateWindow { count: 12, allowed: 300, reset: Duration::from_secs(41) };
    assert_eq!(answer.rate, Some(window));
    assert_eq!(answer.correlation_id.as_deref(), Some("c-9"));
    assert_eq!(answer.status, Some(429));
    assert_eq!(without.rate, None);
}

#[test]
fn each_answer_of_the_login_host_has_its_meaning() {
    let limited = r#"{"error":"invalid_request","error_description":"Rate limit exceeded the maximum"}"#;
    let rows = [
        (
            400,
            r#"{"error":"invalid_client"}"#,
            LoginFaultKind::Refused,
            "login refused: invalid_client (client id id-1)",
        ),
        (401, "", LoginFaultKind::Refused, "login refused: 401 (client id id-1)"),
        (400, r#"{"error":"s3cret"}"#, LoginFaultKind::Refused, "login refused: 400 (client id id-1)"),
        (
            400,
            r#"{"error":"invalid_request"}"#,
            LoginFaultKind::Refused,
            "login refused: invalid_request (client id id-1)",
        ),
        (400, limited, LoginFaultKind::Unavailable, "login host's rate limit exceeded"),
        (429, "", LoginFaultKind::Unavailable, "login host's rate limit exceeded"),
        (503, "", LoginFaultKind::Unavailable, "login host answers 503"),
        (
            200,
            "<html>",
            LoginFaultKind::Unavailable,
            "login host's answer has no token; was it a proxy's page?",
        ),
        (
            200,
            r#"{"access_token":"a b"}"#,
            LoginFaultKind::Unavailable,
            "login host's answer has no token; was it a proxy's page?",
        ),
        (
            302,
            "",
            LoginFaultKind::Misconfigured,
            "login host answers 302; check upstream.region or login_url",
        ),
        (
            404,
            "",
            LoginFaultKind::Misconfigured,
            "login host answers 404; check upstream.region or login_url",
        ),
    ];

    for (status, body, kind, reason) in rows {
        let found = grant::grant(status, &HeaderMap::new(), body.as_bytes(), NOW_MS, "id-1");

        assert_eq!(found.expect_err("a fault"), LoginFault::new(kind, reason), "{status} {body}");
    }
}

#[test]
fn a_grant_has_its_token_and_a_bounded_life() {
    let rows = [
        (r#"{"access_token":"t","expires_in":86400}"#, 86_400),
        (r#"{"access_token":"t"}"#, 300),
        (r#"{"access_token":"t","expires_in":0}"#, 300),
        (r#"{"access_token":"t","expires_in":-1}"#, 300),
        (r#"{"access_token":"t","expires_in":null}"#, 300),
        (r#"{"access_token":"t","expires_in":"soon"}"#, 300),
        (r#"{"access_token":"t","expires_in":"3600"}"#, 3600),
        (r#"{"access_token":"t","expires_in":3600.0}"#, 3600),
        (r#"{"access_token":"t","expires_in":1}"#, 10),
        (r#"{"access_token":"t","expires_in":9999999999}"#, 172_800),
    ];

    for (body, seconds) in rows {
        let found = grant::grant(200, &HeaderMap::new(), body.as_bytes(), NOW_MS, "id").expect("a grant");

        assert_eq!(found.token.expose_secret(), "t");
        assert_eq!(found.life, Some(Duration::from_secs(seconds)));
    }
}

#[test]
fn a_token_is_renewed_ahead() {
    for (life, age) in [(86_400, 77_760), (300, 240), (600, 540), (100, 50), (20, 10)] {
        assert_eq!(grant::renewal_age(Duration::from_secs(life)), Duration::from_secs(age), "{life}");
    }
}

#[test]
fn pauses_between_refused_logins_grow_to_a_minute() {
    let refused = LoginFault::new(LoginFaultKind::Refused, "x");
    let unreachable = LoginFault::new(LoginFaultKind::Unavailable, "x");
    let told = LoginFault { retry_after: Some(Duration::from_secs(90)), ..unreachable.clone() };

    let proxy = LoginFault::new(
        LoginFaultKind::Unavailable,
        format!("login host not reachable: {}", fault::PROXY_LOGIN),
    );

    let limited = LoginFault::new(LoginFaultKind::Unavailable, grant::RATE_LIMIT);

    for refused in [refused, proxy, limited] {
        let pauses: Vec<_> = (1..=9).map(|failures| refused.pause(failures).as_secs()).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
    }
    assert_eq!(unreachable.pause(9).as_secs(), 1);
    assert_eq!(told.pause(1).as_secs(), 90);
    let a_day = LoginFault { retry_after: Some(Duration::from_secs(86_400)), ..unreachable.clone() };
    let by_api = LoginFault { by_api: true, ..a_day.clone() };
    assert_eq!((a_day.pause(1).as_secs(), by_api.pause(1).as_secs()), (300, 86_400));
}

#[test]
fn a_400_that_the_api_did_not_write_condemns_nothing() {
    let headers = HeaderMap::new();

    let foreign = [
        "<html>Bad Request</html>",
        "",
        r#"{"message":"Bad Request"}"#,
        r#"{"code":"x","message":"y"}"#,
        r#"{"code":"x.y","message":"y","status":500}"#,
    ];
    let ours = r#"{"message":"no","code":"bad.request","status":400}"#;

    let of = |status, body: &str| response::answer(status, &headers, Body::Whole(body.as_bytes()), 0);

    for body in foreign {
        for status in [400, 409, 422] {
            let found = of(status, body);
            assert_eq!((found.verdict, found.by_api), (Verdict::NotTheApi, false), "{status} {body}");
        }
        assert!(!of(413, body).by_api && !of(429, body).by_api, "{body}");
    }
    let marked = format!("\u{feff}{ours}");
    assert!(of(400, &marked).by_api, "a byte order mark before it");
    let found = of(400, ours);
    assert!(matches!(found.verdict, Verdict::Invalid { .. }) && found.by_api, "{found:?}");
}
