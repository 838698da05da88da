//! Everything that can be checked before anything is written.

use std::collections::BTreeMap;
use std::path::PathBuf;

use envctl_local::backing::Backing;
use envctl_local::engine::EngineError;
use envctl_local::images::{Addressed, ImageSpec};
use envctl_local::lookup::{self, Existence};
use envctl_model::facts::Facts;
use envctl_model::plan::Plan;
use envctl_model::record::{BackingRecord, Phase, Record, TerraformRecord};
use envctl_model::stack::{NotYet, Protected, Target, TargetKind};
use envctl_model::{Thing, ThingKind};
use envctl_programs::git::{WorkTree, work_tree};
use envctl_programs::process::{Supervisor, Tool};
use envctl_translate::{Stage, Translation};
use ipnet::Ipv4Net;
use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::Mutex;

use super::plan::{Action, Outline, plan};
use super::{Images, Options};
use crate::config::{Base, Project, Settings};
use crate::flows::chart::{self, ChartInputs, Objects, Ownership, Purpose, Translated};
use crate::flows::known::{self, ImageFact, Sources};
use crate::flows::machine::{Machine, explain};
use crate::flows::terraform::{Place, declared_outputs};
use crate::flows::{Home, Store, agent};
use crate::ui::Failure;

/// What was checked, and what was learnt on the way.
#[derive(Debug)]
pub(crate) struct Checked {
    /// The Engine and the programs.
    pub(crate) machine: Machine,
    /// Compose's version.
    pub(crate) compose_version: (u32, u32, u32),
    /// The git working tree.
    pub(crate) git: Option<WorkTree>,
    /// Images to build, by name.
    pub(crate) images: BTreeMap<String, CheckedImage>,
    /// The backing services.
    pub(crate) backing: Option<Backing>,
    /// What the stack file asks for and is not there yet.
    pub(crate) not_yet: Vec<NotYet>,
    /// The record of an earlier `up`.
    pub(crate) former: Option<Record>,
    /// What was rendered, with placeholders for what is not known yet.
    pub(crate) objects: Objects,
    /// What it translates to, with a placeholder subnet.
    pub(crate) translation: Translation,
    /// Sensitive outputs of the last `up`, not to be shown.
    pub(crate) sensitive: Vec<Value>,
    environment: String,
    terraform: bool,
}

/// An image with its content address.
#[derive(Debug)]
pub(crate) struct CheckedImage {
    /// What it is built from.
    pub(crate) spec: Option<ImageSpec>,
    /// The files that were hashed, until the build takes them.
    pub(crate) addressed: Mutex<Option<Addressed>>,
    /// Its names.
    pub(crate) fact: ImageFact,
}

/// Checks.
pub(crate) async fn check(
    base: &Base,
    project: &Project,
    settings: &Settings,
    options: &Options,
) -> Result<Checked, Failure> {
    let stack = &project.file.stack;
    let target = &stack.targets[&settings.target.value];
    let name = settings.name.value.as_str();
    if target.kind.value == TargetKind::Eks {
        return Err(Failure::Usage(format!(
            "target `{}` is of kind `eks`, which this envctl cannot bring up yet: use a target of kind `compose`",
            settings.target.value
        )));
    }
    guard_names(&stack.protected, name)?;
    check_files(project, target)?;
    if target.terraform.is_some() && !base.programs.has_terraform() {
        let program = &base.programs.terraform.value;
        return Err(Failure::Failed(format!(
            "{} is not installed or not on PATH\n  get it: {}",
            program.display(),
            Tool::terraform_at(program).how_to_get()
        )));
    }
    let home = Store::new(base.state_dir.value.clone()).home(&settings.name.value);
    let former = home.record()?;
    if let Some(former) = &former
        && former.project != stack.project.value
    {
        return Err(Failure::Refused(format!(
            "environment `{name}` belongs to project `{}` ({}), and this is project `{}`\n  choose another name with --name",
            former.project,
            former.stack_file.display(),
            stack.project.value
        )));
    }
    let machine = Machine::connect(base, former.as_ref().map(|f| f.engine_id.as_str())).await?;
    let supervisor = Supervisor::default();
    let git_program = PathBuf::from("git");
    let (compose_version, backing, git, images) = tokio::join!(
        machine.compose_version(),
        read_backing(project, target, &machine, &supervisor),
        work_tree(&git_program, &project.dir, &supervisor),
        address_images(base, project, options, &machine),
    );
    let (compose_version, backing, images) = (compose_version?, backing?, images?);
    // A stack need not lie in a git repository, nor git be installed, unless a template asks for it.
    let git = git.ok().flatten();

    let mut checked = Checked {
        machine,
        compose_version,
        git,
        images,
        backing,
        not_yet: project.file.not_yet(target),
        former,
        objects: Objects::default(),
        translation: Translation::default(),
        sensitive: Vec::new(),
        environment: name.to_owned(),
        terraform: target.terraform.is_some(),
    };
    let declared = target
        .terraform
        .as_ref()
        .map(|t| declared_outputs(&project.dir.join(&t.path.value)))
        .unwrap_or_default();
    // What is known of Terraform's outputs from the last `up`, and placeholders for the rest.
    let outputs = Place::of(&home).outputs(&home)?;
    let facts = known::with_placeholders(checked.facts(base, settings), &declared);
    let facts = known::with_outputs(facts, &outputs);
    checked.sensitive = outputs.into_iter().filter(|o| o.sensitive).map(|o| o.value).collect();
    known::terraform_variables(project, &checked.facts(base, settings))?;
    checked.objects =
        checked.render(base, project, settings, options, &home, &facts, Purpose::Check, &supervisor).await?;
    // As it will be delivered, as far as the last `up` tells.
    let subnet = home.read_json("network.json")?.unwrap_or(chart::PLACEHOLDER_SUBNET);
    let agent = agent::for_architecture(&checked.machine.engine.facts().arch)?;
    let former = checked.former.as_ref();
    let ownership = former.map_or(Ownership::UNKNOWN, |former| Ownership {
        identity: &former.identity,
        owner: &former.owner,
        project: &former.project,
    });
    let image = envctl_local::agent_image::reference(agent);
    checked.translation = checked.translate(&checked.objects, settings, ownership, subnet, &image, &home)?;
    checked.refuse_strangers().await?;
    Ok(checked)
}

impl Checked {
    /// What stands under one of our names and is not this environment's is neither adopted nor
    /// replaced: Compose itself goes by names and would do both.
    async fn refuse_strangers(&self) -> Result<(), Failure> {
        let project = &self.environment;
        let identity = self.former.as_ref().map(|f| f.identity.as_str()).unwrap_or_default();
        let things = std::iter::once(Thing::new(ThingKind::Network, project.clone()))
            .chain(names(chart::container_names(&self.translation, project), ThingKind::Container))
            .chain(names(chart::volume_names(&self.translation, project), ThingKind::Volume));
        let looked_up = futures_util::future::try_join_all(things.map(|thing| async move {
            let existence = lookup::exists(&self.machine.reader, &thing, identity).await?;
            Ok::<_, EngineError>((existence == Existence::NotOurs).then(|| thing.to_string()))
        }));
        let strangers: Vec<_> = looked_up.await.map_err(|e| explain(&e))?.into_iter().flatten().collect();
        if strangers.is_empty() {
            return Ok(());
        }
        Err(Failure::Refused(format!(
            "these exist already, and are not this environment's: {}\n  \
             another user, another state directory or another program made them; choose another name with --name",
            strangers.join(", ")
        )))
    }

    /// The plan.
    pub(crate) fn plan(&self) -> Result<Plan<Action>, Failure> {
        let images = self
            .images
            .iter()
            .filter(|(_, image)| image.spec.is_some())
            .map(|(name, image)| (name.as_str(), image.fact.reference()))
            .collect();
        let project = &self.environment;
        let outline = Outline {
            name: &self.environment,
            images,
            backing: self.backing.as_ref().map(|b| b.services.len()),
            terraform: self.terraform,
            source: self.objects.source.clone(),
            containers: chart::container_names(&self.translation, project),
            volumes: chart::volume_names(&self.translation, project),
            network: project.clone(),
        };
        plan(&outline).map_err(Failure::failed)
    }

    /// The facts that are known without Terraform.
    pub(crate) fn facts(&self, base: &Base, settings: &Settings) -> Facts {
        let images = self.images.iter().map(|(name, image)| (name.clone(), image.fact.clone())).collect();
        let expires = self.former.as_ref().and_then(|f| f.expires).map(|at: Timestamp| at.to_string());
        known::facts(&Sources {
            settings,
            owner: &base.owner,
            expires,
            git: self.git.as_ref(),
            images: &images,
            backing: self.backing.as_ref().map(|b| b.project.as_str()),
        })
    }

    /// Renders the chart, or takes the manifests.
    #[allow(clippy::too_many_arguments, reason = "all of them live for one call")]
    pub(crate) async fn render(
        &self,
        base: &Base,
        project: &Project,
        settings: &Settings,
        options: &Options,
        home: &Home,
        facts: &Facts,
        purpose: Purpose,
        supervisor: &Supervisor,
    ) -> Result<Objects, Failure> {
        let values = known::chart_values(project, facts, options.images == Images::Pinned)?;
        let target = &project.file.stack.targets[&settings.target.value];
        let inputs = ChartInputs { target, name: settings.name.value.as_str(), values, set: &options.set };
        chart::render(base, project, home, inputs, purpose, supervisor).await
    }

    /// Translates objects for a subnet.
    pub(crate) fn translate(
        &self,
        objects: &Objects,
        settings: &Settings,
        ownership: Ownership<'_>,
        subnet: Ipv4Net,
        agent_image: &str,
        home: &Home,
    ) -> Result<Translation, Failure> {
        let stage = match Phase::begin(self.former.as_ref().map(|f| f.phase)) {
            Phase::Updating => Stage::Upgrade,
            _ => Stage::Install,
        };
        chart::translate(&Translated {
            objects,
            name: settings.name.value.as_str(),
            ownership,
            engine: self.machine.engine.facts(),
            compose_version: self.compose_version,
            subnet,
            agent_image,
            router_port: settings.router_port.value,
            backing: self.backing.as_ref(),
            stage,
            host_files: home.file("files"),
        })
    }

    /// The backing services for the record.
    pub(crate) fn backing_record(&self, home: &Home) -> Option<BackingRecord> {
        self.backing.as_ref().map(|backing| BackingRecord {
            project: backing.project.clone(),
            file: home.file("backing.json"),
            network: backing.network.clone(),
        })
    }

    /// Terraform for the record.
    pub(crate) fn terraform_record(
        &self,
        base: &Base,
        project: &Project,
        settings: &Settings,
    ) -> Option<TerraformRecord> {
        let target = &project.file.stack.targets[&settings.target.value];
        target.terraform.as_ref().map(|terraform| TerraformRecord {
            workspace: settings.name.value.to_string(),
            root: terraform.path.value.clone(),
            program: base.programs.terraform.value.clone(),
            lookup: terraform.lookup.clone(),
            backend_config: terraform.backend_config.clone(),
            var_files: terraform.var_files.iter().map(|f| f.value.clone()).collect(),
        })
    }
}

fn names(names: Vec<String>, kind: ThingKind) -> impl Iterator<Item = Thing> {
    names.into_iter().map(move |name| Thing::new(kind, name))
}

fn guard_names(protected: &Protected, name: &str) -> Result<(), Failure> {
    for (what, rules) in [("namespace", &protected.namespaces), ("workspace", &protected.workspaces)] {
        if let Some(rule) = Protected::rule(rules, name) {
            return Err(Failure::Refused(format!(
                "{what} `{name}` is protected by the rule `{rule}` of the stack file\n  choose another name with --name"
            )));
        }
    }
    Ok(())
}

/// Every file that the stack names is there.
fn check_files(project: &Project, target: &Target) -> Result<(), Failure> {
    let stack = &project.file.stack;
    let chart_values = stack.chart.iter().flat_map(|chart| &chart.values);
    for file in chart_values.chain(&target.values) {
        if !project.dir.join(&file.value).is_file() {
            let message = format!("there is no values file {}", file.value.display());
            let help = format!("paths are relative to {}", project.dir.display());
            return Err(Failure::Input(project.file.error_at(file, message, Some(help))));
        }
    }
    if let Some(chart) = &stack.chart
        && !project.dir.join(&chart.path.value).join("Chart.yaml").is_file()
    {
        let message = format!("there is no chart in {}", chart.path.value.display());
        let help = "a chart's folder holds a Chart.yaml".to_owned();
        return Err(Failure::Input(project.file.error_at(&chart.path, message, Some(help))));
    }
    if let Some(backing) = &target.backing
        && !project.dir.join(&backing.value).is_file()
    {
        let message = format!("there is no Compose file {}", backing.value.display());
        return Err(Failure::Input(project.file.error_at(backing, message, None)));
    }
    for image in stack.images.values() {
        let context = project.dir.join(&image.context.value);
        if !context.is_dir() {
            let message = format!("there is no build context {}", image.context.value.display());
            return Err(Failure::Input(project.file.error_at(&image.context, message, None)));
        }
        if let Some(dockerfile) = &image.dockerfile
            && !project.dir.join(&dockerfile.value).is_file()
        {
            let message = format!("there is no Dockerfile {}", dockerfile.value.display());
            return Err(Failure::Input(project.file.error_at(dockerfile, message, None)));
        }
    }
    if let Some(terraform) = &target.terraform
        && !project.dir.join(&terraform.path.value).is_dir()
    {
        let message = format!("there is no Terraform root {}", terraform.path.value.display());
        return Err(Failure::Input(project.file.error_at(&terraform.path, message, None)));
    }
    Ok(())
}

async fn read_backing(
    project: &Project,
    target: &Target,
    machine: &Machine,
    supervisor: &Supervisor,
) -> Result<Option<Backing>, Failure> {
    match &target.backing {
        Some(file) => {
            let path = project.dir.join(&file.value);
            Backing::read(&machine.cli, supervisor, &path).await.map(Some).map_err(Failure::failed)
        }
        None => Ok(None),
    }
}

/// Hashes the build contexts.
async fn address_images(
    base: &Base,
    project: &Project,
    options: &Options,
    machine: &Machine,
) -> Result<BTreeMap<String, CheckedImage>, Failure> {
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
            images.insert(name.clone(), CheckedImage { spec: None, addressed: Mutex::new(None), fact });
            continue;
        }
        if options.images == Images::Pinned {
            continue;
        }
        let facts = machine.engine.facts();
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
            platform: format!("{}/{}", facts.os, facts.arch),
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
            CheckedImage { spec: Some(spec), addressed: Mutex::new(Some(addressed)), fact },
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
