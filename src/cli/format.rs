//! Numbers, sizes and times as people read them. Pure.

pub(super) use crate::admin::{span, thousands};

/// `1 event`, `12,431 events`.
pub(super) fn events(number: u64) -> String {
    crate::admin::count(number, "event")
}

/// `1.2 GiB`.
pub(super) fn bytes(number: u64) -> String {
    bytesize::ByteSize(number).display().iec().to_string()
}

/// `2026-11-24T10:42:07.120Z`.
pub(super) fn time(at_ms: i64) -> String {
    jiff::Timestamp::from_millisecond(at_ms).map_or_else(|_| at_ms.to_string(), |time| format!("{time:.3}"))
}
