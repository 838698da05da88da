//! By what the new side is told from any other: the same for a sandbox and for production, as long as images, chart,
//! values and stack are the same.
//!
//! What an environment has of its own is left out: the chart is rendered apart from any, with placeholders for its name,
//! its owner and Terraform's outputs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use envctl_programs::git::WorkTree;
use envctl_rehearse::evidence::Digest;
use serde_json::{Value, json};

use super::plan::Loaded;
use crate::config::Base;
use crate::flows::apart::Apart;
use crate::flows::images::StackImage;
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

impl Identity {
    /// One digest of all of it.
    pub(crate) fn digest(&self) -> Digest {
        let Self { images, chart, values, objects } = self;
        Digest::of(json!([images, chart, values, objects]).to_string().as_bytes())
    }
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
    let images = images.iter().map(|(name, image)| (name.clone(), image.fact.clone())).collect();
    let apart = Apart { name: NAME, target, files, set: &[], images, git, outputs: &[] };
    let objects = apart.render(base, &loaded.project).await?;
    Ok(Identity {
        images: digests.collect(),
        chart: chart(loaded)?,
        values: values(loaded)?,
        objects: objects.into_iter().map(|object| object.body).collect(),
    })
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
