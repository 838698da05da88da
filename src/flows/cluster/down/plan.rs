//! The plan of `down` for the cluster target. Pure.

use envctl_model::plan::PlanError;
use envctl_model::record::Record;
use envctl_model::{Plan, Step, StepId};
use serde::{Deserialize, Serialize};

/// What a step of `down` does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "camelCase")]
pub(crate) enum Action {
    /// List all that is there, so that each thing can be looked up afterwards.
    Inventory,
    /// Remove Ingresses and load balancers while their controllers can still take part.
    Front,
    /// Look up what these controllers made in AWS.
    Balancers,
    /// Have Helm uninstall the release, with its hooks.
    Uninstall,
    /// Remove what controllers hold, wait until pods have ended, and remove their claims.
    Contents,
    /// Remove the namespace.
    Namespace,
    /// Look up the volumes of its claims.
    Volumes,
    /// Plan to destroy all that Terraform's state knows.
    PlanDestroy,
    /// Have its providers find each thing while it is there.
    FindResources,
    /// Destroy it, and look each thing up.
    DestroyTerraform,
    /// Delete the workspace.
    DeleteWorkspace,
    /// Say which images stay in the registry.
    Images,
}

/// The plan.
pub(crate) fn plan(record: &Record) -> Result<Plan<Action>, PlanError> {
    let step = |id: &str, topic: &str, subject: &str, after: &[&str], action| Step {
        id: StepId::new(id),
        topic: topic.to_owned(),
        subject: subject.to_owned(),
        after: after.iter().map(|a| StepId::new(*a)).collect(),
        things: Vec::new(),
        action,
    };
    let name = record.name.as_str();
    // What Terraform may not destroy stops all of it, before anything is removed.
    let mut before = vec!["inventory"];
    let mut steps = vec![step("inventory", "namespace", name, &[], Action::Inventory)];
    if let Some(terraform) = &record.terraform {
        let subject = format!("workspace {}", terraform.workspace);
        steps.push(step("terraform/plan", "terraform", &subject, &[], Action::PlanDestroy));
        before.push("terraform/plan");
    }
    steps.extend([
        step("front", "ingress", "", &before, Action::Front),
        step("balancers", "aws", "load balancers", &["front"], Action::Balancers),
        step("helm/uninstall", "helm", "release", &["front"], Action::Uninstall),
        step("contents", "objects", "", &["helm/uninstall"], Action::Contents),
        step("namespace", "namespace", name, &["contents"], Action::Namespace),
        step("volumes", "volumes", "", &["contents"], Action::Volumes),
        step("images", "images", "", &[], Action::Images),
    ]);
    if let Some(terraform) = &record.terraform {
        let subject = format!("workspace {}", terraform.workspace);
        steps.push(step("terraform/find", "terraform", &subject, &["terraform/plan"], Action::FindResources));
        // Applications first, which hold connections to what is about to go, and volumes that may be made of
        // it. What is left in the namespace by then uses nothing.
        let after = ["volumes", "terraform/find"];
        steps.push(step("terraform/destroy", "terraform", &subject, &after, Action::DestroyTerraform));
        let after = ["terraform/destroy"];
        steps.push(step("terraform/workspace", "terraform", &subject, &after, Action::DeleteWorkspace));
    }
    Plan::new(steps)
}
