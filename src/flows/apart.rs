//! What a target would be delivered, rendered apart from any environment.
//!
//! What only an environment has of its own - secrets, what the chart draws at random - is left out: placeholders stand for
//! it, so that two renders differ where their inputs do.

use std::collections::BTreeMap;
use std::path::PathBuf;

use envctl_model::stack::TargetKind;
use envctl_programs::git::WorkTree;
use envctl_programs::process::Supervisor;
use envctl_programs::terraform::Output;
use envctl_translate::Object;
use serde_json::{Value, json};

use super::Store;
use super::chart::{self, ChartInputs, Purpose};
use super::known::{self, ImageFact, Sources};
use super::terraform::declared;
use crate::config::{Base, Project};
use crate::ui::Failure;

/// What is rendered.
#[derive(Debug)]
pub(crate) struct Apart<'a> {
    /// Release and namespace. Nothing is delivered under it.
    pub(crate) name: &'a str,
    /// The target.
    pub(crate) target: &'a str,
    /// Values files on top of its own.
    pub(crate) files: &'a [PathBuf],
    /// `--set`.
    pub(crate) set: &'a [String],
    /// The images; those that are missing are left to the chart's own values.
    pub(crate) images: BTreeMap<String, ImageFact>,
    /// The git working tree.
    pub(crate) git: Option<&'a WorkTree>,
    /// What is known of Terraform's outputs.
    pub(crate) outputs: &'a [Output],
}

impl Apart<'_> {
    /// Renders.
    pub(crate) async fn render(&self, base: &Base, project: &Project) -> Result<Vec<Object>, Failure> {
        let stack = &project.file.stack;
        let mut base = base.clone();
        base.flags.name = Some(self.name.to_owned());
        base.flags.target = Some(self.target.to_owned());
        let settings = base.settings(project)?;
        let target = &stack.targets[self.target];
        let is_local = target.kind.value == TargetKind::Compose;
        let facts = known::facts(&Sources {
            settings: &settings,
            owner: "owner",
            expires: None,
            git: self.git,
            images: &self.images,
            domain: target.domain(),
            router_port: is_local.then_some(settings.router_port.value),
            backing: is_local.then_some(self.name),
        });
        let facts = known::with_placeholders(facts, &declared(project, target).outputs());
        let mut facts = known::with_outputs(facts, self.outputs);
        for (name, keys) in &stack.secrets {
            for key in keys.value.keys() {
                facts.set(format!("secret.{name}.{key}"), format!("placeholder-{name}-{key}"));
            }
        }
        let pinned = stack.images.len() != self.images.len();
        let values = known::chart_values(project, target, &facts, pinned)?;
        // There is no such directory: nothing is looked up, and nothing is kept.
        let home = Store::new(base.state_dir.value.clone()).held("renders", self.name);
        let supervisor = Supervisor::default();
        let render = || async {
            let (name, values) = (self.name, values.clone());
            let inputs = ChartInputs { target, name, values, files: self.files, set: self.set };
            chart::render(&base, project, &home, inputs, Purpose::Check, &supervisor).await
        };
        let (once, again) = tokio::try_join!(render(), render())?;
        let both = once.list.into_iter().zip(again.list);
        Ok(both.map(|(once, again)| Object { body: steady(once.body, &again.body), ..once }).collect())
    }
}

/// What two renders have alike. The rest is drawn at random.
fn steady(once: Value, again: &Value) -> Value {
    match (once, again) {
        (Value::Object(once), Value::Object(again)) => Value::Object(
            once.into_iter()
                .filter_map(|(key, value)| Some((key.clone(), steady(value, again.get(&key)?))))
                .collect(),
        ),
        (Value::Array(once), Value::Array(again)) if once.len() == again.len() => {
            Value::Array(once.into_iter().zip(again).map(|(once, again)| steady(once, again)).collect())
        }
        (once, again) if once == *again => once,
        _ => json!("drawn at random"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_drawn_at_random_does_not_tell_one_side_from_another() {
        let render = |password: &str, replicas: u32| json!({"kind": "Secret", "data": {"password": password, "user": "album"}, "list": [replicas, 2]});
        let same = steady(render("a", 1), &render("b", 1));
        assert_eq!(same, steady(render("c", 1), &render("d", 1)));
        assert_eq!(same["data"]["user"], "album");
        assert_ne!(same, steady(render("a", 3), &render("b", 3)));
    }
}
