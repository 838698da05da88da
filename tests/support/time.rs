//! What takes long is for `make test-all`, in whole or in part.

use super::skip;

/// Set by `make test-all`: no test spares itself anything.
const ALL: &str = "ENVCTL_TEST_ALL";

/// Whether tests that take long are to run, too; says so where they are not.
pub(crate) fn has_time_for(what: &str) -> bool {
    let has_time = std::env::var_os(ALL).is_some();
    if !has_time {
        skip(format_args!("{what} (make test-all has it)"));
    }
    has_time
}

/// Of many that are alike those whose turn it is today: every other one, and tomorrow the rest. Each takes long.
pub(crate) fn todays<T>(what: &str, all: Vec<T>) -> Vec<T> {
    if std::env::var_os(ALL).is_some() {
        return all;
    }
    let today = jiff::Timestamp::now().as_second() / (24 * 60 * 60);
    let count = all.len();
    let is_of_today = |index: usize| (index as i64 + today) % 2 == 0;
    let chosen: Vec<T> =
        all.into_iter().enumerate().filter(|(index, _)| is_of_today(*index)).map(|(_, one)| one).collect();
    skip(format_args!("{} of {count} {what}: tomorrow (make test-all has all)", count - chosen.len()));
    chosen
}
