//! Reads an event's time and brings its spelling to the API's: `yyyy-MM-ddTHH:mm:ss[.mmm]Z`.

use jiff::{SignedDuration, civil};

/// 0000-01-01T00:00:00Z and 9999-12-31T23:59:59.999Z: other years have no four digits.
const EARLIEST_MS: i64 = -62_167_219_200_000;
const LATEST_MS: i64 = 253_402_300_799_999;

/// Times are counted from here in civil time: jiff's `Timestamp` ends some hours before the year 9999 does.
const EPOCH: civil::DateTime = civil::DateTime::constant(1970, 1, 1, 0, 0, 0, 0);

/// A time that was understood.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Read {
    /// Milliseconds since 1970, cut off, not rounded.
    pub(super) ms: i64,
    /// The API's spelling, if the text was another.
    pub(super) spelling: Option<String>,
}

/// Why a time was not understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TimeFault {
    /// A date and time without a zone.
    NoZone,
    /// No RFC 3339, or no such day or time.
    Malformed,
    /// An offset of a day or more.
    OffsetTooLarge,
    /// A second 60 where no leap second can be.
    NoLeapSecond,
    /// In UTC it is before the year 0 or after 9999.
    OutOfRange,
}

/// Reads RFC 3339 with up to nine fraction digits and a zone.
pub(super) fn read(text: &str) -> Result<Read, TimeFault> {
    if let Some(ms) = read_canonical(text.as_bytes()) {
        return Ok(Read { ms, spelling: None });
    }
    let written = DateParts::of(text.as_bytes())?;
    let ms = written.ms().ok_or(TimeFault::Malformed)?;
    if written.offset_minutes.abs() >= 24 * 60 {
        return Err(TimeFault::OffsetTooLarge);
    }
    let minutes = ms.div_euclid(60_000);
    if written.second == 60 && minutes.rem_euclid(60) != 59 {
        return Err(TimeFault::NoLeapSecond);
    }
    if !(EARLIEST_MS..=LATEST_MS).contains(&ms) {
        return Err(TimeFault::OutOfRange);
    }
    Ok(Read { ms, spelling: Some(spell(ms)) })
}

/// The API's spelling of `ms`, with milliseconds.
pub(super) fn spell(ms: i64) -> String {
    let time = EPOCH.saturating_add(SignedDuration::from_millis(ms.clamp(EARLIEST_MS, LATEST_MS)));
    time.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}

/// The usual spelling, read without jiff's parser: every event passes here.
fn read_canonical(text: &[u8]) -> Option<i64> {
    let ms = match text {
        [_, .., b'Z'] if text.len() == 20 => 0,
        [_, .., b'Z'] if text.len() == 24 && text[19] == b'.' => digits(&text[20..23])?,
        _ => return None,
    };
    let marks = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
    if marks.iter().any(|&(at, mark)| text[at] != mark) {
        return None;
    }
    let two = |at: usize| i8::try_from(digits(&text[at..at + 2])?).ok();
    let year = digits(&text[..4])?;
    let time = civil::DateTime::new(year, two(5)?, two(8)?, two(11)?, two(14)?, two(17)?, 0).ok()?;
    Some(time.duration_since(EPOCH).as_secs() * 1_000 + i64::from(ms))
}

/// The number in at most four digits.
fn digits(text: &[u8]) -> Option<i16> {
    text.iter().try_fold(0, |sum, byte| byte.is_ascii_digit().then(|| sum * 10 + i16::from(byte - b'0')))
}

/// What stands in a text that has RFC 3339's shape.
struct DateParts {
    year: i16,
    month: i8,
    day: i8,
    hour: i8,
    minute: i8,
    /// Up to 60.
    second: i8,
    /// Of the second, cut off.
    ms: i64,
    offset_minutes: i64,
}

impl DateParts {
    fn of(text: &[u8]) -> Result<Self, TimeFault> {
        let is_date = text.len() >= 19
            && text[..19].iter().enumerate().all(|(at, byte)| match at {
                4 | 7 => *byte == b'-',
                10 => matches!(byte, b'T' | b't' | b' '),
                13 | 16 => *byte == b':',
                _ => byte.is_ascii_digit(),
            });
        if !is_date {
            return Err(TimeFault::Malformed);
        }
        let mut zone = &text[19..];
        let mut ms = 0;
        if let [b'.', fraction @ ..] = zone {
            let length = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
            if !(1..=9).contains(&length) {
                return Err(TimeFault::Malformed);
            }
            ms = (0..3)
                .fold(0, |ms, at| ms * 10 + if at < length { i64::from(fraction[at] - b'0') } else { 0 });
            zone = &fraction[length..];
        }
        let two = |at: usize| two_digits(text[at], text[at + 1]).ok_or(TimeFault::Malformed);
        Ok(Self {
            year: digits(&text[..4]).ok_or(TimeFault::Malformed)?,
            month: two(5)?,
            day: two(8)?,
            hour: two(11)?,
            minute: two(14)?,
            second: two(17)?,
            ms,
            offset_minutes: offset(zone)?,
        })
    }

    /// Milliseconds since 1970 in UTC; `None` if there is no such day or time. A leap second counts as the one
    /// before it: UTC's own count has no place for it.
    fn ms(&self) -> Option<i64> {
        let second = if self.second == 60 { 59 } else { self.second };
        let local =
            civil::DateTime::new(self.year, self.month, self.day, self.hour, self.minute, second, 0).ok()?;
        let seconds = local.duration_since(EPOCH).as_secs() - self.offset_minutes * 60;
        Some(seconds * 1_000 + self.ms)
    }
}

/// Minutes that the local time is ahead of UTC.
fn offset(zone: &[u8]) -> Result<i64, TimeFault> {
    let (sign, hours, minutes) = match zone {
        [] => return Err(TimeFault::NoZone),
        [b'Z' | b'z'] => return Ok(0),
        [b'+', h1, h2, b':', m1, m2] => (1, two_digits(*h1, *h2), two_digits(*m1, *m2)),
        [b'-', h1, h2, b':', m1, m2] => (-1, two_digits(*h1, *h2), two_digits(*m1, *m2)),
        _ => return Err(TimeFault::Malformed),
    };
    let (Some(hours), Some(minutes @ 0..=59)) = (hours, minutes) else { return Err(TimeFault::Malformed) };
    Ok(sign * (i64::from(hours) * 60 + i64::from(minutes)))
}

fn two_digits(tens: u8, ones: u8) -> Option<i8> {
    i8::try_from(digits(&[tens, ones])?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fast_path_agrees_with_jiff_on_every_day_of_eight_centuries() {
        for day in (-146_097..146_097).step_by(13) {
            let ms = day * 86_400_000 + 45_296_789;

            let read = read(&spell(ms)).unwrap();

            assert_eq!(read, Read { ms, spelling: None });
        }
    }

    #[test]
    fn other_spellings_are_brought_to_the_apis_and_cut_to_milliseconds() {
        let cases = [
            ("2026-07-01T12:00:00.1234567Z", "2026-07-01T12:00:00.123Z"),
            ("2026-07-01T12:00:00.1Z", "2026-07-01T12:00:00.100Z"),
            ("2026-07-01T12:00:00+02:00", "2026-07-01T10:00:00.000Z"),
            ("2026-07-01t12:00:00z", "2026-07-01T12:00:00.000Z"),
            ("1969-12-31T23:59:59.9999Z", "1969-12-31T23:59:59.999Z"),
            ("2026-07-01T12:00:00-23:59", "2026-07-02T11:59:00.000Z"),
            ("2026-07-01T12:00:00-00:00", "2026-07-01T12:00:00.000Z"),
        ];
        for (text, spelling) in cases {
            assert_eq!(read(text).unwrap().spelling.as_deref(), Some(spelling), "{text}");
        }
    }

    #[test]
    fn a_time_without_zone_is_told_from_a_malformed_one() {
        assert_eq!(read("2026-07-01T12:00:00.5"), Err(TimeFault::NoZone));
        for text in
            ["2026-02-30T12:00:00Z", "2026-07-01", "2026-07-01T12:00Z", "2026-07-01T12:00:00.Z", "", "é"]
        {
            assert_eq!(read(text), Err(TimeFault::Malformed), "{text}");
        }
    }

    #[test]
    fn the_ends_of_the_calendar_are_themselves_or_refused_and_never_another_time() {
        let ends = [
            ("9999-12-30T22:00:00.9999999Z", "9999-12-30T22:00:00.999Z"),
            ("9999-12-31T23:59:59.9999999Z", "9999-12-31T23:59:59.999Z"),
            ("9999-12-31T22:59:59.5-01:00", "9999-12-31T23:59:59.500Z"),
            ("0000-01-01T00:00:00.0000001Z", "0000-01-01T00:00:00.000Z"),
            ("0000-01-01T01:00:00+01:00", "0000-01-01T00:00:00.000Z"),
        ];
        for (text, spelling) in ends {
            assert_eq!(read(text).unwrap().spelling.as_deref(), Some(spelling), "{text}");
        }
        for text in ["9999-12-31T23:59:59-00:01", "0000-01-01T00:00:00+00:01", "0000-01-01T00:00:00.5+23:59"]
        {
            assert_eq!(read(text), Err(TimeFault::OutOfRange), "{text}");
        }
    }

    #[test]
    fn offsets_of_a_day_and_more_are_refused() {
        for text in ["2026-11-30T12:00:00+24:00", "2026-11-30T12:00:00+25:59", "2026-11-30T12:00:00-99:00"] {
            assert_eq!(read(text), Err(TimeFault::OffsetTooLarge), "{text}");
        }
        assert_eq!(read("2026-11-30T12:00:00+23:60"), Err(TimeFault::Malformed));
    }

    #[test]
    fn a_second_60_is_taken_only_at_the_end_of_an_hour_of_utc() {
        for text in ["2026-06-30T23:59:60Z", "2026-07-01T01:59:60+02:00", "2026-07-01T05:29:60+05:30"] {
            let spelling = read(text).unwrap().spelling;
            assert_eq!(spelling.as_deref(), Some("2026-06-30T23:59:59.000Z"), "{text}");
        }
        for text in ["2026-11-30T12:00:60Z", "2026-06-30T23:59:60+05:30"] {
            assert_eq!(read(text), Err(TimeFault::NoLeapSecond), "{text}");
        }
        assert_eq!(read("2026-06-30T23:59:61Z"), Err(TimeFault::Malformed));
    }
}
