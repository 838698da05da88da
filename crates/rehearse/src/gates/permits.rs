//! What a fault may cost.

use std::time::Duration;

use super::account::{Account, Finding};
use super::view::View;
use super::window::During;
use super::words::{counted, lasting};
use crate::observation::{FaultPhase, Observation, Time};

/// The time of a fault, and what it may cost.
pub(super) struct Permit {
    /// Its word, such as `killNewPod`.
    word: &'static str,
    injected: Time,
    lifted: Time,
    allowed: u64,
    recovery: Duration,
}

impl Permit {
    /// When all has to be well again.
    pub(super) fn until(&self) -> Time {
        Time(self.lifted.0 + u64::try_from(self.recovery.as_micros()).unwrap_or(u64::MAX / 2))
    }

    fn covers(&self, at: Time) -> bool {
        self.injected <= at && at < self.until()
    }

    /// What went wrong under it, when that is more than it allows: two plain figures, each beside what is permitted.
    fn exceeded(&self, noun: &str, times: &[Time]) -> Option<String> {
        let last = times.iter().max()?;
        let within = times.iter().filter(|at| self.covers(**at)).count() as u64;
        let after = last.since(self.lifted);
        let beyond = times.len() as u64 - within;
        (within > self.allowed || beyond > 0).then(|| {
            format!(
                "{}: {} within the time to recover, {} permitted; the last {} after the fault was lifted, \
                 {} permitted",
                self.word,
                counted(within, noun),
                self.allowed,
                lasting(after),
                lasting(self.recovery)
            )
        })
    }
}

/// The faults that were injected before the window's end.
pub(super) fn permits(view: &View<'_>) -> Vec<Permit> {
    let mut permits = Vec::new();
    for seen in view.all() {
        let Observation::Fault { at: injected, fault, kind, phase: FaultPhase::Injected } = seen else {
            continue;
        };
        let lifted = view.all().find_map(|seen| match seen {
            Observation::Fault { at, fault: which, phase: FaultPhase::Lifted, .. }
                if which == fault && at >= injected =>
            {
                Some(*at)
            }
            _ => None,
        });
        if let Some(plan) = view.plan.faults.get(*fault).filter(|_| *injected < view.window.to) {
            permits.push(Permit {
                word: kind.as_str(),
                injected: *injected,
                lifted: lifted.unwrap_or(view.window.to),
                allowed: plan.failed_requests,
                recovery: plan.recovery,
            });
        }
    }
    permits
}

/// What goes wrong under a fault, in words.
pub(super) struct Cost {
    /// What it is, such as `failed request`.
    pub(super) noun: &'static str,
    /// What to change when it is more than permitted.
    pub(super) change: &'static str,
}

/// Says where a fault cost more than it may, and gives back what no fault explains.
pub(super) fn settle<'a, T>(
    view: &View<'_>,
    cost: &Cost,
    wrong: Vec<T>,
    at: impl Fn(&T) -> Time,
    id: impl Fn(&T) -> &'a str,
) -> (Vec<Finding>, Vec<T>) {
    let (mut findings, mut rest) = (Vec::new(), wrong);
    for permit in permits(view) {
        // In the window of a fault, what goes wrong after the time to recover is the fault's as well.
        let until = match view.window.during {
            During::Fault(_) => view.window.to,
            _ => permit.until(),
        };
        let (of_it, others) =
            rest.into_iter().partition(|wrong| permit.injected <= at(wrong) && at(wrong) < until);
        let of_it: Vec<T> = of_it;
        rest = others;
        let times: Vec<Time> = of_it.iter().map(&at).collect();
        findings.extend(permit.exceeded(cost.noun, &times).map(|what| {
            Account::new(what)
                .of_ids(of_it.iter().map(&id))
                .between(times)
                .because("the fault is felt for longer, or by more, than the plan permits")
                .change(cost.change)
                .wrong()
        }));
    }
    (findings, rest)
}

/// Whether a fault may still be felt at a moment.
pub(super) fn excused(permits: &[Permit], at: Time) -> bool {
    permits.iter().any(|permit| permit.covers(at))
}
