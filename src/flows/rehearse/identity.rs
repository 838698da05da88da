//! By what the new side is told from any other: the same for a sandbox and for production, as long as images, chart,
//! values and stack are the same.
//!
//! What an environment has of its own - its name, its owner, Terraform's outputs, secrets, what the chart draws at random
//! - is left out: the chart is rendered with placeholders for it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use envctl_model::stack::TargetKind;
use envctl_programs::git::WorkTree;
use envctl_programs::process::Supervisor;
use envctl_rehearse::evidence::Digest;
use serde_json::{Value, json};

use super::plan::Loaded;
use crate::config::Base;
use crate::flows::Store;
use crate::flows::chart::{self, ChartInputs, Purpose};
use crate::flows::images::StackImage;
use crate::flows::known::{self, Sources};
use crate::flows::terraform::declared;
use crate::ui::Failure;

/// What was, or is to be, moved to.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    /// The images, by the names of the stack file.
    pub(crate) images: BTreeMap<String, Digest>,
    /// The digest of the chart's files.
    pub(crate) chart: Digest,
    /// The values files of stack and plan that were rehearsed, in order.
    pub(crate) values: Value,
    /// What the chart makes of them.
    pub(crate) objects: Vec<Value>,
}

/// The name of the environment that is rendered. Nothing is delivered under it.
const NAME: &str = "cutover";

/// Identifies what a target of the stack is delivered, with these values files on top of its own and with these images.
pub(crate) async fn of(
    base: &Base,
    loaded: &Loaded,
    target: &str,
    files: &[PathBuf],
    images: &BTreeMap<String, StackImage>,
    git: Option<&WorkTree>,
) -> Result<Identity, Failure> {
    let digests = images.iter().map(|(name, image)| {
        let digest = image.fact.digest.as_deref().and_then(|digest| digest.parse().ok());
        (name.clone(), digest.unwrap_or_else(|| Digest::of(image.fact.reference().as_bytes())))
    });
    Ok(Identity {
        images: digests.collect(),
        chart: chart(loaded)?,
        values: values(loaded)?,
        objects: objects(base, loaded, target, files, images, git).await?,
    })
}

async fn objects(
    base: &Base,
    loaded: &Loaded,
    target: &str,
    files: &[PathBuf],
    images: &BTreeMap<String, StackImage>,
    git: Option<&WorkTree>,
) -> Result<Vec<Value>, Failure> {
    let project = &loaded.project;
    let stack = &project.file.stack;
    let mut base = base.clone();
    base.flags.name = Some(NAME.to_owned());
    base.flags.target = Some(target.to_owned());
    let settings = base.settings(project)?;
    let described = &stack.targets[target];
    let is_draft = described.kind.value == TargetKind::Compose;
    let pinned = stack.images.len() != images.len();
    let images = images.iter().map(|(name, image)| (name.clone(), image.fact.clone())).collect();
    let facts = known::facts(&Sources {
        settings: &settings,
        owner: "owner",
        expires: None,
        git,
        images: &images,
        domain: described.domain(),
        router_port: is_draft.then_some(settings.router_port.value),
        backing: is_draft.then_some(NAME),
    });
    let mut facts = known::with_placeholders(facts, &declared(project, described).outputs());
    for (name, keys) in &stack.secrets {
        for key in keys.value.keys() {
            facts.set(format!("secret.{name}.{key}"), format!("placeholder-{name}-{key}"));
        }
    }
    let values = known::chart_values(project, described, &facts, pinned)?;
    // There is no such directory: nothing is looked up, and nothing is kept.
    let home = Store::new(base.state_dir.value.clone()).held("renders", NAME);
    let supervisor = Supervisor::default();
    let render = || async {
        let inputs = ChartInputs { target: described, name: NAME, values: values.clone(), files, set: &[] };
        let objects = chart::render(&base, project, &home, inputs, Purpose::Check, &supervisor).await?;
        Ok::<_, Failure>(objects.list.into_iter().map(|object| object.body).collect::<Vec<_>>())
    };
    let (once, again) = tokio::try_join!(render(), render())?;
    Ok(once.into_iter().zip(again).map(|(once, again)| steady(once, &again)).collect())
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

/// The digest of all files of the chart, by name and content; of the manifests' files where there is no chart.
fn chart(loaded: &Loaded) -> Result<Digest, Failure> {
    let Loaded { project, .. } = loaded;
    let stack = &project.file.stack;
    let mut files = Vec::new();
    match (&stack.chart, &stack.manifests) {
        (Some(chart), _) => {
            list(&project.dir.join(&chart.path.value), &mut files).map_err(Failure::failed)?
        }
        (None, Some(manifests)) => {
            files.extend(manifests.value.files.iter().flatten().map(|file| project.dir.join(&file.value)));
        }
        (None, None) => {}
    }
    files.sort();
    let mut all = Vec::new();
    for file in files {
        let bytes = std::fs::read(&file).map_err(Failure::failed)?;
        let name = file.strip_prefix(&project.dir).unwrap_or(&file).display().to_string();
        all.push(json!([name, Digest::of(&bytes)]));
    }
    Ok(Digest::of(Value::Array(all).to_string().as_bytes()))
}

fn list(directory: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() { list(&path, files)? } else { files.push(path) }
    }
    Ok(())
}

/// The values that sandbox and production share: those of the chart's own list, and those of the plan.
fn values(loaded: &Loaded) -> Result<Value, Failure> {
    let of_stack = loaded.project.file.stack.chart.iter().flat_map(|chart| &chart.values);
    let of_stack = of_stack.map(|file| loaded.project.dir.join(&file.value));
    let read = |path: PathBuf| -> Result<Value, Failure> {
        let text = std::fs::read_to_string(&path).map_err(Failure::failed)?;
        serde_yaml::from_str(&text).map_err(|e| Failure::Usage(format!("{}: {e}", path.display())))
    };
    of_stack.chain(loaded.values()).map(read).collect()
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
