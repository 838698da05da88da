//! Everything that can be checked before anything is written.

use std::collections::BTreeMap;
use std::path::PathBuf;

use envctl_local::backing::Backing;
use envctl_local::engine::EngineError;
use envctl_local::lookup::{self, Existence};
use envctl_model::facts::Facts;
use envctl_model::host::LOCAL_DOMAIN;
use envctl_model::plan::Plan;
use envctl_model::record::{BackingRecord, Phase, Place as Lives, Record};
use envctl_model::stack::Target;
use envctl_model::{Thing, ThingKind};
use envctl_programs::git::{WorkTree, work_tree};
use envctl_programs::process::Supervisor;
use envctl_translate::{Stage, Translation};
use envctl_wire::Certificate;
use ipnet::Ipv4Net;
use jiff::Timestamp;
use serde_json::Value;

use super::plan::{Action, Outline, plan};
use crate::config::{Base, Project, Settings};
use crate::flows::chart::{self, ChartInputs, Objects, Purpose};
use crate::flows::images::{self, StackImage};
use crate::flows::known::{self, Sources};
use crate::flows::live::Live;
use crate::flows::local::compose::{self, Ownership, Translated};
use crate::flows::local::machine::{Machine, explain};
use crate::flows::local::{agent, certificates};
use crate::flows::part::Part;
use crate::flows::secrets::Secrets;
use crate::flows::terraform::{Place, declared};
use crate::flows::up::{Images, Options};
use crate::flows::{Home, Store, check};
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
    pub(crate) images: BTreeMap<String, StackImage>,
    /// The backing services.
    pub(crate) backing: Option<Backing>,
    /// Secrets of the stack file.
    pub(crate) secrets: Secrets,
    /// What is worth saying before anything is done.
    pub(crate) warnings: Vec<String>,
    /// The record of an earlier `up`.
    pub(crate) former: Option<Record>,
    /// Which components run.
    pub(crate) part: Part,
    /// Which of them run the working tree.
    pub(crate) live: Live,
    /// What was rendered, with placeholders for what is not known yet.
    pub(crate) objects: Objects,
    /// What it translates to, with a placeholder subnet.
    pub(crate) translation: Translation,
    /// Sensitive outputs of the last `up`, not to be shown.
    pub(crate) sensitive: Vec<Value>,
    environment: String,
    domain: Option<String>,
    workspace: Option<String>,
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
    let workspace = known::workspace(project, settings)?;
    check::guard_names(&stack.protected, name, workspace.as_deref())?;
    let part = Part::named(stack, &options.only)?;
    check::check_files(project, target)?;
    check::has_terraform(base, target)?;
    let live = if options.dev { Live::of(project, &settings.target.value, target)? } else { Live::default() };
    let home = Store::new(base.state_dir.value.clone()).home(&settings.name.value);
    let former = home.record()?;
    check::same_project(project, former.as_ref())?;
    let machine = Machine::connect(base, former.as_ref().and_then(engine_id)).await?;
    let platform = {
        let facts = machine.engine.facts();
        format!("{}/{}", facts.os, facts.arch)
    };
    let supervisor = Supervisor::default();
    let git_program = PathBuf::from("git");
    let (compose_version, backing, git) = tokio::join!(
        machine.compose_version(),
        read_backing(project, target, &machine, &supervisor),
        work_tree(&git_program, &project.dir, &supervisor),
    );
    let (compose_version, backing) = (compose_version?, backing?);
    // A stack need not lie in a git repository, nor git be installed, unless a template asks for it.
    let git = git.ok().flatten();
    let source = options.images.unwrap_or(Images::Build);
    let tags = known::git_facts(git.as_ref());
    let images = images::of_stack(base, project, options, source, &platform, &tags).await?;

    let kept = Secrets::kept(&home)?;
    let (secrets, warnings) = Secrets::resolve(base, project, &kept, &supervisor).await?;
    let mut checked = Checked {
        secrets,
        warnings,
        machine,
        compose_version,
        git,
        images,
        backing,
        former,
        part,
        live,
        objects: Objects::default(),
        translation: Translation::default(),
        sensitive: Vec::new(),
        environment: name.to_owned(),
        domain: target.domain().map(str::to_owned),
        workspace,
    };
    // What is known of Terraform's outputs from the last `up`, and placeholders for the rest.
    let outputs = Place::of(&home).outputs(&home)?;
    let facts = known::with_placeholders(checked.facts(base, settings), &declared(project, target).outputs());
    let facts = known::with_outputs(facts, &outputs);
    let outputs = outputs.into_iter().filter(|o| o.sensitive).map(|o| o.value);
    checked.sensitive = outputs.chain(checked.secrets.values()).collect();
    known::terraform_variables(project, target, &checked.facts(base, settings))?;
    let render = async |checked: &Checked| {
        checked.render(base, project, settings, options, &home, &facts, Purpose::Check, &supervisor).await
    };
    checked.objects = render(&checked).await?;
    if !options.only.is_empty() {
        checked.part = checked.part.without_the_rest(stack, &checked.objects.list)?;
        checked.objects = render(&checked).await?;
    }
    for component in checked.live.without_workload(&checked.objects.list) {
        if !checked.part.left_out().contains(&component) {
            checked
                .warnings
                .push(format!("`dev` of {component}: nothing that is delivered is of this component"));
        }
    }
    checked.translation = checked.translate_as_it_is(&checked.objects, settings, &home)?;
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
            .chain(names(compose::container_names(&self.translation, project), ThingKind::Container))
            .chain(names(compose::volume_names(&self.translation, project), ThingKind::Volume));
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
            .filter(|(_, image)| image.built().is_some())
            .map(|(name, image)| (name.as_str(), image.fact.reference()))
            .collect();
        let project = &self.environment;
        let outline = Outline {
            images,
            backing: self.backing.as_ref().map(|b| b.services.len()),
            workspace: self.workspace.as_deref(),
            source: self.objects.source.clone(),
            containers: compose::container_names(&self.translation, project),
            volumes: compose::volume_names(&self.translation, project),
            network: project.clone(),
        };
        plan(&outline).map_err(Failure::failed)
    }

    /// The facts that are known without Terraform.
    pub(crate) fn facts(&self, base: &Base, settings: &Settings) -> Facts {
        let images = self.images.iter().map(|(name, image)| (name.clone(), image.fact.clone())).collect();
        let expires = self.former.as_ref().and_then(|f| f.expires).map(|at: Timestamp| at.to_string());
        let mut facts = known::facts(&Sources {
            settings,
            owner: &base.owner,
            expires,
            git: self.git.as_ref(),
            images: &images,
            domain: self.domain.as_deref(),
            router_port: Some(settings.router_port.value),
            backing: self.backing.as_ref().map(|b| b.project.as_str()),
        });
        self.secrets.set_facts(&mut facts);
        facts
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
        let target = &project.file.stack.targets[&settings.target.value];
        let stack = &project.file.stack;
        let mut values = known::chart_values(project, target, facts, options.images == Some(Images::Pinned))?;
        self.part.switch(stack, &mut values)?;
        let (files, set) = (&options.values, &options.set);
        let inputs = ChartInputs { target, name: settings.name.value.as_str(), values, files, set };
        let mut objects = chart::render(base, project, home, inputs, purpose, supervisor).await?;
        let bodies: Vec<_> = objects.list.iter().map(|object| &object.body).collect();
        self.secrets.refuse_twice(project, &bodies)?;
        for secret in self.secrets.objects() {
            objects.list.extend(chart::parse(&secret.to_string(), "secrets")?);
        }
        certificates::add(base, home, settings.name.value.as_str(), &mut objects.list, purpose)?;
        self.part.leave_out(stack, &mut objects.list);
        Ok(objects)
    }

    /// Translates objects for a subnet.
    #[allow(clippy::too_many_arguments, reason = "all of them live for one call")]
    pub(crate) fn translate(
        &self,
        objects: &Objects,
        settings: &Settings,
        ownership: Ownership<'_>,
        subnet: Ipv4Net,
        agent_image: &str,
        expires: Option<Timestamp>,
        home: &Home,
        certificate: Option<Certificate>,
    ) -> Result<Translation, Failure> {
        let stage = match Phase::begin(self.former.as_ref().map(|f| f.phase)) {
            Phase::Updating => Stage::Upgrade,
            _ => Stage::Install,
        };
        compose::translate(&Translated {
            objects,
            name: settings.name.value.as_str(),
            domain: self.domain.as_deref().unwrap_or(LOCAL_DOMAIN),
            ownership,
            engine: self.machine.engine.facts(),
            compose_version: self.compose_version,
            subnet,
            agent_image,
            router_port: settings.router_port.value,
            warden: self.machine.warden(settings, expires),
            backing: self.backing.as_ref(),
            stage,
            host_files: home.file("files"),
            live: self.live.sources(&objects.list),
            certificate,
            replacing: self.secrets.digests(),
        })
    }

    /// Translates objects as they are delivered, as far as the last `up` tells.
    pub(crate) fn translate_as_it_is(
        &self,
        objects: &Objects,
        settings: &Settings,
        home: &Home,
    ) -> Result<Translation, Failure> {
        let ownership = self.former.as_ref().map_or(Ownership::UNKNOWN, |former| Ownership {
            identity: &former.identity,
            owner: &former.owner,
            project: &former.project,
        });
        let subnet = home.read_json("network.json")?.unwrap_or(compose::PLACEHOLDER_SUBNET);
        let agent = agent::for_architecture(&self.machine.engine.facts().arch)?;
        let image = envctl_local::agent_image::reference(agent);
        let expires = self.former.as_ref().and_then(|former| former.expires);
        self.translate(objects, settings, ownership, subnet, &image, expires, home, None)
    }

    /// The backing services for the record.
    pub(crate) fn backing_record(&self, home: &Home) -> Option<BackingRecord> {
        self.backing.as_ref().map(|backing| BackingRecord {
            project: backing.project.clone(),
            file: home.file("backing.json"),
            network: backing.network.clone(),
        })
    }
}

/// The Engine that holds an environment.
fn engine_id(record: &Record) -> Option<&str> {
    match &record.place {
        Lives::Compose(place) => Some(&place.engine_id),
        Lives::Eks(_) => None,
    }
}

fn names(names: Vec<String>, kind: ThingKind) -> impl Iterator<Item = Thing> {
    names.into_iter().map(move |name| Thing::new(kind, name))
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
