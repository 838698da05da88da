//! One JSON object per line on standard output, which is what log collectors want.

use crate::clock;
use std::io::Write;
use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

/// Something worth knowing happened.
pub fn info(message: &str, fields: &[(&str, &str)]) {
    print("info", message, fields);
}

/// Something went wrong, and the program goes on.
pub fn warn(message: &str, fields: &[(&str, &str)]) {
    print("warn", message, fields);
}

/// Something went wrong, and the job, the request or the program ends.
pub fn error(message: &str, fields: &[(&str, &str)]) {
    print("error", message, fields);
}

/// Which of several that do the same this one is: the pod's name, or the host's.
pub fn instance() -> &'static str {
    static INSTANCE: OnceLock<String> = OnceLock::new();
    INSTANCE.get_or_init(|| {
        let given = std::env::var("HOSTNAME").ok().filter(|name| !name.is_empty());
        let host = || std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
        given.or_else(host).map_or_else(|| "album".to_owned(), |name| name.trim().to_owned())
    })
}

/// About when this process began, in nanoseconds.
pub fn started() -> u128 {
    static STARTED: OnceLock<u128> = OnceLock::new();
    *STARTED.get_or_init(|| SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos())
}

fn print(level: &str, message: &str, fields: &[(&str, &str)]) {
    // A reader that went away must not take the program with it.
    let _ = writeln!(std::io::stdout(), "{}", line(SystemTime::now(), level, message, fields));
}

/// Written field by field: people read logs too, and look for the time first.
fn line(now: SystemTime, level: &str, message: &str, fields: &[(&str, &str)]) -> String {
    let time = clock::iso(now);
    let fixed = [("time", time.as_str()), ("level", level), ("message", message)];
    let pairs = fixed.iter().chain(fields).map(|(name, value)| {
        let quoted = |text: &str| serde_json::Value::from(text).to_string();
        format!("{}:{}", quoted(name), quoted(value))
    });
    format!("{{{}}}", pairs.collect::<Vec<_>>().join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_an_object() {
        let line = line(SystemTime::UNIX_EPOCH, "info", "said \"no\"", &[("host", "a\nb")]);
        let start = r#"{"time":"1970-01-01T00:00:00.000Z","level":"info","message":"said \"no\"""#;
        assert!(line.starts_with(start), "{line}");
        let object: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(object["host"], "a\nb");
    }
}
