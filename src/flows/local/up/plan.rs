//! The plan of `up` for the local target: which steps, after which others. Pure.

use envctl_model::plan::PlanError;
use envctl_model::{Plan, Step, StepId, Thing, ThingKind};
use serde::{Deserialize, Serialize};

/// What a step of `up` does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "camelCase")]
pub(crate) enum Action {
    /// Create the environment's network.
    Network,
    /// Build an image, unless its content is built already.
    BuildImage {
        /// Its name in the stack file.
        image: String,
    },
    /// See that the machine's HTTP router runs.
    Router,
    /// See that the backing services run.
    Backing,
    /// Initialise Terraform and create the workspace.
    Workspace,
    /// Plan, and apply exactly that plan.
    ApplyTerraform,
    /// Render the chart with all that is known now.
    Render,
    /// Translate the objects to a Compose file.
    Translate,
    /// Have Compose create what changed, and wait until it is ready.
    Deliver,
}

/// What the plan depends on.
#[derive(Debug)]
pub(crate) struct Outline<'a> {
    /// Images to build: name and reference.
    pub(crate) images: Vec<(&'a str, String)>,
    /// Whether there are backing services, and how many.
    pub(crate) backing: Option<usize>,
    /// The Terraform workspace, if there is a root.
    pub(crate) workspace: Option<&'a str>,
    /// What is rendered: `chart album`.
    pub(crate) source: String,
    /// Container names that Compose will use, as far as they are known from the first render.
    pub(crate) containers: Vec<String>,
    /// Volumes, likewise.
    pub(crate) volumes: Vec<String>,
    /// The network's name.
    pub(crate) network: String,
}

/// The plan.
pub(crate) fn plan(outline: &Outline<'_>) -> Result<Plan<Action>, PlanError> {
    let mut steps = vec![
        step("network", ("network", &outline.network), &[], Action::Network)
            .with([Thing::new(ThingKind::Network, outline.network.clone())]),
        step("router", ("router", ""), &[], Action::Router),
    ];
    let mut before_render = Vec::new();
    let mut before_translate = vec!["network", "router", "helm/render"];
    for (image, reference) in &outline.images {
        let id = format!("image/{image}");
        let mut build = step(&id, ("image", image), &[], Action::BuildImage { image: (*image).to_owned() });
        build.things.push(Thing::new(ThingKind::Image, reference.clone()));
        before_render.push(id);
        steps.push(build);
    }
    if let Some(count) = outline.backing {
        steps.push(step("backing", ("backing", &format!("{count} services")), &[], Action::Backing));
        before_translate.push("backing");
    }
    if let Some(workspace) = outline.workspace {
        let subject = format!("workspace {workspace}");
        // What an intent names may be somebody else's; the step itself claims the workspace.
        steps.push(step("terraform/workspace", ("terraform", &subject), &[], Action::Workspace));
        let mut after = vec!["terraform/workspace"];
        // Local roots create things inside the backing services.
        after.extend(outline.backing.map(|_| "backing"));
        steps.push(step("terraform/apply", ("terraform", &subject), &after, Action::ApplyTerraform));
        before_render.push("terraform/apply".to_owned());
    }
    let before_render: Vec<_> = before_render.iter().map(String::as_str).collect();
    steps.push(step("helm/render", ("helm", "render"), &before_render, Action::Render));
    steps.push(step("compose/translate", ("helm", &outline.source), &before_translate, Action::Translate));
    steps.push(
        step("compose/deliver", ("compose", ""), &["compose/translate"], Action::Deliver).with(
            outline
                .containers
                .iter()
                .map(|c| Thing::new(ThingKind::Container, c.clone()))
                .chain(outline.volumes.iter().map(|v| Thing::new(ThingKind::Volume, v.clone()))),
        ),
    );
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

trait With {
    fn with(self, things: impl IntoIterator<Item = Thing>) -> Self;
}

impl With for Step<Action> {
    fn with(mut self, things: impl IntoIterator<Item = Thing>) -> Self {
        self.things.extend(things);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn independent_steps_wait_for_nothing_and_the_chart_waits_for_what_it_needs() {
        let outline = Outline {
            images: vec![("app", "album/app:envctl-1".into())],
            backing: Some(3),
            workspace: Some("album-aki"),
            source: "chart album".into(),
            containers: vec!["album-aki-api-0-1".into()],
            volumes: vec![],
            network: "album-aki".into(),
        };
        let plan = plan(&outline).unwrap();
        let after = |id: &str| {
            let step = plan.steps.iter().find(|s| s.id.0 == id).unwrap();
            step.after.iter().map(|a| a.0.as_str()).collect::<Vec<_>>()
        };
        for free in ["network", "router", "image/app", "backing", "terraform/workspace"] {
            assert_eq!(after(free), [""; 0], "{free}");
        }
        assert_eq!(after("terraform/apply"), ["terraform/workspace", "backing"]);
        assert_eq!(after("helm/render"), ["image/app", "terraform/apply"]);
        let text = serde_json::to_string(&plan).unwrap();
        assert_eq!(serde_json::from_str::<Plan<Action>>(&text).unwrap(), plan, "a plan can be stored");
    }
}
