//! The five fields.

use super::Dialect;

/// What a field may hold.
pub(super) struct Range {
    name: &'static str,
    low: u8,
    high: u8,
    /// Names of values, from `low` on.
    names: &'static [&'static str],
}

pub(super) const MINUTES: Range = Range { name: "minute", low: 0, high: 59, names: &[] };
pub(super) const HOURS: Range = Range { name: "hour", low: 0, high: 23, names: &[] };
pub(super) const MONTH_DAYS: Range = Range { name: "day of the month", low: 1, high: 31, names: &[] };
pub(super) const MONTHS: Range = Range {
    name: "month",
    low: 1,
    high: 12,
    names: &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
};
pub(super) const WEEK_DAYS: Range = Range {
    name: "day of the week",
    low: 0,
    high: 7,
    names: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"],
};

/// Fields that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CronError {
    /// Not five of them.
    #[error("`{text}` has {found} fields, not five: minute, hour, day of the month, month, day of the week")]
    Count {
        /// All of it.
        text: String,
        /// How many there are.
        found: usize,
    },
    /// A word after `@` that says nothing about when.
    #[error("`{0}` is no time: write five fields, or @yearly, @monthly, @weekly, @daily or @hourly")]
    Word(String),
    /// A part of a field that is no number, name, range or step.
    #[error("`{part}` is no {field}: {low} to {high}, a range such as {low}-{high}, or a step such as */2")]
    Part {
        /// The field's name.
        field: &'static str,
        /// What stands there.
        part: String,
        /// The least that may stand there.
        low: u8,
        /// The most that may stand there.
        high: u8,
    },
    /// A range that ends before it begins.
    #[error("`{part}` ends before it begins: write two ranges, separated by a comma")]
    Backwards {
        /// What stands there.
        part: String,
    },
    /// A number with a step, which programs read differently.
    #[error("`{part}` is read differently by different programs: write {start}-{high}/{step}")]
    OpenStep {
        /// What stands there.
        part: String,
        /// The number.
        start: u8,
        /// The most that may stand there.
        high: u8,
        /// The step.
        step: u8,
    },
    /// Seven for Sunday, which Kubernetes does not know.
    #[error("`{part}` has 7 for Sunday, which Kubernetes refuses: write 0")]
    Seven {
        /// What stands there.
        part: String,
    },
    /// A mark for any value that only Kubernetes knows.
    #[error("`?` is not known to crontab(5): write *")]
    Question,
}

/// What a field allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Field {
    bits: u64,
    wild: bool,
}

impl Field {
    pub(super) fn parse(range: &Range, text: &str, dialect: Dialect) -> Result<Self, CronError> {
        let (mut bits, mut star) = (0, false);
        for part in text.split(',') {
            let (spread, step) = match part.split_once('/') {
                None => (part, None),
                Some((spread, step)) => {
                    (spread, Some(step.parse().ok().filter(|step| *step > 0).ok_or(range.not(part))?))
                }
            };
            let (low, high) = range.spread(spread, part, step, dialect)?;
            if matches!(spread, "*" | "?") {
                // Kubernetes does not take a real step for "any": the rule for days changes with it.
                star |= step.is_none_or(|step: u8| step == 1);
            }
            for value in (low..=high).step_by(usize::from(step.unwrap_or(1))) {
                bits |= 1_u64 << value;
            }
        }
        if range.high == WEEK_DAYS.high && bits & (1 << 7) != 0 {
            bits |= 1;
        }
        let wild = match dialect {
            Dialect::Vixie => text.starts_with('*'),
            Dialect::Kubernetes => star,
        };
        Ok(Self { bits, wild })
    }

    /// Whether it begins with a star, as crontab(5) means it; or allows any value, as Kubernetes does.
    pub(super) fn is_wild(self) -> bool {
        self.wild
    }

    /// A bit for each value that is allowed, without how it was written.
    pub(super) fn bits(self) -> u64 {
        self.bits
    }

    pub(super) fn has(self, value: i8) -> bool {
        u32::try_from(value).is_ok_and(|value| self.bits >> value & 1 == 1)
    }

    pub(super) fn values(self) -> impl Iterator<Item = i8> {
        (0..60).filter(move |value| self.has(*value))
    }
}

impl Range {
    fn not(&self, part: &str) -> CronError {
        CronError::Part { field: self.name, part: part.to_owned(), low: self.low, high: self.high }
    }

    /// From where to where a part goes, without its step.
    fn spread(
        &self,
        spread: &str,
        part: &str,
        step: Option<u8>,
        dialect: Dialect,
    ) -> Result<(u8, u8), CronError> {
        // Sunday is both 0 and 7: a star must not count it twice.
        let last = if self.high == WEEK_DAYS.high { 6 } else { self.high };
        match (spread, dialect) {
            ("*", _) | ("?", Dialect::Kubernetes) => return Ok((self.low, last)),
            ("?", Dialect::Vixie) => return Err(CronError::Question),
            _ => {}
        }
        let (low, high) = match (spread.split_once('-'), step) {
            (Some((low, high)), _) => (self.value(low, part)?, self.value(high, part)?),
            (None, None) => (self.value(spread, part)?, self.value(spread, part)?),
            (None, Some(step)) => {
                let start = self.value(spread, part)?;
                if dialect == Dialect::Vixie {
                    return Err(CronError::OpenStep { part: part.to_owned(), start, high: last, step });
                }
                (start, last)
            }
        };
        if dialect == Dialect::Kubernetes && self.high == WEEK_DAYS.high && high == self.high {
            return Err(CronError::Seven { part: part.to_owned() });
        }
        if low > high {
            return Err(CronError::Backwards { part: part.to_owned() });
        }
        Ok((low, high))
    }

    fn value(&self, text: &str, part: &str) -> Result<u8, CronError> {
        let named = || self.names.iter().zip(self.low..).find(|(name, _)| text.eq_ignore_ascii_case(name));
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        let number = if digits { text.parse().ok() } else { named().map(|(_, value)| value) };
        number.filter(|value| (self.low..=self.high).contains(value)).ok_or_else(|| self.not(part))
    }
}

/// The five fields of a word.
pub(super) fn of_word(word: &str) -> Result<&'static str, CronError> {
    match word.to_ascii_lowercase().as_str() {
        "@yearly" | "@annually" => Ok("0 0 1 1 *"),
        "@monthly" => Ok("0 0 1 * *"),
        "@weekly" => Ok("0 0 * * 0"),
        "@daily" | "@midnight" => Ok("0 0 * * *"),
        "@hourly" => Ok("0 * * * *"),
        _ => Err(CronError::Word(word.to_owned())),
    }
}
