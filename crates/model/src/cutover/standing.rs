//! What holds after some of a plan's steps.

use super::plan::{Action, CutoverPlan, Step};
use crate::stack::ComponentKind;

/// What holds after the steps so far.
#[derive(Debug, Clone, Copy)]
pub(super) struct Standing<'a> {
    kind: ComponentKind,
    instances: u16,
    steps: &'a [Step],
}

impl<'a> Standing<'a> {
    /// After so many of the plan's steps.
    pub(super) fn after(plan: &'a CutoverPlan, steps: usize) -> Self {
        Self { kind: plan.kind, instances: plan.old.instances, steps: &plan.steps[..steps] }
    }

    /// Whether there was such a step.
    pub(super) fn had(&self, word: &str) -> bool {
        self.steps.iter().any(|step| step.action.word() == word)
    }

    /// The new side's part of the requests, 0 to 100.
    pub(super) fn weight(&self) -> u8 {
        let mut weights = self.steps.iter().filter_map(|step| match step.action {
            Action::SetWeight { percent } => Some(percent),
            Action::SwitchName { .. } => Some(100),
            _ => None,
        });
        weights.next_back().unwrap_or(0)
    }

    /// How many instances of the old worker run.
    pub(super) fn old_instances(&self) -> u16 {
        let mut left = self.steps.iter().filter_map(|step| match step.action {
            Action::Handover { old } => Some(old),
            _ => None,
        });
        left.next_back().unwrap_or(self.instances)
    }

    /// Whether the old side is given work.
    pub(super) fn old_works(&self) -> bool {
        match self.kind {
            ComponentKind::Service | ComponentKind::Endpoint => self.weight() < 100,
            ComponentKind::Worker => !self.had("drain") && self.old_instances() > 0,
            ComponentKind::Schedule => !self.had("disarmOld"),
        }
    }

    /// Whether the new side is given work.
    pub(super) fn new_works(&self) -> bool {
        match self.kind {
            ComponentKind::Service | ComponentKind::Endpoint => self.weight() > 0,
            ComponentKind::Worker => self.had("scaleUpNew"),
            ComponentKind::Schedule => self.had("armNew"),
        }
    }

    /// The part of the load that the side has which gets less of it, if both get any; else all.
    pub(super) fn smaller_part(&self) -> f64 {
        match (self.kind, self.weight()) {
            (ComponentKind::Service, weight @ 1..=99) => f64::from(weight.min(100 - weight)) / 100.0,
            (ComponentKind::Worker, _) if self.old_works() && self.new_works() => 0.5,
            _ => 1.0,
        }
    }
}
