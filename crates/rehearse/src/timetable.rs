//! When the entries of a crontab run, all of them together.

use envctl_model::cutover::plan::Timetable;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::cron::{CronError, Dialect, Schedule};

/// A timetable of which no tick is known.
#[derive(Debug, thiserror::Error)]
pub enum TimetableError {
    /// Nobody knows its time zone.
    #[error(transparent)]
    Zone(#[from] jiff::Error),
    /// The five fields of an entry cannot be read.
    #[error(transparent)]
    Entry(#[from] CronError),
}

/// The ticks of all entries from one moment to another, that excluded, in order.
///
/// # Errors
/// When the time zone or one of the entries cannot be read.
pub fn ticks(
    timetable: &Timetable,
    from: Timestamp,
    to: Timestamp,
) -> Result<Vec<Timestamp>, TimetableError> {
    let zone = TimeZone::get(&timetable.time_zone)?;
    let mut ticks = Vec::new();
    for entry in &timetable.entries {
        ticks.extend(Schedule::parse(&entry.schedule, Dialect::Vixie)?.ticks(&zone, from, to));
    }
    ticks.sort_unstable();
    Ok(ticks)
}
