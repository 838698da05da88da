//! The images of a stack: where each comes from, and under which names.

use std::collections::BTreeMap;
use std::path::PathBuf;

use envctl_local::images::{Addressed, ImageSpec};
use envctl_model::facts::Facts;
use envctl_model::stack::Image;
use tokio::sync::Mutex;

use super::known::ImageFact;
use super::up::{Images, Options};
use crate::config::{Base, Project};
use crate::ui::Failure;

/// An image of the stack, with its names.
#[derive(Debug)]
pub(crate) struct StackImage {
    /// Where it comes from.
    pub(crate) source: Source,
    /// Its names.
    pub(crate) fact: ImageFact,
}

/// Where an image comes from.
#[derive(Debug)]
pub(crate) enum Source {
    /// Built from the working tree, under the address of its content.
    Build(Box<Built>),
    /// CI builds and pushes it.
    Ci,
    /// Given by `--image`.
    Given,
}

/// An image that is built from the working tree.
#[derive(Debug)]
pub(crate) struct Built {
    /// What it is built from.
    pub(crate) spec: ImageSpec,
    /// The files that were hashed, until the build takes them.
    pub(crate) addressed: Mutex<Option<Addressed>>,
}

impl StackImage {
    /// What it is built from, if it is built here.
    pub(crate) fn built(&self) -> Option<&Built> {
        match &self.source {
            Source::Build(built) => Some(built),
            Source::Ci | Source::Given => None,
        }
    }
}

/// The images of a stack. `platform` is where they are to run: `linux/amd64`; `facts` are those that
/// tags of CI are made of.
pub(crate) async fn of_stack(
    base: &Base,
    project: &Project,
    options: &Options,
    source: Images,
    platform: &str,
    facts: &Facts,
) -> Result<BTreeMap<String, StackImage>, Failure> {
    let stack = &project.file.stack;
    if let Some(unknown) = options.image.keys().find(|name| !stack.images.contains_key(*name)) {
        let names: Vec<_> = stack.images.keys().map(String::as_str).collect();
        return Err(Failure::Usage(format!(
            "--image {unknown}=...: the stack has no image `{unknown}`; its images: {}",
            names.join(", ")
        )));
    }
    let mut images = BTreeMap::new();
    for (name, image) in &stack.images {
        let one = match (options.image.get(name), source) {
            (Some(reference), _) => StackImage { source: Source::Given, fact: ImageFact::parse(reference) },
            (None, Images::Pinned) => continue,
            (None, Images::Ci) => {
                let tag = ci_tag(project, name, image, facts)?;
                let reference = format!("{}:{tag}", image.repository.value);
                StackImage { source: Source::Ci, fact: ImageFact::parse(&reference) }
            }
            (None, Images::Build) => address(base, project, image, platform).await?,
        };
        images.insert(name.clone(), one);
    }
    Ok(images)
}

/// The tag that CI pushes for the current commit.
fn ci_tag(project: &Project, name: &str, image: &Image, facts: &Facts) -> Result<String, Failure> {
    let Some(template) = &image.ci_tag else {
        let message = format!("image `{name}` has no `ciTag`, so nobody knows which tag CI pushes");
        let help = "add `ciTag: \"{{ git.sha }}\"`, or build it: --images build".to_owned();
        return Err(Failure::Input(project.file.error_at(&image.repository, message, Some(help))));
    };
    match facts.render(&template.value) {
        Ok(rendered) => Ok(rendered.value.as_str().map_or_else(|| rendered.value.to_string(), str::to_owned)),
        Err(error) => Err(Failure::Input(project.file.error_at(template, error.to_string(), None))),
    }
}

/// Hashes the build context.
async fn address(
    base: &Base,
    project: &Project,
    image: &Image,
    platform: &str,
) -> Result<StackImage, Failure> {
    let context = project.dir.join(&image.context.value);
    let dockerfile = match &image.dockerfile {
        Some(path) => relative(&project.dir.join(&path.value), &context),
        None => PathBuf::from("Dockerfile"),
    };
    let spec = ImageSpec {
        context,
        dockerfile,
        target: image.target.clone(),
        args: image.args.clone(),
        repository: image.repository.value.clone(),
        platform: platform.to_owned(),
    };
    let cache_dir = base.state_dir.value.join("cache");
    let cache =
        cache_dir.join(format!("{}.json", envctl_model::name::hash(&spec.context.display().to_string(), 16)));
    let (addressed, spec) = tokio::task::spawn_blocking(move || {
        // Without a cache every file is read again: slower, and nothing else.
        let usable = std::fs::create_dir_all(&cache_dir).is_ok();
        (spec.address(usable.then_some(cache.as_path())), spec)
    })
    .await
    .map_err(Failure::failed)?;
    let addressed =
        addressed.map_err(|e| Failure::Input(project.file.error_at(&image.context, e.to_string(), None)))?;
    let fact = ImageFact::parse(&addressed.reference);
    let built = Built { spec, addressed: Mutex::new(Some(addressed)) };
    Ok(StackImage { source: Source::Build(Box::new(built)), fact })
}

/// `path` as seen from `from`. Both are absolute.
fn relative(path: &std::path::Path, from: &std::path::Path) -> PathBuf {
    let clean = |path: &std::path::Path| {
        let mut clean = PathBuf::new();
        for part in path.components() {
            match part {
                std::path::Component::ParentDir => {
                    clean.pop();
                }
                std::path::Component::CurDir => {}
                part => clean.push(part),
            }
        }
        clean
    };
    let (path, from) = (clean(path), clean(from));
    let common = path.components().zip(from.components()).take_while(|(a, b)| a == b).count();
    let up = from.components().skip(common).map(|_| std::path::Component::ParentDir);
    up.chain(path.components().skip(common)).collect()
}
