//! What two targets of the stack would run differently, or one with two sets of values. Nothing but helm is asked.
//!
//! Both sides are rendered as `up` would, with what the last `up` learnt from Terraform and placeholders for the rest.
//! Images that the stack builds are of the same working tree on both sides, and so are called alike.

mod compare;
mod facets;

use std::collections::BTreeMap;
use std::path::PathBuf;

use envctl_model::stack::{Stack, TargetKind};
use envctl_programs::git::work_tree;
use envctl_programs::process::Supervisor;
use envctl_programs::terraform::Output;
use envctl_translate::Object;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::apart::Apart;
use super::chart::{self, Objects};
use super::cluster::target::Destination;
use super::known::ImageFact;
use super::terraform::Place;
use super::{Store, check};
use crate::config::{Base, Project};
use crate::ui::Failure;

pub(crate) use compare::{Entry, Extent, Group};
pub(crate) use facets::Topic;

/// One of the two that are compared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Side {
    /// The target.
    pub(crate) target: String,
    /// Values files on top of its own.
    pub(crate) values: Vec<PathBuf>,
    /// Values on top of these (`--set-a`, `--set-b`).
    pub(crate) set: Vec<String>,
}

/// What `diff --json` prints.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Report {
    /// The first side.
    pub(crate) a: Side,
    /// The second side.
    pub(crate) b: Side,
    /// Whether anything differs.
    pub(crate) differs: bool,
    /// Components, and objects that are of none.
    pub(crate) groups: Vec<Group>,
}

/// The tag of images that are built from the working tree.
const WORKING_TREE: &str = "working-tree";

/// Compares.
pub(crate) async fn diff(base: &Base, a: Side, b: Side, extent: Extent) -> Result<Report, Failure> {
    let project = base.stack()?;
    let stack = &project.file.stack;
    for side in [&a, &b] {
        side.check(&project)?;
    }
    let (of_a, of_b) = tokio::try_join!(Rendered::of(base, &project, &a), Rendered::of(base, &project, &b))?;
    let mut groups = compare::compare(&stack.components, &of_a.objects.list, &of_b.objects.list, extent);
    for entry in groups.iter_mut().flat_map(|group| &mut group.entries) {
        of_a.hide(&mut entry.a);
        of_b.hide(&mut entry.b);
    }
    Ok(Report { a, b, differs: groups.iter().any(Group::differs), groups })
}

impl Side {
    fn check(&self, project: &Project) -> Result<(), Failure> {
        let stack = &project.file.stack;
        let Some(target) = stack.targets.get(&self.target) else {
            let names: Vec<_> = stack.targets.keys().map(String::as_str).collect();
            return Err(Failure::Usage(format!(
                "there is no target `{}`; targets of this stack: {}",
                self.target,
                names.join(", ")
            )));
        };
        if let Some(missing) = self.values.iter().find(|file| !file.is_file()) {
            return Err(Failure::Usage(format!("there is no values file {}", missing.display())));
        }
        check::check_files(project, target)
    }
}

/// What one side would run.
struct Rendered {
    objects: Objects,
    /// Sensitive outputs, not to be shown.
    sensitive: Vec<Value>,
}

impl Rendered {
    async fn of(base: &Base, project: &Project, side: &Side) -> Result<Self, Failure> {
        let outputs = outputs(base, project, &side.target)?;
        let git = work_tree(&PathBuf::from("git"), &project.dir, &Supervisor::default()).await.ok().flatten();
        let name = base.settings(project)?.name.value;
        let apart = Apart {
            name: name.as_str(),
            target: &side.target,
            files: &side.values,
            set: &side.set,
            images: images(&project.file.stack),
            git: git.as_ref(),
            outputs: &outputs,
        };
        let list: Vec<Object> = apart.render(base, project).await?;
        let sensitive = outputs.into_iter().filter(|o| o.sensitive).map(|o| o.value).collect();
        Ok(Self { objects: Objects { list, source: String::new() }, sensitive })
    }

    fn hide(&self, value: &mut Option<String>) {
        if let Some(text) = value
            && let Value::String(hidden) =
                chart::hide_secrets(text.clone().into(), &self.objects, &self.sensitive)
        {
            *text = hidden;
        }
    }
}

/// What the last `up` of the environment learnt from Terraform.
fn outputs(base: &Base, project: &Project, target: &str) -> Result<Vec<Output>, Failure> {
    let stack = &project.file.stack;
    let described = &stack.targets[target];
    let name = base.settings(project)?.name.value;
    let store = Store::new(base.state_dir.value.clone());
    let home = match (described.kind.value, Destination::of_target(base, &stack.protected, described)) {
        (TargetKind::Eks, Some(destination)) => store.cluster_home(&destination.key(), &name),
        _ => store.home(&name),
    };
    Place::of(&home).outputs(&home)
}

fn images(stack: &Stack) -> BTreeMap<String, ImageFact> {
    let image = |(name, image): (&String, &envctl_model::stack::Image)| {
        let repository = image.repository.value.clone();
        (name.clone(), ImageFact { repository, tag: WORKING_TREE.to_owned(), digest: None, pushed: false })
    };
    stack.images.iter().map(image).collect()
}
