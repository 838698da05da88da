//! Reading a cutover plan for a rehearsal of it.

use std::path::{Path, PathBuf};

use envctl_model::cutover::CutoverPlan;
use envctl_model::stack::{ComponentKind, TargetKind};
use envctl_rehearse::evidence::Digest;
use envctl_rehearse::load::Mix;

use crate::config::{Base, Project, Settings};
use crate::flows::cutover_plan;
use crate::ui::Failure;

/// A cutover plan and what it is about.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// The plan.
    pub(crate) plan: CutoverPlan,
    /// Its file.
    pub(crate) path: PathBuf,
    /// What is in its file.
    pub(crate) source: String,
    /// The stack that the component is of.
    pub(crate) project: Project,
    /// On what kind of target the new side is rehearsed: on Compose that is a draft.
    pub(crate) target: TargetKind,
    /// What the load sends. For services and endpoints.
    pub(super) mix: Option<Mix>,
}

/// Reads a plan and the files that it names, and refuses what a sandbox cannot do.
pub(crate) fn load(base: &Base, path: &Path) -> Result<Loaded, Failure> {
    let project = base.stack()?;
    let cutover_plan::Loaded { file, target } = cutover_plan::load(&project, path)?;
    let path = std::path::absolute(path).map_err(Failure::failed)?;
    let mut loaded = Loaded { plan: file.plan, path, source: file.source, project, target, mix: None };
    if let Some(traffic) = &loaded.plan.traffic {
        let mix = Mix::read(&loaded.directory().join(&traffic.mix));
        loaded.mix = Some(mix.map_err(|e| Failure::Usage(e.to_string()))?);
    }
    Ok(loaded)
}

impl Loaded {
    /// The directory of the plan: what paths in it start from.
    pub(crate) fn directory(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new("/"))
    }

    /// What makes it this plan and no other: the digest of its file.
    pub(crate) fn digest(&self) -> Digest {
        Digest::of(self.source.as_bytes())
    }

    /// The plan's file as the repository names it.
    pub(crate) fn name(&self) -> String {
        self.path.strip_prefix(&self.project.dir).unwrap_or(&self.path).display().to_string()
    }

    /// The values files of the new side.
    pub(super) fn values(&self) -> Vec<PathBuf> {
        self.files(&self.plan.new.values)
    }

    /// Files that the plan names.
    pub(crate) fn files(&self, named: &[PathBuf]) -> Vec<PathBuf> {
        named.iter().map(|file| self.directory().join(file)).collect()
    }

    /// The Compose file of the old side.
    pub(super) fn old_file(&self) -> PathBuf {
        self.directory().join(&self.plan.old.compose)
    }

    /// Settings and flags of the sandbox's environment: like those of an `up`, with another name and target.
    pub(super) fn sandbox(&self, base: &Base, name: &str) -> Result<(Base, Settings), Failure> {
        let mut base = base.clone();
        base.flags.name = Some(name.to_owned());
        base.flags.target = Some(self.plan.new.target.clone());
        base.flags.ttl = Some(TTL.to_owned());
        let settings = base.settings(&self.project)?;
        Ok((base, settings))
    }

    /// Whether the load makes requests.
    pub(super) fn has_requests(&self) -> bool {
        matches!(self.plan.kind, ComponentKind::Service | ComponentKind::Endpoint)
    }
}

/// How long a sandbox lives that nobody removes. The garbage collector takes it then.
const TTL: &str = "2h";
