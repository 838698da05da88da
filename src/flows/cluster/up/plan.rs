//! The plan of `up` for the cluster target: which steps, after which others. Pure.

use envctl_model::plan::PlanError;
use envctl_model::{Plan, Step, StepId, Thing, ThingKind};
use serde::{Deserialize, Serialize};

/// What a step of `up` does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "camelCase")]
pub(crate) enum Action {
    /// Make the namespace with its guardrails.
    Namespace,
    /// Keep the Secrets of the stack file in the namespace.
    Secrets,
    /// Build an image, unless its content is in the registry already, and push it.
    PushImage {
        /// Its name in the stack file.
        image: String,
    },
    /// Wait until the registry has an image that CI pushes.
    AwaitImage {
        /// Its name in the stack file.
        image: String,
    },
    /// Initialise Terraform and create the workspace.
    Workspace,
    /// Plan, and apply exactly that plan.
    ApplyTerraform,
    /// Render the chart with all that is known now, and as this cluster sees it.
    Render,
    /// Have the API server try every object without keeping it.
    TryOut,
    /// Have Helm install or upgrade the release, and wait until it is ready.
    Deliver,
}

/// What the plan depends on.
#[derive(Debug)]
pub(crate) struct Outline<'a> {
    /// The environment.
    pub(crate) name: &'a str,
    /// Images to build or to wait for: name, reference, and what is done.
    pub(crate) images: Vec<(&'a str, String, Action)>,
    /// How many Secrets the stack file has.
    pub(crate) secrets: usize,
    /// The Terraform workspace, if there is a root.
    pub(crate) workspace: Option<&'a str>,
    /// What is rendered: `chart album`.
    pub(crate) source: String,
}

/// The plan. Terraform and images need no namespace, and go on beside it.
pub(crate) fn plan(outline: &Outline<'_>) -> Result<Plan<Action>, PlanError> {
    let mut steps = vec![step("namespace", ("namespace", outline.name), &[], Action::Namespace)];
    steps[0].things.push(Thing::new(ThingKind::Namespace, outline.name));
    let mut before_render = Vec::new();
    for (image, reference, action) in &outline.images {
        let id = format!("image/{image}");
        let mut push = step(&id, ("image", image), &[], action.clone());
        push.things.push(Thing::new(ThingKind::Image, reference.clone()));
        before_render.push(id);
        steps.push(push);
    }
    if let Some(workspace) = outline.workspace {
        let subject = format!("workspace {workspace}");
        // What an intent names may be somebody else's; the step itself claims the workspace.
        steps.push(step("terraform/workspace", ("terraform", &subject), &[], Action::Workspace));
        steps.push(step(
            "terraform/apply",
            ("terraform", &subject),
            &["terraform/workspace"],
            Action::ApplyTerraform,
        ));
        before_render.push("terraform/apply".to_owned());
    }
    let mut before_render: Vec<_> = before_render.iter().map(String::as_str).collect();
    // The chart may look up what is in its namespace.
    before_render.push("namespace");
    if outline.secrets > 0 {
        let subject = format!("{} of the stack file", outline.secrets);
        steps.push(step("secrets", ("secrets", &subject), &["namespace"], Action::Secrets));
        before_render.push("secrets");
    }
    steps.push(step("helm/render", ("helm", "render"), &before_render, Action::Render));
    steps.push(step("helm/try-out", ("helm", &outline.source), &["helm/render"], Action::TryOut));
    steps.push(step("helm/deliver", ("helm", "release"), &["helm/try-out"], Action::Deliver));
    Plan::new(steps)
}

fn step(id: &str, (topic, subject): (&str, &str), after: &[&str], action: Action) -> Step<Action> {
    Step {
        id: StepId::new(id),
        topic: topic.to_owned(),
        subject: subject.to_owned(),
        after: after.iter().map(|a| StepId::new(*a)).collect(),
        things: Vec::new(),
        action,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn namespace_images_and_terraform_wait_for_nothing() {
        let push = Action::PushImage { image: "app".into() };
        let images = vec![("app", "r/app:envctl-1".to_owned(), push)];
        let outline = Outline {
            name: "album-aki",
            images,
            secrets: 0,
            workspace: Some("album-aki"),
            source: "chart album".into(),
        };
        let plan = plan(&outline).unwrap();
        let after = |id: &str| {
            let step = plan.steps.iter().find(|s| s.id.0 == id).unwrap();
            step.after.iter().map(|a| a.0.as_str()).collect::<Vec<_>>()
        };
        for free in ["namespace", "image/app", "terraform/workspace"] {
            assert_eq!(after(free), [""; 0], "{free}");
        }
        assert_eq!(after("helm/render"), ["image/app", "terraform/apply", "namespace"]);
    }
}
