//! Tables and times in words.

use comfy_table::{Table, presets};
use jiff::{SignedDuration, Timestamp};

/// A table without lines, for people; programs get `--json`.
pub(crate) fn table(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header.iter().copied());
    for row in rows {
        table.add_row(row);
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.to_string().lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}

/// A span of time in its largest unit: `3 h`, `2 days`.
pub(crate) fn ago(from: Timestamp, to: Timestamp) -> String {
    let span: SignedDuration = to.duration_since(from).abs();
    match span.as_secs() {
        s if s < 120 => format!("{s} s"),
        s if s < 2 * 3600 => format!("{} min", (s + 30) / 60),
        s if s < 49 * 3600 => format!("{} h", (s + 1800) / 3600),
        s => format!("{} days", s / 86400),
    }
}

/// When something expires, seen from now: `in 3 h`, `5 min ago`, `never`.
pub(crate) fn expiry(at: Option<Timestamp>, now: Timestamp) -> String {
    match at {
        None => "never".to_owned(),
        Some(at) if at <= now => format!("{} ago", ago(at, now)),
        Some(at) => format!("in {}", ago(now, at)),
    }
}
