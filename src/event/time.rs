//! Reads an event's time and brings its spelling to the API's: `yyyy-MM-ddTHH:mm:ss[.mmm]Z`.

use jiff::{Timestamp, civil};

/// 0000-01-01T00:00:00Z: earlier years have no four digits.
const EARLIEST_MS: i64 = -62_167_219_200_000;

/// Civil time reaches further than [`Timestamp`], which ends some hours before the year 9999 does.
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
}

/// Reads RFC 3339 with up to nine fraction digits and a zone.
pub(super) fn read(text: &str) -> Result<Read, TimeFault> {
    if let Some(ms) = read_canonical(text.as_bytes()) {
        return Ok(Read { ms, spelling: None });
    }
    check_shape(text.as_bytes())?;
    let time: Timestamp = text.parse().map_err(|_| TimeFault::Malformed)?;
    let ms = i64::try_from(time.as_nanosecond().div_euclid(1_000_000)).map_err(|_| TimeFault::Malformed)?;
    if ms < EARLIEST_MS {
        return Err(TimeFault::Malformed);
    }
    Ok(Read { ms, spelling: Some(spell(ms)) })
}

/// The API's spelling of `ms`, with milliseconds.
pub(super) fn spell(ms: i64) -> String {
    let time = Timestamp::from_millisecond(ms).unwrap_or(Timestamp::UNIX_EPOCH);
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

/// RFC 3339 is narrower than what `jiff` takes: no named zones, no missing seconds.
fn check_shape(text: &[u8]) -> Result<(), TimeFault> {
    let is_date = text.len() >= 19
        && text.is_ascii()
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
    if let [b'.', fraction @ ..] = zone {
        let length = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if !(1..=9).contains(&length) {
            return Err(TimeFault::Malformed);
        }
        zone = &fraction[length..];
    }
    match zone {
        [] => Err(TimeFault::NoZone),
        [b'Z' | b'z'] => Ok(()),
        [b'+' | b'-', h1, h2, b':', m1, m2] if [h1, h2, m1, m2].iter().all(|b| b.is_ascii_digit()) => Ok(()),
        _ => Err(TimeFault::Malformed),
    }
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
}
