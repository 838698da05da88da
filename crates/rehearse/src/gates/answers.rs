//! Both sides answer the same requests alike.

use std::collections::BTreeMap;

use envctl_model::cutover::Action;
use jiff::Timestamp;
use jiff::civil::DateTime;

use super::account::{Account, Finding};
use super::view::View;
use super::words::counted;
use super::{Gate, Invariant};
use crate::observation::{Difference, Observation, Time};

pub(super) const GATE: Gate = Gate {
    invariants: &[
        Invariant { name: "answersAlike", check: answers_alike },
        Invariant { name: "enoughCompared", check: enough_compared },
    ],
    inputs,
};

/// What kind of difference it is: that says what to change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Class {
    TimeZone,
    Locale,
    Ordering,
    Forwarded,
    Status,
    ProducedFile,
    Encoding,
    Precision,
    Other,
}

impl Class {
    fn of(difference: &Difference, request: &[Difference]) -> Self {
        let (place, old, new) = (&*difference.place, &*difference.old, &*difference.new);
        let lower = place.to_ascii_lowercase();
        if lower == "status" {
            Self::Status
        } else if lower == "header location" {
            Self::Forwarded
        } else if is_shifted(old, new) {
            Self::TimeZone
        } else if is_reordered(old, new) || is_permuted(place, request) {
            Self::Ordering
        } else if lower == "header content-language" || is_written_otherwise(old, new) {
            Self::Locale
        } else if is_close(old, new) {
            Self::Precision
        } else if lower.starts_with("header content-type") || lower == "header content-encoding" {
            Self::Encoding
        } else if matches!(&*lower, "body" | "header content-length" | "header etag")
            || ["sha256", "bytes", "size"].iter().any(|word| lower.contains(word))
        {
            Self::ProducedFile
        } else {
            Self::Other
        }
    }

    fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::TimeZone => (
                "the sides are in different time zones",
                "set `TZ` of the new side to the old side's time zone, and install zone data in its image",
            ),
            Self::Locale => (
                "the sides have different locales: numbers or words are written otherwise",
                "set `LANG` and `LC_ALL` of the new side to the old side's, and generate that locale in its image",
            ),
            Self::Ordering => (
                "the sides put the same things into another order: sorting depends on locale, or nothing sorts at all",
                "sort explicitly (`ORDER BY` with a unique last column), with the same collation on both sides",
            ),
            Self::Forwarded => (
                "the sides think that clients came by another scheme, host or port: forwarded headers are lost",
                "have the ingress pass on `X-Forwarded-Proto`, `X-Forwarded-Host` and `X-Forwarded-Port`",
            ),
            Self::Status => (
                "one side answers what the other refuses",
                "look at the requests named in the new side's log: routes, limits and rights are set outside of the code",
            ),
            Self::ProducedFile => (
                "the sides make different files of the same input: their libraries differ, such as that for images",
                "install the version of the library in the image that the old side has",
            ),
            Self::Encoding => (
                "the sides say another type or encoding of the same content",
                "set the same character set and compression on both sides",
            ),
            Self::Precision => (
                "the sides write numbers with another precision: versions of the language or of a library differ",
                "use the same version, or round explicitly",
            ),
            Self::Other => (
                "the sides do not run the same code with the same settings",
                "compare revision and settings of both sides",
            ),
        }
    }
}

/// A time in both, and they are apart by a whole number of quarters of an hour, as time zones are.
fn is_shifted(old: &str, new: &str) -> bool {
    let unquoted = |text: &str| text.trim_matches('"').to_owned();
    let (old, new) = (unquoted(old), unquoted(new));
    let seconds = |text: &str| {
        let civil = || text.parse::<DateTime>().ok().filter(|_| text.contains(':'));
        civil().and_then(|civil| jiff::tz::Offset::UTC.to_timestamp(civil).ok()).map(Timestamp::as_second)
    };
    let instant = |text: &str| text.parse::<Timestamp>().ok();
    match (instant(&old), instant(&new)) {
        // The same moment written with another offset is as telling as the same clock with another offset.
        (Some(old), Some(new)) if old == new => true,
        (Some(old), Some(new)) => is_of_zones(old.as_second() - new.as_second()),
        _ => match (seconds(&old), seconds(&new)) {
            (Some(old), Some(new)) => is_of_zones(old - new),
            _ => false,
        },
    }
}

fn is_of_zones(seconds: i64) -> bool {
    seconds != 0 && seconds % 900 == 0 && seconds.abs() <= 26 * 3600
}

/// Lists with the same members.
fn is_reordered(old: &str, new: &str) -> bool {
    let members = |text: &str| {
        let list: Vec<serde_json::Value> = serde_json::from_str(text).ok()?;
        let mut members: Vec<String> = list.iter().map(ToString::to_string).collect();
        members.sort_unstable();
        Some(members)
    };
    old != new && members(old).is_some_and(|old| Some(old) == members(new))
}

/// The same values at other numbers of the same list: `/photos/0/id` and `/photos/1/id` are exchanged.
fn is_permuted(place: &str, request: &[Difference]) -> bool {
    let pattern = |place: &str| {
        let parts: Vec<&str> =
            place.split('/').map(|part| if part.parse::<u64>().is_ok() { "#" } else { part }).collect();
        parts.join("/")
    };
    let of_it = |difference: &&Difference| pattern(&difference.place) == pattern(place);
    let (mut old, mut new): (Vec<_>, Vec<_>) =
        request.iter().filter(of_it).map(|difference| (&*difference.old, &*difference.new)).unzip();
    old.sort_unstable();
    new.sort_unstable();
    old.len() > 1 && old == new
}

/// Numbers with the same digits and other signs between them, such as `1,234.50` and `1.234,50`.
fn is_written_otherwise(old: &str, new: &str) -> bool {
    let digits = |text: &str| text.chars().filter(char::is_ascii_digit).collect::<String>();
    let only_of_numbers = |text: &str| {
        text.chars().all(|sign| sign.is_ascii_digit() || !sign.is_alphanumeric()) && !text.contains(':')
    };
    let separated = |text: &str| text.contains([',', '.', '\'', '\u{a0}', '\u{202f}']);
    old != new
        && digits(old).len() > 2
        && digits(old) == digits(new)
        && [old, new].into_iter().all(only_of_numbers)
        && (separated(old) || separated(new))
}

/// Numbers that differ by less than a millionth.
fn is_close(old: &str, new: &str) -> bool {
    match (old.parse::<f64>(), new.parse::<f64>()) {
        (Ok(old), Ok(new)) => (old - new).abs() <= 1e-6 * old.abs().max(new.abs()),
        _ => false,
    }
}

fn compared<'a>(view: &View<'a>) -> impl Iterator<Item = (Time, &'a str, &'a [Difference])> + use<'a> {
    view.seen().filter_map(|seen| match seen {
        Observation::Compared { at, request, differences } => Some((*at, &**request, &**differences)),
        _ => None,
    })
}

fn inputs(view: &View<'_>) -> Vec<(String, String)> {
    let different = compared(view).filter(|(_, _, differences)| !differences.is_empty()).count();
    vec![("compared".into(), compared(view).count().to_string()), ("different".into(), different.to_string())]
}

fn answers_alike(view: &View<'_>) -> Vec<Finding> {
    let mut classes: BTreeMap<Class, Vec<(Time, &str, &Difference)>> = BTreeMap::new();
    for (at, request, differences) in compared(view) {
        for difference in differences {
            classes.entry(Class::of(difference, differences)).or_default().push((at, request, difference));
        }
    }
    let finding = |(class, found): (Class, Vec<(Time, &str, &Difference)>)| {
        let places: Vec<String> =
            found.iter().map(|(_, request, difference)| format!("{request}: {}", difference.place)).collect();
        let first =
            found.first().map(|(_, _, difference)| (shortened(&difference.old), shortened(&difference.new)));
        let (old, new) = first.unwrap_or_default();
        let what = format!(
            "{}, the first: the old side says `{old}`, the new one `{new}`",
            counted(found.len(), "difference")
        );
        let (cause, change) = class.words();
        Account::new(what)
            .of_ids(places.iter().map(String::as_str))
            .between(found.iter().map(|found| found.0))
            .because(cause)
            .change(change)
            .wrong()
    };
    classes.into_iter().map(finding).collect()
}

/// Enough to recognise it by.
fn shortened(value: &str) -> String {
    const LONGEST: usize = 60;
    if value.chars().count() <= LONGEST {
        return value.to_owned();
    }
    value.chars().take(LONGEST).chain(['…']).collect()
}

fn enough_compared(view: &View<'_>) -> Vec<Finding> {
    let wanted = match view.window.action(view.plan) {
        Some(Action::SameAnswer { sample }) => *sample as usize,
        _ => 1,
    };
    let n = compared(view).count();
    if n >= wanted {
        return Vec::new();
    }
    let account = Account::new(format!("{n} of {} compared", counted(wanted, "request")))
        .because("the comparison ended early, or one of the sides could not be asked")
        .change("see that both sides answer before they are compared");
    vec![account.lacking()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(place: &str, old: &str, new: &str) -> Class {
        let difference = Difference { place: place.into(), old: old.into(), new: new.into() };
        Class::of(&difference, std::slice::from_ref(&difference))
    }

    #[test]
    fn differences_are_told_apart_by_what_to_change() {
        for (place, old, new, expected) in [
            ("body /photos/0/taken", "2026-03-01T09:00:00", "2026-03-01T00:00:00", Class::TimeZone),
            ("body /photos/0/taken", "2026-03-01T09:00:00+09:00", "2026-03-01T00:00:00Z", Class::TimeZone),
            ("body /photos/0/taken", "2026-03-01T09:00:00Z", "2026-03-01T09:00:07Z", Class::Other),
            ("body /total", "1,234.50", "1.234,50", Class::Locale),
            ("header content-language", "ja", "en", Class::Locale),
            ("body /ids", "[1,2,3]", "[3,1,2]", Class::Ordering),
            ("header location", "https://album/x", "http://album/x", Class::Forwarded),
            ("status", "200", "404", Class::Status),
            ("header content-length", "4711", "4699", Class::ProducedFile),
            ("body", "sha256 of 1", "sha256 of 2", Class::ProducedFile),
            ("header content-type", "text/html; charset=utf-8", "text/html", Class::Encoding),
            ("body /ratio", "0.30000000000000004", "0.3", Class::Precision),
            ("body /title", "Sea", "Lake", Class::Other),
        ] {
            assert_eq!(class(place, old, new), expected, "{place}: {old} and {new}");
        }
    }

    #[test]
    fn values_that_changed_places_in_a_list_are_an_order() {
        let exchanged = |place: &str, old: &str, new: &str| Difference {
            place: place.into(),
            old: old.into(),
            new: new.into(),
        };
        let both = [exchanged("body /photos/0/id", "7", "9"), exchanged("body /photos/1/id", "9", "7")];
        assert_eq!(Class::of(&both[0], &both), Class::Ordering);
    }
}
