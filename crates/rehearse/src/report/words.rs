//! Figures as people read them.

use std::time::Duration;

use serde::Serialize;

use crate::Time;

/// `12.3 s`, `4 min 10 s`.
pub(super) fn seconds(duration: Duration) -> String {
    match duration.as_secs() {
        0..60 => format!("{:.1} s", duration.as_secs_f64()),
        whole => format!("{} min {} s", whole / 60, whole % 60),
    }
}

/// `0.8 ms`, `23 ms`, `1.40 s`.
pub(super) fn latency(duration: Duration) -> String {
    let milliseconds = duration.as_secs_f64() * 1e3;
    match milliseconds {
        ms if ms < 10.0 => format!("{ms:.1} ms"),
        ms if ms < 1000.0 => format!("{ms:.0} ms"),
        ms => format!("{:.2} s", ms / 1e3),
    }
}

/// A moment after the beginning: `1:05`.
pub(super) fn clock(at: Time) -> String {
    let seconds = at.0 / 1_000_000;
    format!("{}:{:02}", seconds / 60, seconds % 60)
}

/// `12,345`.
pub(super) fn number(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.char_indices() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// What the plan and the schemas call something: `noFailedRequest`.
pub(super) fn word(value: impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_rounded_to_what_can_be_read() {
        assert_eq!(seconds(Duration::from_millis(12_340)), "12.3 s");
        assert_eq!(seconds(Duration::from_secs(250)), "4 min 10 s");
        assert_eq!(latency(Duration::from_micros(840)), "0.8 ms");
        assert_eq!(latency(Duration::from_micros(23_400)), "23 ms");
        assert_eq!(latency(Duration::from_millis(1400)), "1.40 s");
        assert_eq!(clock(Time(65_900_000)), "1:05");
        assert_eq!([0, 999, 1000, 1_234_567].map(number), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!(word(envctl_model::cutover::GateKind::LatencySLO), "latencySLO");
    }
}
