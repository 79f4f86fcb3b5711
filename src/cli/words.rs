//! How times, durations and states are said.

use crate::model::{AppState, Time};

/// "12 s", "5 min", "3 h", "9 days".
pub(super) fn span(seconds: i64) -> String {
    match seconds.max(0) {
        s @ 0..90 => format!("{s} s"),
        s @ 90..5_400 => format!("{} min", (s + 30) / 60),
        s @ 5_400..129_600 => format!("{} h", (s + 1_800) / 3_600),
        s => format!("{} days", (s + 43_200) / 86_400),
    }
}

/// "12 s ago".
pub(super) fn ago(now: Time, then: Time) -> String {
    format!("{} ago", span((now - then).num_seconds()))
}

/// "80 ms", "2.1 s", "3 min".
pub(super) fn took(millis: u64) -> String {
    match millis {
        0..1_000 => format!("{millis} ms"),
        1_000..90_000 => format!("{}.{} s", millis / 1_000, millis % 1_000 / 100),
        _ => span(i64::try_from(millis / 1_000).unwrap_or(i64::MAX)),
    }
}

/// "120 kB", "12.3 MB", "1.2 GB", in powers of 1000 as Docker says them.
pub(super) fn bytes(count: u64) -> String {
    let tenths = |unit: u64| format!("{}.{}", count / unit, count % unit / (unit / 10));
    match count {
        0..1_000_000 => format!("{} kB", count.div_ceil(1_000)),
        1_000_000..1_000_000_000 => format!("{} MB", tenths(1_000_000)),
        _ => format!("{} GB", tenths(1_000_000_000)),
    }
}

/// An app's state as a person says it.
pub(super) fn state(state: AppState) -> &'static str {
    match state {
        AppState::Starting => "starting",
        AppState::UpToDate => "up to date",
        AppState::Deploying => "deploying",
        AppState::Held => "held back",
        AppState::Unknown => "not known",
        AppState::Down => "down",
    }
}

/// "tag_moved" as "tag moved".
pub(super) fn plain(label: &str) -> String {
    label.replace('_', " ")
}
