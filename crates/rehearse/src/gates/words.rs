//! Figures and codes in words.

use std::time::Duration;

use crate::observation::{Outcome, Request};

/// `1 request`, `3 requests`.
pub(super) fn counted(n: impl TryInto<u64>, noun: &str) -> String {
    let n = n.try_into().unwrap_or(u64::MAX);
    if n == 1 { format!("1 {noun}") } else { format!("{n} {noun}s") }
}

/// `9.1 s`, and `250 ms` for what is shorter than a second.
pub(super) fn lasting(duration: Duration) -> String {
    if duration < Duration::from_secs(1) {
        format!("{} ms", duration.as_millis())
    } else {
        format!("{:.1} s", duration.as_secs_f64())
    }
}

/// `12.5 %`.
pub(super) fn percent(part: f64) -> String {
    format!("{:.1} %", part * 100.0)
}

/// What came of a request, as it follows on "it was".
pub(super) fn fate(request: &Request) -> String {
    match request.outcome {
        Outcome::Answered { .. } => format!("{} where {} is right", request.outcome, request.expected),
        _ => request.outcome.to_string(),
    }
}

/// What HAProxy's two letters say of how a session ended: who ended it, and in which state (section "Session state at
/// disconnection" of HAProxy's configuration manual).
pub(super) fn termination(code: &str) -> String {
    let mut letters = code.chars();
    let (who, state) = (letters.next().unwrap_or('-'), letters.next().unwrap_or('-'));
    let who = match who {
        'C' => "the client broke off",
        'S' => "the server broke off or refused",
        'P' => "HAProxy itself ended it, by a rule or a limit",
        'L' => "HAProxy answered by itself",
        'R' => "HAProxy had no resources left",
        'I' => "HAProxy met an error of its own",
        'D' => "HAProxy ended it as the server was set down",
        'U' => "HAProxy ended it as a backup server gave way",
        'K' => "an operator ended it",
        'c' => "the client was silent for too long",
        's' => "the server was silent for too long",
        '-' => "nobody ended it early",
        _ => "it is not known who ended it",
    };
    let state = match state {
        'R' => "before the request was whole",
        'Q' => "while it waited for a free server",
        'C' => "while it connected to the server",
        'H' => "before the answer's headers came",
        'D' => "in the middle of the answer",
        'L' => "while the last bytes went to the client",
        'T' => "while it was held up on purpose",
        '-' => "after all was over",
        _ => "at an unknown point",
    };
    format!("{who} {state}")
}
