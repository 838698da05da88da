//! One JSON object per line on standard output, which is what log collectors want.

use std::io::Write;
use std::time::{SystemTime, UNIX_EPOCH};

/// Something worth knowing happened.
pub fn info(message: &str, fields: &[(&str, &str)]) {
    line("info", message, fields);
}

/// Something went wrong, and the program goes on.
pub fn warn(message: &str, fields: &[(&str, &str)]) {
    line("warn", message, fields);
}

/// Something went wrong, and the program or the job ends.
pub fn error(message: &str, fields: &[(&str, &str)]) {
    line("error", message, fields);
}

fn line(level: &str, message: &str, fields: &[(&str, &str)]) {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let mut object = serde_json::Map::new();
    object.insert("time".into(), now.as_millis().to_string().into());
    object.insert("level".into(), level.into());
    object.insert("message".into(), message.into());
    for (key, value) in fields {
        object.insert((*key).into(), (*value).into());
    }
    // A reader that went away must not take the program with it.
    let _ = writeln!(std::io::stdout(), "{}", serde_json::Value::from(object));
}
