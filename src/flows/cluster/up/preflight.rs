//! Everything that can be checked before anything is written.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use envctl_cluster::guardrails::Guards;
use envctl_cluster::namespace::{self, Found};
use envctl_cluster::objects::Kinds;
use envctl_cluster::registry::{Lookup, Registries};
use envctl_cluster::terraform::guard;
use envctl_cluster::{Intent, VerifiedCluster, nodes, records, secrets};
use envctl_model::facts::Facts;
use envctl_model::record::{ClusterObject, Place as Lives, Record};
use envctl_model::stack::Target;
use envctl_programs::git::{WorkTree, is_pushed, work_tree};
use envctl_programs::process::Supervisor;
use envctl_programs::terraform::Backend;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::fits::{self, Wanted};
use crate::config::{Base, Project, Settings};
use crate::flows::chart::{self, ChartInputs, Objects, Purpose};
use crate::flows::check;
use crate::flows::cluster::target::{Destination, explain, place};
use crate::flows::cluster::terraform::allowed;
use crate::flows::images::{self, StackImage};
use crate::flows::known::{self, Sources};
use crate::flows::local::machine::Machine;
use crate::flows::part::Part;
use crate::flows::secrets::Secrets;
use crate::flows::terraform::{Place, declared};
use crate::flows::up::{Images, Options, begin};
use crate::flows::{Home, Store};
use crate::ui::Failure;

/// How long after the wait for readiness an `up` may still be at work.
const AFTERWARDS: SignedDuration = SignedDuration::from_mins(5);

/// What was checked, and what was learnt on the way.
#[derive(Debug)]
pub(crate) struct Checked {
    /// The cluster.
    pub(crate) cluster: VerifiedCluster,
    /// How it was reached, and as whom.
    pub(crate) destination: Destination,
    /// The environment's directory on this machine.
    pub(crate) home: Home,
    /// Asks registries.
    pub(crate) registries: Registries,
    /// The Engine of this machine, if an image has to be built.
    pub(crate) machine: Option<Machine>,
    /// How many nodes there are, by platform.
    pub(crate) platforms: BTreeMap<String, usize>,
    /// Images are those that the values name.
    pinned: bool,
    /// The git working tree.
    pub(crate) git: Option<WorkTree>,
    /// Images to build, by name.
    pub(crate) images: BTreeMap<String, StackImage>,
    /// The record of an earlier `up`.
    pub(crate) former: Option<Record>,
    /// Which components run.
    pub(crate) part: Part,
    /// What was rendered, with placeholders for what is not known yet.
    pub(crate) objects: Objects,
    /// Objects that belong to the whole cluster.
    pub(crate) cluster_wide: Vec<ClusterObject>,
    /// Secrets of the stack file.
    pub(crate) secrets: Secrets,
    /// What is worth saying before anything is done.
    pub(crate) warnings: Vec<String>,
    /// Sensitive outputs of the last `up`, not to be shown.
    pub(crate) sensitive: Vec<Value>,
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
    if options.dev {
        return Err(Failure::Usage(format!(
            "--dev mounts the working tree of this machine, and target `{}` is a cluster\n  \
             name a target of kind `compose` with --target, or type `envctl up` without it: that takes an image",
            settings.target.value
        )));
    }
    check::check_files(project, target)?;
    check::has_terraform(base, target)?;
    let destination = Destination::of_target(base, &stack.protected, target)
        .ok_or_else(|| Failure::Usage(format!("target `{}` is not of kind `eks`", settings.target.value)))?;
    let store = Store::new(base.state_dir.value.clone());
    let home = store.cluster_home(&destination.key(), &settings.name.value);
    let supervisor = Supervisor::default();
    let git_program = PathBuf::from("git");
    let (examined, git) =
        tokio::join!(destination.examine(), work_tree(&git_program, &project.dir, &supervisor));
    let git = git.ok().flatten();
    let until = SignedDuration::try_from(options.timeout).unwrap_or(SignedDuration::MAX);
    let until = Timestamp::now().saturating_add(until.saturating_add(AFTERWARDS)).unwrap_or(Timestamp::MAX);
    let intent = Intent { namespace: name, workspace: workspace.as_deref().or(Some(name)), until };
    let cluster = examined.verify(&stack.protected, intent).map_err(|e| explain(&e))?;
    let (former, platforms, there) = tokio::join!(
        former(&cluster, project, name),
        nodes::platforms(cluster.reader()),
        secrets::read(cluster.reader(), name)
    );
    let (former, platforms) = (former?, platforms.map_err(|e| explain(&e))?);
    let there = Secrets::of_cluster(there.map_err(|e| explain(&e))?);
    // A run that was killed before the namespace was there has kept them on this machine alone.
    let ours_here = home.is_of(former.as_ref().map(|former| former.identity.as_str()))?;
    let there = if there.is_empty() && ours_here { Secrets::kept(&home)? } else { there };
    let (secrets, warnings) = Secrets::resolve(base, project, &there, &supervisor).await?;
    let source = image_source(project, options, git.as_ref(), &supervisor).await;
    let tags = known::git_facts(git.as_ref());
    let platform = build_platform(&platforms);
    let images = images::of_stack(base, project, options, source, &platform, &tags).await?;
    let registries = Registries::new(cluster.session());
    let mut checked = Checked {
        registries,
        machine: None,
        platforms,
        pinned: source == Images::Pinned,
        cluster,
        destination,
        home,
        git,
        images,
        former,
        part,
        objects: Objects::default(),
        cluster_wide: Vec::new(),
        secrets,
        warnings,
        sensitive: Vec::new(),
    };
    let namespace_is_there = checked.free_namespace(name).await?;
    checked.check_state(target).await?;
    checked.look_up_images().await;
    if checked.images.values().any(|image| image.built().is_some() && image.fact.digest.is_none()) {
        // Before anything is written: without an Engine nothing could be built.
        checked.machine = Some(Machine::connect(base, None).await?);
    }
    let declared = declared(project, target);
    // What is known of Terraform's outputs from the last `up`, and placeholders for the rest.
    let outputs = if ours_here { Place::of(&checked.home).outputs(&checked.home)? } else { Vec::new() };
    let facts = known::with_placeholders(checked.facts(base, target, settings), &declared.outputs());
    let facts = known::with_outputs(facts, &outputs);
    let outputs = outputs.into_iter().filter(|o| o.sensitive).map(|o| o.value);
    checked.sensitive = outputs.chain(checked.secrets.values()).collect();
    let variables = known::terraform_variables(project, target, &checked.facts(base, target, settings))?;
    // What cannot be told without running it, the guard of the plan tells before anything is applied.
    let providers = declared.providers(workspace.as_deref().unwrap_or(name), &variables);
    guard::check_providers(&providers, &allowed(&checked.cluster, target.terraform.as_ref()))
        .map_err(|e| explain(&e))?;
    if !options.only.is_empty() {
        let inputs = checked.inputs(project, target, settings, options, &facts)?;
        let whole = chart::render(base, project, &checked.home, inputs, Purpose::Check, &supervisor).await?;
        checked.part = checked.part.without_the_rest(stack, &whole.list)?;
        checked.part.needs_switches(stack)?;
    }
    let inputs = checked.inputs(project, target, settings, options, &facts)?;
    let (objects, kinds) = tokio::join!(
        chart::render(base, project, &checked.home, inputs, Purpose::Check, &supervisor),
        Kinds::discover(checked.cluster.reader())
    );
    checked.objects = objects?;
    checked.part.is_gone_from(stack, &checked.objects.list)?;
    let bodies: Vec<_> = checked.objects.list.iter().map(|object| &object.body).collect();
    checked.secrets.refuse_twice(project, &bodies)?;
    let objects: Vec<Value> = bodies.into_iter().cloned().collect();
    let kinds = kinds.map_err(|e| explain(&e))?;
    let guards = checked.guards(base, project, settings, target)?;
    let to_come: Vec<_> = checked.images.values().map(|image| image.fact.pinned_reference()).collect();
    let wanted = Wanted {
        namespace: name,
        namespace_is_there,
        objects: &objects,
        guards: &guards,
        platforms: &checked.platforms,
        to_come: &to_come,
    };
    let fit = fits::compare(checked.cluster.reader(), &kinds, &checked.registries, &wanted).await?;
    checked.warnings.extend(fit.warnings);
    checked.cluster_wide = fit.cluster_wide;
    Ok(checked)
}

/// Where images come from where nobody said: from CI, if it has what is checked out; else they are built.
pub(crate) async fn image_source(
    project: &Project,
    options: &Options,
    git: Option<&WorkTree>,
    supervisor: &Supervisor,
) -> Images {
    if let Some(chosen) = options.images {
        return chosen;
    }
    let by_ci = project.file.stack.images.values().all(|image| image.ci_tag.is_some());
    let clean = git.is_some_and(|tree| !tree.dirty && tree.commit.is_some());
    if by_ci && clean && is_pushed(Path::new("git"), &project.dir, supervisor).await.unwrap_or(false) {
        return Images::Ci;
    }
    Images::Build
}

/// The platform that images are built for: that of most nodes.
pub(crate) fn build_platform(platforms: &BTreeMap<String, usize>) -> String {
    let most = platforms.iter().max_by_key(|(_, nodes)| **nodes);
    most.map_or_else(|| "linux/amd64".to_owned(), |(platform, _)| platform.clone())
}

/// The record of an earlier `up` of this name, if it was ours.
/// The record of an earlier `up`, of this project and owner.
pub(super) async fn former(
    cluster: &VerifiedCluster,
    project: &Project,
    name: &str,
) -> Result<Option<Record>, Failure> {
    let Some(stored) = records::read(cluster.reader(), name).await.map_err(|e| explain(&e))? else {
        return Ok(None);
    };
    let me = &cluster.facts().username;
    if stored.owner != *me {
        return Err(Failure::Refused(format!(
            "environment `{name}` belongs to {}, and you are {me}\n  choose another name with --name",
            stored.owner
        )));
    }
    let record = stored.record.map_err(Failure::failed)?;
    check::same_project(project, Some(&record))?;
    Ok(Some(record))
}

impl Checked {
    /// The guardrails that the environment would get.
    fn guards(
        &self,
        base: &Base,
        project: &Project,
        settings: &Settings,
        target: &Target,
    ) -> Result<Guards, Failure> {
        let lives = Lives::Eks(place(self.cluster.facts(), &project.file.stack.protected, Vec::new()));
        let has_state = self.has_state();
        let record = begin(base, project, settings, self.former.clone(), lives, BTreeMap::new(), has_state)?;
        Ok(Guards::of(&record, target.guardrails.as_ref()))
    }

    /// A namespace of our name that is not this environment's is neither adopted nor changed. Whether
    /// ours is there.
    async fn free_namespace(&self, name: &str) -> Result<bool, Failure> {
        let identity = self.former.as_ref().map(|former| former.identity.as_str()).unwrap_or_default();
        let found = namespace::find(self.cluster.reader(), name, identity).await.map_err(|e| explain(&e))?;
        match found {
            Found::NotOurs { whose } => Err(Failure::Refused(format!(
                "namespace `{name}` exists already: {whose}\n  choose another name with --name"
            ))),
            Found::Ours { terminating: true, .. } => Err(Failure::Refused(format!(
                "namespace `{name}` is still being removed\n  type `envctl down` to see what holds it, then `envctl up` again"
            ))),
            Found::Ours { .. } => Ok(true),
            Found::Missing => Ok(false),
        }
    }

    /// Whether Terraform may have made something in the environment.
    pub(crate) fn has_state(&self) -> bool {
        let former = self.former.as_ref().and_then(|former| former.terraform.as_ref());
        former.is_some_and(|former| former.claimed)
    }

    /// The bucket of Terraform's state is there and of an allowed account, as far as the stack file names it:
    /// what the root adds is known after `terraform init`.
    async fn check_state(&self, target: &Target) -> Result<(), Failure> {
        let Some(terraform) = &target.terraform else { return Ok(()) };
        let given = &terraform.backend_config;
        if !["bucket", "key"].iter().all(|key| given.contains_key(*key)) {
            return Ok(());
        }
        // Terraform reads what is given as text by the types of its settings.
        let typed = |text: &String| text.parse().map_or_else(|_| Value::from(text.as_str()), Value::Bool);
        let config = given.iter().map(|(key, text)| (key.clone(), typed(text))).collect();
        let backend = Backend { kind: "s3".to_owned(), config };
        let allowed = allowed(&self.cluster, Some(terraform));
        let state = guard::check_backend(self.cluster.session(), Some(&backend), &allowed).await;
        state.map(drop).map_err(|e| explain(&e))
    }

    /// Which images the registry has already, and by which digest.
    async fn look_up_images(&mut self) {
        let registries = &self.registries;
        let lookups = self.images.values_mut().map(|image| async move {
            if let Lookup::Found { digest, .. } = registries.look_up(&image.fact.reference()).await {
                image.fact.digest = Some(digest);
                image.fact.pushed = true;
            }
        });
        futures_util::future::join_all(lookups).await;
    }

    /// The facts that are known without Terraform.
    pub(crate) fn facts(&self, base: &Base, target: &Target, settings: &Settings) -> Facts {
        let images = self.images.iter().map(|(name, image)| (name.clone(), image.fact.clone())).collect();
        let expires = self.former.as_ref().and_then(|f| f.expires).map(|at: Timestamp| at.to_string());
        let mut facts = known::facts(&Sources {
            settings,
            owner: &base.owner,
            expires,
            git: self.git.as_ref(),
            images: &images,
            domain: target.domain(),
            router_port: None,
            backing: None,
        });
        self.secrets.set_facts(&mut facts);
        facts
    }

    /// What the chart is rendered from.
    pub(crate) fn inputs<'a>(
        &self,
        project: &'a Project,
        target: &'a Target,
        settings: &'a Settings,
        options: &'a Options,
        facts: &Facts,
    ) -> Result<ChartInputs<'a>, Failure> {
        let mut values = known::chart_values(project, target, facts, self.pinned)?;
        self.part.switch(&project.file.stack, &mut values)?;
        let (files, set) = (&options.values, &options.set);
        Ok(ChartInputs { target, name: settings.name.value.as_str(), values, files, set })
    }
}
