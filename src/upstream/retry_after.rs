//! `Retry-After` in the spellings that are found in the wild. Pure.

use std::time::Duration;

use hyper::HeaderMap;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

/// Longest wait that `Retry-After` can ask for. Source: `docs/answers.md`.
const MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// Longest if the API did not write the answer: a gateway's error page must not stop a lane for a day. Source:
/// `docs/answers.md`.
const FOREIGN_MAX: Duration = Duration::from_secs(5 * 60);

/// As much of a wait as is believed.
pub(crate) fn believed(wait: Duration, by_api: bool) -> Duration {
    wait.min(if by_api { MAX } else { FOREIGN_MAX })
}

/// The API rounds `Retry-After` to whole seconds, so an obedient client may be up to this early.
const SLACK: Duration = Duration::from_secs(1);

/// A number from here on is not a wait but a point in time, in seconds since 1970: nobody waits ten years.
const UNIX_TIME_MIN: f64 = 10.0 * 365.0 * 86_400.0;

/// The wait that the headers ask for, from now on; `None` if they ask for none, or in words that nobody can read. The
/// longest where there are several. `now_ms` is our wall clock, for where the answer has no `Date`.
pub(super) fn retry_after(headers: &HeaderMap, date_ms: Option<i64>, now_ms: i64) -> Option<Duration> {
    // The server's own date, where there is one: its clock and ours may differ.
    let now_ms = date_ms.unwrap_or(now_ms);
    let values = headers.get_all("retry-after").iter().filter_map(|value| value.to_str().ok());
    let wait = values.filter_map(|value| wait(value, now_ms)).max()?;
    Some(wait.saturating_add(SLACK).min(MAX))
}

/// A proxy may have joined several into one, as RFC 9110, 5.3 allows.
fn wait(value: &str, now_ms: i64) -> Option<Duration> {
    one_wait(value, now_ms)
        .or_else(|| value.split([',', ';']).filter_map(|part| one_wait(part, now_ms)).max())
}

fn one_wait(value: &str, now_ms: i64) -> Option<Duration> {
    let value = value.trim().trim_matches(['"', '\'']).trim();
    match seconds(value) {
        Some(seconds) if seconds >= UNIX_TIME_MIN => {
            // Some count in thousandths of a second, some in millionths, some in billionths.
            let scale = [1e6, 1e3, 1.0].into_iter().find(|scale| seconds >= UNIX_TIME_MIN * 1e3 * scale);
            let until_ms = scale.map_or(seconds * 1e3, |scale| seconds / scale);
            #[expect(clippy::cast_possible_truncation, reason = "the cast saturates, and the wait is capped")]
            Some(until(until_ms as i64, now_ms))
        }
        Some(seconds) => Duration::try_from_secs_f64(seconds).ok(),
        None => span(value).or_else(|| date(value).map(|until_ms| until(until_ms, now_ms))),
    }
}

/// ISO 8601 (`PT2M`), or hours, minutes and seconds (`00:02:00`).
fn span(value: &str) -> Option<Duration> {
    if value.starts_with(['P', 'p']) {
        return Duration::try_from(value.parse::<SignedDuration>().ok()?).ok();
    }
    let parts: Vec<u64> = value.split(':').map(|part| part.parse().ok()).collect::<Option<_>>()?;
    match parts[..] {
        [hours, minutes @ ..60, seconds @ ..60] if hours < 10_000 => {
            Some(Duration::from_secs((hours * 60 + minutes) * 60 + seconds))
        }
        _ => None,
    }
}

fn until(until_ms: i64, now_ms: i64) -> Duration {
    Duration::from_millis(u64::try_from(until_ms.saturating_sub(now_ms)).unwrap_or(0))
}

/// Digits with a fraction perhaps, and the unit that some add.
fn seconds(value: &str) -> Option<f64> {
    let number = value.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = value[number.len()..].to_ascii_lowercase();
    let unit = match unit.as_str() {
        "" | "s" | "sec" | "secs" | "second" | "seconds" => 1.0,
        "ms" | "msec" | "msecs" | "millisecond" | "milliseconds" => 0.001,
        "m" | "min" | "mins" | "minute" | "minutes" => 60.0,
        "h" | "hr" | "hrs" | "hour" | "hours" => 3_600.0,
        "d" | "day" | "days" => 86_400.0,
        _ => return None,
    };
    let number = number.trim_end();
    let number = number.strip_prefix('+').unwrap_or(number);
    let is_plain = number.starts_with(|c: char| c.is_ascii_digit())
        && number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let number: f64 = if is_plain { number.parse().ok()? } else { return None };
    Some(number * unit)
}

/// The three forms of RFC 9110, 5.6.7, and those of mail and RFC 3339; in UTC if it has no zone.
fn date(value: &str) -> Option<i64> {
    if let Ok(time) = httpdate::parse_http_date(value) {
        return Timestamp::try_from(time).ok().map(Timestamp::as_millisecond);
    }
    let mail = jiff::fmt::rfc2822::parse(value).map(|time| time.timestamp());
    let time = mail.or_else(|_| value.parse::<Timestamp>());
    let time = time.or_else(|_| TimeZone::UTC.to_timestamp(value.parse::<DateTime>()?));
    time.ok().map(Timestamp::as_millisecond)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-24T12:00:00Z.
    const NOW_MS: i64 = 1_795_521_600_000;

    fn of(values: &[&str], date_ms: Option<i64>) -> Option<Duration> {
        let pairs = values.iter().map(|value| ("retry-after".parse().unwrap(), value.parse().unwrap()));
        retry_after(&pairs.collect(), date_ms, NOW_MS)
    }

    #[test]
    fn a_wait_is_read_in_every_spelling_with_a_second_more_and_a_day_at_most() {
        let day = 24.0 * 60.0 * 60.0;
        let rows = [
            ("7", Some(8.0)),
            (" 7 ", Some(8.0)),
            ("0", Some(1.0)),
            ("1.5", Some(2.5)),
            ("7.", Some(8.0)),
            ("+7", Some(8.0)),
            ("\"7\"", Some(8.0)),
            ("7s", Some(8.0)),
            ("7 seconds", Some(8.0)),
            ("1500ms", Some(2.5)),
            ("2 min", Some(121.0)),
            ("30 msec", Some(1.03)),
            ("1 hour", Some(3_601.0)),
            ("2h", Some(7_201.0)),
            ("1d", Some(day)),
            ("PT2M", Some(121.0)),
            ("pt1h30m", Some(5_401.0)),
            ("00:02:00", Some(121.0)),
            ("120, 120", Some(121.0)),
            ("30; 60", Some(61.0)),
            ("120;", Some(121.0)),
            ("soon, 7", Some(8.0)),
            ("86399", Some(day)),
            ("86400", Some(day)),
            ("99999999999999999999999", Some(day)),
            ("1795521630", Some(31.0)),
            ("1795521630000", Some(31.0)),
            ("1795521630000000", Some(31.0)),
            ("1795521630000000000", Some(31.0)),
            ("1795521000", Some(1.0)),
            ("Tue, 24 Nov 2026 12:00:30 GMT", Some(31.0)),
            ("Tuesday, 24-Nov-26 12:00:30 GMT", Some(31.0)),
            ("Tue Nov 24 12:00:30 2026", Some(31.0)),
            ("Tue, 24 Nov 2026 13:00:30 +0100", Some(31.0)),
            ("2026-11-24T12:00:30Z", Some(31.0)),
            ("2026-11-24 12:00:30", Some(31.0)),
            ("2026-11-24T12:00:30", Some(31.0)),
            ("2026-11-24T13:00:30.000+01:00", Some(31.0)),
            ("Tue, 24 Nov 2026 11:00:00 GMT", Some(1.0)),
            ("Tue, 24 Nov 2099 12:00:00 GMT", Some(day)),
            ("-3", None),
            ("1e3", None),
            ("1.2.3", None),
            ("soon", None),
            ("", None),
            ("7 fortnights", None),
        ];

        for (value, seconds) in rows {
            assert_eq!(of(&[value], None), seconds.map(Duration::from_secs_f64), "{value}");
        }
    }

    #[test]
    fn the_longest_of_several_counts_and_none_is_none() {
        assert_eq!(of(&["3", "soon", "7"], None), Some(Duration::from_secs(8)));
        assert_eq!(of(&[], None), None);
    }

    #[test]
    fn a_date_counts_from_the_servers_own_clock() {
        let date_ms = Some(NOW_MS + 3_600_000);

        assert_eq!(of(&["Tue, 24 Nov 2026 13:00:30 GMT"], date_ms), Some(Duration::from_secs(31)));
    }
}
