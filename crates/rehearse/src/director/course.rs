//! The course of a rehearsal: everything that it does, in order, before any of it is done.

use envctl_model::cutover::plan::{Action, CutoverPlan, Drill};
use serde::{Deserialize, Serialize};

/// One thing that a rehearsal does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "leg", rename_all = "camelCase")]
pub enum Leg {
    /// Does a step, and reads it back.
    Do {
        /// Index into the plan's steps.
        step: usize,
    },
    /// Does a step in part, as one who dies in the middle of it.
    Half {
        /// Index into the plan's steps.
        step: usize,
    },
    /// Watches for as long as the step says, and judges.
    Judge {
        /// Index into the plan's steps.
        step: usize,
    },
    /// Breaks something, mends it, and judges what that cost.
    Fault {
        /// Index into the plan's faults.
        fault: usize,
    },
    /// Goes back to before the first step, and judges that.
    Back {
        /// Index of the step from which.
        from: usize,
        /// From the middle of it.
        middle: bool,
    },
    /// Goes back to before the first step where nobody sends anything: after a death.
    Undo {
        /// Index of the step from which.
        from: usize,
    },
    /// Does all steps up to this one again, without watching.
    Again {
        /// Index into the plan's steps.
        to: usize,
    },
}

impl Leg {
    /// Whether it only gives the old side work again. That has to be possible also where nothing can be written down.
    #[must_use]
    pub fn goes_back(self) -> bool {
        matches!(self, Self::Back { .. } | Self::Undo { .. })
    }
}

/// The whole course of a plan.
#[must_use]
pub fn course(plan: &CutoverPlan) -> Vec<Leg> {
    let middle = middle(plan);
    let last_that_changes = plan.steps.iter().rposition(|step| step.action.changes());
    let mut legs = Vec::new();
    for (step, described) in plan.steps.iter().enumerate() {
        if middle == Some(step) {
            legs.push(Leg::Half { step });
            legs.push(Leg::Back { from: step, middle: true });
            if step > 0 {
                legs.push(Leg::Again { to: step - 1 });
            }
        }
        legs.push(Leg::Do { step });
        legs.push(Leg::Judge { step });
        let faults = plan.faults.iter().enumerate().filter(|(_, fault)| fault.at == step);
        legs.extend(faults.map(|(fault, _)| Leg::Fault { fault }));
        let drilled = match plan.rollback.drill {
            Drill::EveryStep => described.action.changes(),
            Drill::LastStep => Some(step) == last_that_changes,
        };
        if drilled {
            legs.push(Leg::Back { from: step, middle: false });
            if step + 1 < plan.steps.len() {
                legs.push(Leg::Again { to: step });
            }
        }
    }
    legs
}

/// The step in whose middle going back is tried: the one that has most under way on both sides, which is the last
/// that leaves something on the old one.
fn middle(plan: &CutoverPlan) -> Option<usize> {
    if plan.rollback.drill != Drill::EveryStep {
        return None;
    }
    let both = |action: &Action| match action {
        Action::SetWeight { percent } => (1..100).contains(percent),
        Action::Handover { old } => *old > 0,
        Action::SwitchName { .. } | Action::ArmNew => true,
        _ => false,
    };
    plan.steps.iter().rposition(|step| both(&step.action))
}
