//! Plans: what will be done, as data.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::receipt::Thing;

/// The name of a step, unique in its plan: `image/app`, `terraform/apply`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct StepId(pub String);

impl StepId {
    /// A step's name.
    #[must_use]
    pub fn new(id: impl Into<String>) -> Self {
        Self(id.into())
    }
}

impl std::fmt::Display for StepId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// One step: what to do (`action`), after which others, and which things it may create.
///
/// A step is data and idempotent, so that another process, on another day, can do it again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Step<A> {
    /// Its name.
    pub id: StepId,
    /// The first column on the screen: `image`, `terraform`, `helm`.
    pub topic: String,
    /// The second column: `app`, `workspace album-aki`.
    pub subject: String,
    /// Steps that must have been done before.
    pub after: Vec<StepId>,
    /// Everything that the step may bring into existence, as far as it is known beforehand.
    pub things: Vec<Thing>,
    /// What to do.
    pub action: A,
}

/// A dependency-aware list of steps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Plan<A> {
    /// The steps, in an order in which they could be done one by one.
    pub steps: Vec<Step<A>>,
}

/// A plan that cannot be executed: a defect of ours, not of the user.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// Two steps of one name.
    #[error("the plan names step `{0}` twice")]
    Duplicate(StepId),
    /// A step waits for one that comes later or does not exist.
    #[error("step `{step}` of the plan waits for `{after}`, which is not before it")]
    NotBefore {
        /// The step.
        step: StepId,
        /// What it waits for.
        after: StepId,
    },
}

impl<A> Plan<A> {
    /// A plan of these steps.
    ///
    /// # Errors
    /// When a name is used twice, or a step waits for one that is not before it. Steps in order
    /// cannot form a cycle.
    pub fn new(steps: Vec<Step<A>>) -> Result<Self, PlanError> {
        let mut seen = BTreeMap::new();
        for step in &steps {
            if let Some(after) = step.after.iter().find(|a| !seen.contains_key(*a)) {
                return Err(PlanError::NotBefore { step: step.id.clone(), after: after.clone() });
            }
            if seen.insert(step.id.clone(), ()).is_some() {
                return Err(PlanError::Duplicate(step.id.clone()));
            }
        }
        Ok(Self { steps })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(id: &str, after: &[&str]) -> Step<()> {
        Step {
            id: StepId::new(id),
            topic: id.into(),
            subject: String::new(),
            after: after.iter().map(|a| StepId::new(*a)).collect(),
            things: vec![],
            action: (),
        }
    }

    #[test]
    fn a_plan_is_ordered_and_names_are_unique() {
        assert!(Plan::new(vec![step("a", &[]), step("b", &["a"])]).is_ok());
        assert_eq!(
            Plan::new(vec![step("b", &["a"]), step("a", &[])]).unwrap_err().to_string(),
            "step `b` of the plan waits for `a`, which is not before it"
        );
        assert_eq!(
            Plan::new(vec![step("a", &[]), step("a", &[])]).unwrap_err(),
            PlanError::Duplicate(StepId::new("a"))
        );
    }
}
