//! The plan of `down` for the local target. Pure.

use envctl_model::plan::PlanError;
use envctl_model::record::{ComposePlace, Record};
use envctl_model::{Plan, Step, StepId};
use serde::{Deserialize, Serialize};

/// What a step of `down` does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "camelCase")]
pub(crate) enum Action {
    /// Remove containers, network and volumes.
    Pods,
    /// See that the backing services run: what Terraform made lives inside them.
    StartBacking,
    /// Plan to destroy all that Terraform's state knows.
    PlanDestroy,
    /// Have its providers find each thing while it is there.
    FindResources,
    /// Destroy it, and look each thing up.
    DestroyTerraform,
    /// Delete the workspace.
    DeleteWorkspace,
    /// Remove the backing services if nobody else uses them.
    ReleaseBacking,
    /// Remove the router if nobody else uses it.
    ReleaseRouter,
    /// Remove images that nobody else uses.
    Images,
}

/// The plan. `resources` says whether Terraform's state may know of anything.
pub(crate) fn plan(
    record: &Record,
    compose: &ComposePlace,
    resources: bool,
) -> Result<Plan<Action>, PlanError> {
    let step = |id: &str, topic: &str, subject: &str, after: &[&str], action| Step {
        id: StepId::new(id),
        topic: topic.to_owned(),
        subject: subject.to_owned(),
        after: after.iter().map(|a| StepId::new(*a)).collect(),
        things: Vec::new(),
        action,
    };
    let mut steps = vec![step("pods", "compose", "", &[], Action::Pods)];
    let mut before_backing = vec!["pods"];
    let start = resources && compose.backing.is_some();
    if start {
        steps.push(step("backing/start", "backing", "", &[], Action::StartBacking));
    }
    if let Some(terraform) = &record.terraform {
        let subject = format!("workspace {}", terraform.workspace);
        let after: &[&str] = if start { &["backing/start"] } else { &[] };
        steps.push(step("terraform/plan", "terraform", &subject, after, Action::PlanDestroy));
        steps.push(step("terraform/find", "terraform", &subject, &["terraform/plan"], Action::FindResources));
        // Applications first: they hold connections to what is about to go.
        let after = ["pods", "terraform/find"];
        steps.push(step("terraform/destroy", "terraform", &subject, &after, Action::DestroyTerraform));
        let after = ["terraform/destroy"];
        steps.push(step("terraform/workspace", "terraform", &subject, &after, Action::DeleteWorkspace));
        before_backing.push("terraform/destroy");
    }
    if compose.backing.is_some() {
        steps.push(step("backing", "backing", "", &before_backing, Action::ReleaseBacking));
    }
    steps.push(step("router", "router", "", &["pods"], Action::ReleaseRouter));
    steps.push(step("images", "images", "", &["pods"], Action::Images));
    Plan::new(steps)
}
