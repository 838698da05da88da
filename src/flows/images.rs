//! The images of a stack: which are built from the working tree, and under which names.

use std::collections::BTreeMap;
use std::path::PathBuf;

use envctl_local::images::{Addressed, ImageSpec};
use tokio::sync::Mutex;

use super::known::ImageFact;
use super::up::{Images, Options};
use crate::config::{Base, Project};
use crate::ui::Failure;

/// An image with its content address.
#[derive(Debug)]
pub(crate) struct AddressedImage {
    /// What it is built from; nothing: it was given by `--image`.
    pub(crate) spec: Option<ImageSpec>,
    /// The files that were hashed, until the build takes them.
    pub(crate) addressed: Mutex<Option<Addressed>>,
    /// Its names.
    pub(crate) fact: ImageFact,
}

/// Hashes the build contexts. `platform` is where the images are to run: `linux/amd64`.
pub(crate) async fn address(
    base: &Base,
    project: &Project,
    options: &Options,
    platform: &str,
) -> Result<BTreeMap<String, AddressedImage>, Failure> {
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
        if let Some(reference) = options.image.get(name) {
            let fact = ImageFact::parse(reference);
            images.insert(name.clone(), AddressedImage { spec: None, addressed: Mutex::new(None), fact });
            continue;
        }
        if options.images == Images::Pinned {
            continue;
        }
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
        let cache = cache_dir
            .join(format!("{}.json", envctl_model::name::hash(&spec.context.display().to_string(), 16)));
        let (addressed, spec) = tokio::task::spawn_blocking(move || {
            // Without a cache every file is read again: slower, and nothing else.
            let usable = std::fs::create_dir_all(&cache_dir).is_ok();
            (spec.address(usable.then_some(cache.as_path())), spec)
        })
        .await
        .map_err(Failure::failed)?;
        let addressed = addressed
            .map_err(|e| Failure::Input(project.file.error_at(&image.context, e.to_string(), None)))?;
        let fact = ImageFact::parse(&addressed.reference);
        images.insert(
            name.clone(),
            AddressedImage { spec: Some(spec), addressed: Mutex::new(Some(addressed)), fact },
        );
    }
    Ok(images)
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
