//! Lines that containers wrote, wherever they run.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

/// Which lines are wanted.
#[derive(Debug, Clone, Copy, Default)]
pub struct LogOptions {
    /// Stay and hand over new lines.
    pub follow: bool,
    /// The last lines of each container only.
    pub tail: Option<u64>,
    /// Lines since then only.
    pub since: Option<Timestamp>,
}

/// Where a line was written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct LogLine {
    /// The pod.
    pub pod: String,
    /// The container's name in the pod.
    pub container: String,
    /// Where it was written to; nothing: a Kubernetes does not tell the two apart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream: Option<LogStream>,
    /// When (RFC 3339).
    #[schemars(with = "Option<String>")]
    pub time: Option<Timestamp>,
    /// The text, without its newline.
    pub text: String,
}

/// Takes the time off that Docker and Kubernetes put in front of each line.
#[must_use]
pub fn split_time(line: &str) -> (Option<Timestamp>, &str) {
    match line.split_once(' ') {
        Some((time, text)) => match time.parse() {
            Ok(time) => (Some(time), text),
            Err(_) => (None, line),
        },
        None => (line.parse().ok(), if line.parse::<Timestamp>().is_ok() { "" } else { line }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_is_taken_off_the_line() {
        let (time, text) = split_time("2026-11-23T10:00:00.123456789Z hello world");
        assert_eq!((time.unwrap().as_second(), text), (1_795_428_000, "hello world"));
        assert_eq!(split_time("2026-11-23T10:00:00Z").1, "");
        assert_eq!(split_time("no time"), (None, "no time"));
    }
}
