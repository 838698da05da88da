//! Each side finishes jobs of every class.

use envctl_model::cutover::Side;

use super::account::{Account, Finding};
use super::jobs::by_side_and_class;
use super::view::View;
use super::words::counted;
use super::{Gate, Invariant};
use crate::statistics::shared_alpha;

pub(super) const GATE: Gate = Gate {
    invariants: &[
        Invariant { name: "noClassUnknown", check: no_class_unknown },
        Invariant { name: "everyClassTried", check: every_class_tried },
    ],
    inputs,
};

fn inputs(view: &View<'_>) -> Vec<(String, String)> {
    by_side_and_class(view)
        .into_iter()
        .map(|((side, class), of)| {
            let done = format!("{} received, {} done, {} failed", of.received, of.effects, of.failed);
            (format!("{side}: {class}"), done)
        })
        .collect()
}

/// A class of which a side receives jobs, and finishes none, though it has had the time to.
fn no_class_unknown(view: &View<'_>) -> Vec<Finding> {
    let unknown = by_side_and_class(view).into_iter().filter(|(_, of)| of.failed > 0 && of.effects == 0);
    unknown
        .map(|((side, class), of)| {
            let what = format!(
                "the {side} side finished none of {} of class {class}, and failed {}",
                counted(of.received, "job"),
                counted(of.failed, "time")
            );
            Account::new(what)
                .of_ids([class])
                .because(format!("the {side} side's code does not know the class {class}"))
                .change(match side {
                    Side::Old => "teach the old side the class first, or give new classes a queue of their own until it is gone",
                    Side::New => "deploy the code that knows the class on the new side",
                })
                .wrong()
        })
        .collect()
}

/// A class of the plan that a side at work never received: whether it could finish it is not known.
#[allow(clippy::cast_precision_loss, reason = "counts of jobs")]
fn every_class_tried(view: &View<'_>) -> Vec<Finding> {
    let Some(work) = &view.plan.work else { return Vec::new() };
    let found = by_side_and_class(view);
    let total: u32 = work.jobs.iter().map(|job| job.weight).sum();
    let mut findings = Vec::new();
    for side in [Side::Old, Side::New] {
        let n: u64 = found.iter().filter(|((of, _), _)| *of == side).map(|(_, done)| done.received).sum();
        for job in work.jobs.iter().filter(|_| n > 0) {
            if found.get(&(side, &*job.class)).is_some_and(|done| done.received > 0) {
                continue;
            }
            let part = f64::from(job.weight) / f64::from(total.max(1));
            let by_chance = (1.0 - part).powf(n as f64);
            let account = Account::new(format!(
                "the {side} side received {}, and none of class {}",
                counted(n, "job"),
                job.class
            ))
            .of_ids([&*job.class]);
            findings.push(if by_chance < shared_alpha(view.plan) {
                account
                    .because("the side does not subscribe to this class")
                    .change("have both sides consume every queue and class until one of them is gone")
                    .wrong()
            } else {
                account
                    .because("too few jobs in this window to tell")
                    .change("let the step bake for longer, or raise the class's weight")
                    .lacking()
            });
        }
    }
    findings
}
