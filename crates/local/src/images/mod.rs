//! Images built from the working tree, addressed by their content: what has not changed is not
//! built.

mod cache;
mod context;
mod ignore;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use bollard::auth::DockerCredentials;
use bollard::query_parameters::{
    ListImagesOptionsBuilder, PushImageOptionsBuilder, RemoveImageOptionsBuilder,
};
use envctl_model::labels;
use envctl_model::receipt::{End, Item, ThingKind};
use envctl_programs::process::{Input, ProgramError, Stream, Supervisor};
use futures_util::StreamExt as _;
use sha2::{Digest, Sha256};

pub use context::{Context, ContextError};
pub use ignore::IgnoreError;

use crate::agent_image;
use crate::backing::COMPOSE_PROJECT;
use crate::digest::hex;
use crate::docker_cli::DockerCli;
use crate::engine::{EngineError, EngineReader, VerifiedEngine, found, with_label};

/// What an image is built from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageSpec {
    /// The build context.
    pub context: PathBuf,
    /// The Dockerfile, relative to the context.
    pub dockerfile: PathBuf,
    /// The stage to build (`--target`).
    pub target: Option<String>,
    /// Build arguments.
    pub args: BTreeMap<String, String>,
    /// Where the image is named after.
    pub repository: String,
    /// `linux/amd64`.
    pub platform: String,
}

/// An image could not be built.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The context.
    #[error(transparent)]
    Context(#[from] ContextError),
    /// The Engine.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// `docker build` failed; these are its own words.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// The build ended well and the image is not there.
    #[error("`docker build` ended well, but there is no image {reference} on the Engine")]
    Vanished {
        /// The image.
        reference: String,
    },
}

/// A content address: what an image would be built from, and the tag that follows from it.
#[derive(Debug)]
pub struct Addressed {
    /// The context as hashed.
    pub context: Context,
    /// SHA-256 over everything that decides about the image.
    pub digest: String,
    /// `REPOSITORY:envctl-<first 12 hex digits>`.
    pub reference: String,
}

/// An image on an Engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageFacts {
    /// Its id.
    pub id: String,
    /// Architecture in Go's words.
    pub arch: String,
    /// Operating system.
    pub os: String,
    /// `repository@sha256:...`, where it came from or went to a registry.
    pub digests: Vec<String>,
    /// Its entrypoint.
    pub entrypoint: Vec<String>,
    /// Its command.
    pub cmd: Vec<String>,
    /// Its user.
    pub user: String,
}

impl ImageSpec {
    /// Computes the content address. Reads all files that changed since `cache` was written, so it
    /// blocks for a while.
    ///
    /// # Errors
    /// When the context cannot be read.
    pub fn address(&self, cache: Option<&Path>) -> Result<Addressed, ContextError> {
        let context = Context::scan(&self.context, &self.dockerfile, cache)?;
        let build = serde_json::json!({
            "format": 1,
            "dockerfile": context.dockerfile(),
            "target": self.target,
            "args": self.args,
            "platform": self.platform,
        });
        let mut hash = Sha256::new();
        hash.update(build.to_string());
        context.hash_into(&mut hash);
        let digest = hex(&hash.finalize());
        let reference = format!("{}:envctl-{}", self.repository, &digest[..12]);
        Ok(Addressed { context, digest, reference })
    }
}

/// Looks an image up.
///
/// # Errors
/// When the Engine does not answer.
pub async fn inspect(reader: &EngineReader, reference: &str) -> Result<Option<ImageFacts>, EngineError> {
    let inspected = reader.docker().inspect_image(reference).await;
    let Some(image) = found(inspected.map_err(reader.failed("looking for an image")))? else {
        return Ok(None);
    };
    let config = image.config.unwrap_or_default();
    Ok(Some(ImageFacts {
        id: image.id.unwrap_or_default(),
        arch: image.architecture.unwrap_or_default(),
        os: image.os.unwrap_or_default(),
        digests: image.repo_digests.unwrap_or_default(),
        entrypoint: config.entrypoint.unwrap_or_default(),
        cmd: config.cmd.unwrap_or_default(),
        user: config.user.unwrap_or_default(),
    }))
}

/// Builds an image with `docker build`, from exactly the files that were hashed. Compare
/// [`inspect`] first: an image whose reference is there has nothing to build.
///
/// # Errors
/// When a file changed since it was hashed, or the build fails.
pub async fn build(
    engine: &VerifiedEngine,
    cli: &DockerCli,
    supervisor: &Supervisor,
    spec: &ImageSpec,
    addressed: Addressed,
    line: impl FnMut(Stream, &str),
) -> Result<ImageFacts, ImageError> {
    let Addressed { context, digest, reference } = addressed;
    let mut command = cli
        .on(engine)
        .docker()
        // By the environment: the flag is unknown to the builder of Engines without BuildKit.
        .env("BUILDKIT_PROGRESS", "plain")
        .args(["build", "--platform", &spec.platform, "--tag", &reference])
        .arg("--label")
        .arg(format!("{}={digest}", labels::CONTENT))
        .args(["--file", context.dockerfile()]);
    if let Some(target) = &spec.target {
        command = command.args(["--target", target]);
    }
    for (name, value) in &spec.args {
        command = command.arg("--build-arg").secret_arg(format!("{name}={value}"));
    }
    let (reader, writer) = std::io::pipe().map_err(ProgramError::io("open a pipe to docker build"))?;
    let command = command.arg("-").input(Input::File(File::from(OwnedFd::from(reader))));
    let sender = tokio::task::spawn_blocking(move || {
        context.write_tar(std::io::BufWriter::with_capacity(1 << 20, writer))
    });
    let built = command.run_with_lines(supervisor, line).await;
    let sent = sender.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
    match (built, sent) {
        // That a file changed explains whatever the build made of the broken archive.
        (_, Err(error @ ContextError::Changed(_))) => return Err(error.into()),
        (Err(error), _) => return Err(error.into()),
        (Ok(_), Err(error)) => return Err(error.into()),
        (Ok(_), Ok(())) => {}
    }
    inspect(engine.reader(), &reference).await?.ok_or(ImageError::Vanished { reference })
}

/// Pushes an image that was built here to the registry in its reference, and says by which digest the
/// registry knows it.
///
/// # Errors
/// When the registry or the Engine refuses.
pub async fn push(
    engine: &VerifiedEngine,
    reference: &str,
    login: Option<(String, String)>,
    mut progress: impl FnMut(&str),
) -> Result<String, ImageError> {
    let (repository, tag) = reference.rsplit_once(':').unwrap_or((reference, "latest"));
    let credentials = login.map(|(username, password)| DockerCredentials {
        username: Some(username),
        password: Some(password),
        ..DockerCredentials::default()
    });
    let options = PushImageOptionsBuilder::default().tag(tag).build();
    let mut pushing = std::pin::pin!(engine.docker().push_image(repository, Some(options), credentials));
    while let Some(said) = pushing.next().await {
        let said = said.map_err(engine.failed("pushing an image"))?;
        if let Some(status) = said.status {
            progress(&status);
        }
    }
    let pushed = inspect(engine.reader(), reference).await?;
    let digests = pushed.map(|facts| facts.digests).unwrap_or_default();
    let digest = digests.iter().find_map(|digest| digest.strip_prefix(repository)?.strip_prefix('@'));
    digest.map(str::to_owned).ok_or_else(|| ImageError::Vanished { reference: reference.to_owned() })
}

/// Removes an image by its reference, unless it is in `used` (the references that other
/// environments' records name) or containers run from it: then it is `kept`.
///
/// # Errors
/// When the Engine does not answer.
pub async fn remove_unused(
    engine: &VerifiedEngine,
    reference: &str,
    used: &BTreeMap<String, BTreeSet<String>>,
) -> Result<(End, Item), EngineError> {
    let mut used_by: BTreeSet<String> = used.get(reference).cloned().unwrap_or_default();
    used_by.extend(agent_image::users(engine.reader(), reference).await?);
    if used_by.is_empty() {
        return remove(engine, reference).await;
    }
    let evidence = "other environments use it".to_owned();
    let used_by = used_by.into_iter().collect();
    Ok((
        End::Kept,
        Item { kind: ThingKind::Image, id: reference.to_owned(), evidence, used_by, remove: None },
    ))
}

/// Removes a reference (and the image, if it was its last one), and looks it up afterwards.
pub(crate) async fn remove(engine: &VerifiedEngine, reference: &str) -> Result<(End, Item), EngineError> {
    let options = RemoveImageOptionsBuilder::default().build();
    let removed = engine.docker().remove_image(reference, Some(options), None).await;
    let refused = match found(removed.map_err(engine.failed("removing an image"))) {
        Ok(_) => None,
        Err(EngineError::Refused { message, .. }) => Some(message),
        Err(error) => return Err(error),
    };
    let item = |evidence: String, remove| Item {
        kind: ThingKind::Image,
        id: reference.to_owned(),
        evidence,
        used_by: vec![],
        remove,
    };
    Ok(match inspect(engine.reader(), reference).await? {
        None => (End::Gone, item("no image of that name".to_owned(), None)),
        Some(_) => {
            let why = refused.unwrap_or_else(|| "still on the Engine".to_owned());
            (End::Left, item(why, Some(format!("docker image rm {reference}"))))
        }
    })
}

/// Removes the images that Compose built for a project and that no container uses.
///
/// # Errors
/// When the Engine does not answer.
pub(crate) async fn remove_built(
    engine: &VerifiedEngine,
    project: &str,
) -> Result<Vec<(End, Item)>, EngineError> {
    let filter = with_label(COMPOSE_PROJECT, project);
    let options = ListImagesOptionsBuilder::default().filters(&filter).build();
    let listed = engine.docker().list_images(Some(options)).await.map_err(engine.failed("listing images"))?;
    let mut ends = Vec::new();
    for reference in listed.into_iter().flat_map(|image| image.repo_tags) {
        ends.push(remove_unused(engine, &reference, &BTreeMap::new()).await?);
    }
    Ok(ends)
}
