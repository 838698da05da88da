//! `up`, wherever the environment lives.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use envctl_model::name::{EnvironmentName, hash};
use envctl_model::record::{Phase, Place, RECORD_VERSION, Record, TerraformRecord};
use envctl_model::stack::{TargetKind, Terraform, parse_ttl};
use jiff::Timestamp;

use super::interrupts::Interrupts;
use super::run::Screen;
use super::{cluster, known, local};
use crate::config::{Base, Project, Settings};
use crate::ui::{Failure, Format, ago};

/// How `up` was asked for.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    /// `--set`, in order.
    pub(crate) set: Vec<String>,
    /// Values files on top of those of the target.
    pub(crate) values: Vec<PathBuf>,
    /// Where images come from; nothing: as the target has it.
    pub(crate) images: Option<Images>,
    /// `--image NAME=REF`.
    pub(crate) image: BTreeMap<String, String>,
    /// The components to start; none: all of them.
    pub(crate) only: Vec<String>,
    /// Whether components run the working tree, as the target's `dev` says.
    pub(crate) dev: bool,
    /// Consent to what destroys something.
    pub(crate) yes: bool,
    /// Remove everything again if it fails.
    pub(crate) rollback: bool,
    /// How long to wait until all pods are ready.
    pub(crate) timeout: Duration,
    /// In a cluster: how long a pod may find no node.
    pub(crate) schedule_grace: Duration,
}

impl Options {
    /// As `up` without flags.
    pub(crate) fn plain() -> Self {
        Self {
            set: Vec::new(),
            values: Vec::new(),
            images: None,
            image: BTreeMap::new(),
            only: Vec::new(),
            dev: false,
            yes: false,
            rollback: false,
            timeout: Duration::from_secs(600),
            schedule_grace: Duration::from_secs(60),
        }
    }
}

/// One call of `up`: what it was asked for, and whom it tells.
#[derive(Clone, Copy)]
pub(crate) struct Call<'a> {
    /// Flags, variables, programs.
    pub(crate) base: &'a Base,
    /// The stack file.
    pub(crate) project: &'a Project,
    /// Name, target and the like.
    pub(crate) settings: &'a Settings,
    /// How it was asked for.
    pub(crate) options: &'a Options,
    /// Ctrl-C.
    pub(crate) interrupts: &'a Interrupts,
    /// Where to publish.
    pub(crate) screen: &'a Screen,
    /// When it began.
    pub(crate) begun: Instant,
}

/// Where images come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Images {
    /// Build the working tree.
    Build,
    /// Wait for those that CI pushes for the current commit.
    Ci,
    /// Take what the values say.
    Pinned,
}

/// Brings the environment up.
pub(crate) async fn up(base: &Base, options: &Options, format: Format) -> Result<(), Failure> {
    let begun = Instant::now();
    let interrupts = &Interrupts::listen()?;
    let project = &base.stack()?;
    let settings = &base.settings(project)?;
    let screen = Screen::new(format);
    let call = Call { base, project, settings, options, interrupts, screen: &screen, begun };
    let result = match project.file.stack.targets[&settings.target.value].kind.value {
        TargetKind::Compose => local::up::up(call).await,
        TargetKind::Eks => cluster::up::up(call).await,
    };
    screen.finish().await;
    result
}

/// The record with which a run of `up` begins: the identity of the `former` one, and what is known now.
/// `has_state` says whether Terraform may have made something in it.
pub(crate) fn begin(
    base: &Base,
    project: &Project,
    settings: &Settings,
    former: Option<Record>,
    place: Place,
    images: BTreeMap<String, String>,
    has_state: bool,
) -> Result<Record, Failure> {
    let stack = &project.file.stack;
    let terraform =
        match (&stack.targets[&settings.target.value].terraform, known::workspace(project, settings)?) {
            (Some(terraform), Some(workspace)) => {
                let former = former.as_ref().and_then(|former| former.terraform.as_ref());
                Some(terraform_record(base, workspace, terraform, former))
            }
            _ => None,
        };
    if let Some(former) = former.as_ref().and_then(|former| former.terraform.as_ref()).filter(|_| has_state) {
        keeps_state(former, terraform.as_ref(), &settings.name.value)?;
    }
    let now = Timestamp::now();
    let expires = match (&former, base.flags.ttl.is_some()) {
        // One whose time has come begins a new life.
        (Some(former), false) if former.expires.is_none_or(|at| at > now) => former.expires,
        _ => {
            parse_ttl(&settings.ttl.value).map_err(Failure::Usage)?.and_then(|ttl| now.checked_add(ttl).ok())
        }
    };
    let identity = former.as_ref().map_or_else(
        || hash(&format!("{} {} {now} {}", settings.name.value, base.owner, std::process::id()), 32),
        |former| former.identity.clone(),
    );
    Ok(Record {
        version: RECORD_VERSION,
        name: settings.name.value.clone(),
        identity,
        project: stack.project.value.clone(),
        owner: former.as_ref().map_or_else(|| base.owner.clone(), |f| f.owner.clone()),
        target: settings.target.value.clone(),
        created: former.as_ref().map_or(now, |f| f.created),
        expires,
        stack_file: project.path.clone(),
        requires: stack.requires.as_ref().and_then(|requires| requires.value.parse().ok()),
        phase: Phase::begin(former.as_ref().map(|f| f.phase)),
        place,
        terraform,
        images,
        asleep: former.as_ref().and_then(|f| f.asleep.clone()),
        left_out: Vec::new(),
        live: Vec::new(),
        urls: former.map(|f| f.urls).unwrap_or_default(),
    })
}

/// Removes what an `up` made that failed, if that was asked for and nothing was there before.
pub(crate) async fn roll_back(
    call: Call<'_>,
    former: Option<&Record>,
    result: Result<(), Failure>,
    remove: impl AsyncFnOnce(&Interrupts) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let refused = |f: &Failure| {
        matches!(f, Failure::Refused(_) | Failure::Taken(_) | Failure::Usage(_) | Failure::Input(_))
    };
    if !call.options.rollback || result.as_ref().err().is_none_or(refused) {
        return result;
    }
    // What was ready once holds data that this run did not make.
    if former.is_some_and(|former| Phase::begin(Some(former.phase)) == Phase::Updating) {
        call.screen.warn("`up` failed; the environment was there before, so --rollback removes nothing");
    } else {
        call.screen.warn("`up` failed; removing what it made (--rollback)");
        // An interrupt of `up` was not meant for this; another one is.
        remove(&Interrupts::listen()?).await?;
    }
    result
}

/// How long an environment lives, for the first line of `up`.
pub(crate) fn lifetime(record: &Record) -> String {
    match record.expires {
        None => "never expires".to_owned(),
        Some(at) => format!("expires in {}", ago(Timestamp::now(), at)),
    }
}

/// What Terraform made is known from the state alone: an environment that has one keeps it.
fn keeps_state(
    former: &TerraformRecord,
    terraform: Option<&TerraformRecord>,
    name: &EnvironmentName,
) -> Result<(), Failure> {
    let what = match terraform {
        Some(now) if now.backend_config != former.backend_config => {
            "keeps its Terraform state elsewhere: the `backendConfig` of the target has changed"
        }
        Some(now) if now.backend != former.backend => {
            "keeps its Terraform state elsewhere: the `backend` of the target has changed"
        }
        // A record from before there were variables says nothing of them.
        Some(now) if !former.env.is_empty() && endpoints(now) != endpoints(former) => {
            "has a Terraform state of another AWS: an endpoint in the target's `terraform.env` has changed"
        }
        Some(now) if now.workspace != former.workspace => {
            "has another Terraform workspace: the `workspace` of the target has changed"
        }
        Some(_) => return Ok(()),
        None => "has a Terraform state, and the target no longer has a `terraform` root",
    };
    Err(Failure::Refused(format!(
        "environment `{name}` {what}\n  what Terraform made would be forgotten: type `envctl down` first, which still \
         knows it, or change that back"
    )))
}

/// Where Terraform's providers find AWS, as far as variables say.
fn endpoints(terraform: &TerraformRecord) -> Vec<(&String, &String)> {
    terraform.env.iter().filter(|(name, _)| name.starts_with("AWS_ENDPOINT_URL")).collect()
}

fn terraform_record(
    base: &Base,
    workspace: String,
    terraform: &Terraform,
    former: Option<&TerraformRecord>,
) -> TerraformRecord {
    TerraformRecord {
        workspace,
        root: terraform.path.value.clone(),
        program: base.programs.terraform.value.clone(),
        lookup: terraform.lookup.clone(),
        backend_config: terraform.backend_config.clone(),
        var_files: terraform.var_files.iter().map(|f| f.value.clone()).collect(),
        backend: terraform.backend.as_ref().map(|backend| backend.value),
        env: terraform.env.iter().map(|(name, value)| (name.clone(), value.value.clone())).collect(),
        claimed: former.is_some_and(|former| former.claimed),
        archive: former.and_then(|former| former.archive.clone()),
        accounts: terraform.accounts.clone(),
        trust: terraform.trust.clone(),
    }
}
