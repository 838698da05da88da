//! In what three answers to one request differ.

use super::ask::{Answer, NoAnswer};
use super::shown::{self, ABSENT};
use super::{body, headers};
use crate::observation::Difference;

/// Differences told of one request. More of them say nothing that these do not.
const MOST: usize = 20;

/// What a comparison found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Alike {
    /// Where the new side differs from an old side that answers like itself there.
    pub(super) differences: Vec<Difference>,
    /// Where the old side does not answer like itself.
    pub(super) volatile: Vec<String>,
}

impl Alike {
    /// Compares one place, in which an answer may have nothing.
    pub(super) fn place(&mut self, place: String, [old, again, new]: [Option<&str>; 3]) {
        if old != again {
            self.volatile(place);
        } else if old != new {
            self.differ(place, old.unwrap_or(ABSENT), new.unwrap_or(ABSENT));
        }
    }

    /// The old side does not answer like itself here.
    pub(super) fn volatile(&mut self, place: String) {
        self.volatile.push(place);
    }

    /// The sides differ here.
    pub(super) fn differ(&mut self, place: String, old: &str, new: &str) {
        let (old, new) = shown::pair(&place, old, new);
        self.differences.push(Difference { place, old, new });
    }
}

/// What the old side answered, what it answered the second time, and what the new side answered.
type Asked<'a> = &'a Result<Answer, NoAnswer>;

pub(super) fn alike(old: Asked<'_>, again: Asked<'_>, new: Asked<'_>) -> Alike {
    let mut found = Alike::default();
    match (old, again, new) {
        (Ok(old), Ok(again), Ok(new)) => answers(&mut found, old, again, new),
        // Who does not answer is like nobody, also not like another who does not.
        (old, again, new) => {
            let status = |asked: Asked<'_>| match asked {
                Ok(answer) => answer.status.to_string(),
                Err(none) => none.to_string(),
            };
            let worse = if old.is_ok() { again } else { old };
            found.differ("status".to_owned(), &status(worse), &status(new));
        }
    }
    found.differences.truncate(MOST);
    found.volatile.sort_unstable();
    found.volatile.dedup();
    found
}

fn answers(found: &mut Alike, old: &Answer, again: &Answer, new: &Answer) {
    let statuses = [old, again, new].map(|answer| answer.status.to_string());
    found.place("status".to_owned(), statuses.each_ref().map(|status| Some(status.as_str())));
    // Another status has other headers and another body: they would only repeat it.
    if old.status != again.status || old.status != new.status {
        return;
    }
    let identical = old.body.is(&again.body) && old.body.is(&new.body);
    let told = [old, again, new].map(|answer| headers::told(&answer.headers, identical));
    headers::alike(found, &told);
    body::alike(found, [&old.body, &again.body, &new.body]);
}
