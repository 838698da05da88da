//! Times in ledgers: RFC 3339, or seconds since 1970.

use std::fmt;

use jiff::Timestamp;
use serde::de::{Deserializer, Error, Visitor};

struct Moment;

impl Visitor<'_> for Moment {
    type Value = Timestamp;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a time: RFC 3339 with an offset, such as 2026-03-01T09:00:00Z, or seconds since 1970")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Timestamp, E> {
        text.parse().map_err(|_| E::invalid_value(serde::de::Unexpected::Str(text), &self))
    }

    fn visit_u64<E: Error>(self, seconds: u64) -> Result<Timestamp, E> {
        let moment = i64::try_from(seconds).ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
        moment.ok_or_else(|| E::invalid_value(serde::de::Unexpected::Unsigned(seconds), &self))
    }

    fn visit_f64<E: Error>(self, seconds: f64) -> Result<Timestamp, E> {
        #[allow(clippy::cast_possible_truncation, reason = "what is too large saturates, and is no time")]
        let moment = Timestamp::from_microsecond((seconds * 1e6).round() as i64);
        moment.map_err(|_| E::invalid_value(serde::de::Unexpected::Float(seconds), &self))
    }
}

pub(super) fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
    deserializer.deserialize_any(Moment)
}

pub(super) fn read_optional<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Timestamp>, D::Error> {
    read(deserializer).map(Some)
}
