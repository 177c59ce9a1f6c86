//! How the text of a value is read. Pure.

use std::path::Path;
use std::time::Duration;

/// Longest duration taken: ten years, so that adding one to a time never overflows.
const DURATION_MAX: Duration = Duration::from_secs(3_650 * 24 * 3_600);

/// What is said about `1M`, which humantime takes for a month where a minute is meant.
pub(super) const MONTH: &str = "M stands for months; write \"1m\" for a minute, or \"30d\" for a month";

/// Duration in `text`, e.g. `30s`, for keys and for options of commands.
///
/// # Errors
/// What is wrong with it.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    if has_month(text) {
        return Err(MONTH.to_owned());
    }
    humantime::parse_duration(text).map_err(|error| error.to_string())
}

/// Whether a number in `text` has the unit `M`.
pub(super) fn has_month(text: &str) -> bool {
    text.split(|c: char| !c.is_alphabetic()).any(|unit| unit == "M")
}

/// Duration in `text`, or `None` if it is not allowed.
pub(super) fn duration(text: &str, off: bool) -> Option<Duration> {
    if text == "0s" {
        return off.then_some(Duration::ZERO);
    }
    let value = parse_duration(text).ok()?;
    (!value.is_zero() && value <= DURATION_MAX).then_some(value)
}

/// Bytes in `text`; a bare number is not taken.
pub(super) fn size(text: &str, min: u64) -> Option<u64> {
    if !text.ends_with(|last: char| last.is_ascii_alphabetic()) {
        return None;
    }
    let bytes = text.parse::<bytesize::ByteSize>().ok()?.as_u64();
    (bytes >= min && bytes <= i64::MAX as u64).then_some(bytes)
}

/// Part of one in a text such as `5%`.
pub(super) fn percent(text: &str, max: u32) -> Option<f64> {
    let number: f64 = text.strip_suffix('%')?.trim_end().parse().ok()?;
    (number >= 0.0 && number <= f64::from(max)).then_some(number / 100.0)
}

/// Permission bits in a text such as `0660`.
pub(super) fn mode(text: &str) -> Option<u32> {
    let octal = text.len() == 4 && text.starts_with('0') && text.bytes().all(|byte| byte.is_ascii_digit());
    if !octal {
        return None;
    }
    u32::from_str_radix(text, 8).ok()
}

/// A base URL without its trailing slash.
pub(super) fn base_url(text: &str) -> Option<String> {
    let uri: hyper::Uri = text.parse().ok()?;
    let host = uri.host()?.trim_start_matches('[').trim_end_matches(']');
    let loopback = host == "localhost" || host.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback());
    let secure = uri.scheme_str() == Some("https") || (uri.scheme_str() == Some("http") && loopback);
    let plain = uri.query().is_none() && !uri.authority()?.as_str().contains('@');
    (secure && plain && has_good_port(&uri)).then(|| text.trim_end_matches('/').to_owned())
}

/// Whether `text` is a URL of a proxy.
pub(crate) fn is_proxy(text: &str) -> bool {
    text.parse::<hyper::Uri>().is_ok_and(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https")) && has_host(&uri) && has_good_port(&uri)
    })
}

/// `http://:3128` has an authority and no host.
fn has_host(uri: &hyper::Uri) -> bool {
    uri.host().is_some_and(|host| !host.is_empty())
}

/// No port, or one from 1 to 65,535: [`hyper::Uri`] takes any digits.
fn has_good_port(uri: &hyper::Uri) -> bool {
    let Some((authority, host)) = uri.authority().zip(uri.host()) else { return false };
    let address = authority.as_str().rsplit('@').next().unwrap_or_default();
    match address.strip_prefix(host) {
        Some("") => true,
        Some(port) => {
            port.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok_and(|port| port > 0))
        }
        None => false,
    }
}

/// Whether `text` can be the path of a socket file.
pub(super) fn is_socket_text(text: &str) -> bool {
    !text.is_empty() && !text.starts_with('@') && !text.contains('\0') && is_socket_path(Path::new(text))
}

/// Whether a socket file can have this path: `sun_path` holds 108 bytes with the closing zero (unix(7)).
pub fn is_socket_path(path: &Path) -> bool {
    path.as_os_str().len() <= 107
}

/// The path in `unix:/path`; a relative one counts from the configuration file.
pub(super) fn unix_path(text: &str) -> Option<&str> {
    let path = text.strip_prefix("unix:")?;
    is_socket_text(path).then_some(path)
}

/// Whether `text` is an address that only this host reaches.
pub(super) fn is_loopback_listen(text: &str) -> bool {
    unix_path(text).is_some()
        || text.parse().is_ok_and(|address: std::net::SocketAddr| address.ip().is_loopback())
}

/// `text` without white space and byte order marks at its ends.
pub fn trimmed(text: &str) -> &str {
    text.trim_matches(|c: char| c.is_whitespace() || c == '\u{feff}')
}

/// A credential as it is sent: without white space and byte order marks at its ends.
///
/// # Errors
/// What kind of character it has that no credential can have (RFC 6749, A.1 and A.2: `%x20-7E`).
pub fn credential(text: &str) -> Result<&str, &'static str> {
    let trimmed = trimmed(text);
    for c in trimmed.chars() {
        match c {
            ' '..='~' => {}
            '\n' | '\r' => return Err("a line break"),
            '\0' => return Err("a NUL character"),
            c if c.is_control() => return Err("a control character"),
            '\u{feff}' => return Err("a byte order mark"),
            _ => return Err("a character that is not ASCII"),
        }
    }
    Ok(trimmed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_from_1_to_65535() {
        for url in ["https://a", "https://a:1", "https://a:65535/x", "http://[::1]:80", "http://[::1]"] {
            assert!(base_url(url).is_some(), "{url}");
        }
        for url in ["https://a:0", "https://a:65536", "https://a:", "http://[::1]:99999"] {
            assert!(base_url(url).is_none(), "{url}");
        }
        assert!(
            is_proxy("http://u:p@proxy:3128")
                && !is_proxy("http://u:p@proxy:99999")
                && !is_proxy("http://:3128")
        );
    }

    #[test]
    fn a_month_where_a_minute_is_meant_is_refused() {
        assert_eq!(parse_duration("1M").unwrap_err(), MONTH);
        assert_eq!(parse_duration("2h 1M").unwrap_err(), MONTH);
        assert_eq!(parse_duration("1m"), Ok(Duration::from_secs(60)));
        assert_eq!(parse_duration("1min 30s"), Ok(Duration::from_secs(90)));
    }

    #[test]
    fn a_credential_loses_what_surrounds_it_and_nothing_within() {
        assert_eq!(credential("\u{feff} id-1\r\n"), Ok("id-1"));
        assert_eq!(credential("id\n1"), Err("a line break"));
        assert_eq!(credential("i\0d"), Err("a NUL character"));
        assert_eq!(credential("i\u{7}d"), Err("a control character"));
        assert_eq!(credential("ïd"), Err("a character that is not ASCII"));
    }
}
