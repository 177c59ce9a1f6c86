//! Numbers as people read them. Pure.

/// `12,431`.
pub(super) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `1 event`, `12,431 events`.
pub(super) fn events(number: u64) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} event{plural}", thousands(number))
}

/// `3h 5m`: the two largest units.
pub(super) fn span(seconds: u64) -> String {
    crate::admin::span(seconds)
}

/// `1.2 GiB`.
pub(super) fn bytes(number: u64) -> String {
    bytesize::ByteSize(number).display().iec().to_string()
}

/// `2026-11-24T10:42:07.120Z`.
pub(super) fn time(at_ms: i64) -> String {
    jiff::Timestamp::from_millisecond(at_ms).map_or_else(|_| at_ms.to_string(), |time| format!("{time:.3}"))
}

#[cfg(test)]
mod tests {
    use super::thousands;

    #[test]
    fn thousands_are_grouped_from_the_right() {
        assert_eq!([thousands(7), thousands(1204), thousands(1_234_567)], ["7", "1,204", "1,234,567"]);
    }
}
