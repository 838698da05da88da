//! Spans of time in words.

use jiff::SignedDuration;

/// `4 min`, `40 s`; what has passed is `0 s`.
pub(crate) fn minutes(span: SignedDuration) -> String {
    match span.as_secs().max(0) {
        seconds if seconds < 120 => format!("{seconds} s"),
        seconds => format!("{} min", seconds / 60),
    }
}
