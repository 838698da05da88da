//! What an invariant says, before it is known which one said it.

use super::Failure;
use crate::observation::{Request, Time};

/// How many ids a failure names.
const NAMED: usize = 10;

/// What an invariant says against a window.
pub(super) enum Finding {
    /// What was seen contradicts it.
    Wrong(Account),
    /// What is lacking to tell.
    Lacking(Account),
}

/// A failure without the name of its invariant.
pub(super) struct Account {
    what: String,
    ids: Vec<String>,
    count: u64,
    at: Option<(Time, Time)>,
    cause: String,
    change: String,
}

impl Account {
    /// Says what was seen, in one sentence.
    pub(super) fn new(what: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            ids: Vec::new(),
            count: 1,
            at: None,
            cause: String::new(),
            change: String::new(),
        }
    }

    /// Of which things: the first are named, all are counted.
    pub(super) fn of_ids<'a>(mut self, ids: impl IntoIterator<Item = &'a str>) -> Self {
        let mut count = 0;
        for id in ids {
            if self.ids.len() < NAMED {
                self.ids.push(id.to_owned());
            }
            count += 1;
        }
        self.count = count;
        self
    }

    /// Of which requests, and when they were over.
    pub(super) fn of_requests(self, requests: &[&Request]) -> Self {
        self.of_ids(requests.iter().map(|request| &*request.id))
            .between(requests.iter().map(|request| request.done))
    }

    /// From the first to the last of these times.
    pub(super) fn between(mut self, times: impl IntoIterator<Item = Time>) -> Self {
        for time in times {
            self.at = Some(self.at.map_or((time, time), |(from, to)| (from.min(time), to.max(time))));
        }
        self
    }

    /// The likely cause.
    pub(super) fn because(mut self, cause: impl Into<String>) -> Self {
        self.cause = cause.into();
        self
    }

    /// The setting to change.
    pub(super) fn change(mut self, change: impl Into<String>) -> Self {
        self.change = change.into();
        self
    }

    /// Contradicts.
    pub(super) fn wrong(self) -> Finding {
        Finding::Wrong(self)
    }

    /// Leaves it open.
    pub(super) fn lacking(self) -> Finding {
        Finding::Lacking(self)
    }

    /// The failure of this invariant.
    pub(super) fn of(self, invariant: &str) -> Failure {
        Failure {
            invariant: invariant.to_owned(),
            what: self.what,
            ids: self.ids,
            count: self.count,
            at: self.at,
            cause: self.cause,
            change: self.change,
        }
    }
}
