//! What the steps of `up` do.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use envctl_cluster::guardrails::Guards;
use envctl_cluster::objects::Kinds;
use envctl_cluster::registry::Lookup;
use envctl_cluster::secrets::Changed;
use envctl_cluster::terraform::archive;
use envctl_cluster::terraform::guard::State;
use envctl_cluster::{namespace, records, release, secrets};
use envctl_local::images;
use envctl_model::Plan;
use envctl_model::facts::Facts;
use envctl_model::record::{Phase, Record, TerraformRecord};
use envctl_model::stack::Target;
use envctl_model::{Step, Thing, ThingKind};
use envctl_programs::helm::{Access, Template};
use envctl_programs::process::ProgramError;
use envctl_programs::terraform::Output;
use envctl_runner::{Context, Done, StepError, World};
use serde_json::Value;

use super::Checked;
use super::plan::{Action, Outline, plan};
use crate::config::{Base, Project, Settings};
use crate::flows::accounts::Guard;
use crate::flows::chart;
use crate::flows::cluster::patiently::patiently;
use crate::flows::cluster::target::{cluster, explain};
use crate::flows::cluster::terraform::{allowed, equip, keep, state};
use crate::flows::images::Source;
use crate::flows::interrupts::Interrupts;
use crate::flows::known::{self, ImageFact};
use crate::flows::local::machine::engine;
use crate::flows::run::supervisor;
use crate::flows::step_error::{failed, failure, with_room_hint};
use crate::flows::terraform::{Place, Steps};
use crate::flows::up::Options;
use crate::ui::Failure;

/// The cluster target, as `up` acts on it.
#[derive(Debug)]
pub(super) struct UpWorld<'a> {
    pub(super) base: &'a Base,
    pub(super) project: &'a Project,
    pub(super) settings: &'a Settings,
    pub(super) options: &'a Options,
    pub(super) interrupts: &'a Interrupts,
    pub(super) checked: &'a Checked,
    pub(super) record: Mutex<Record>,
    pub(super) progress: Mutex<Progress>,
}

/// What steps have learnt for those after them.
#[derive(Debug, Default)]
pub(super) struct Progress {
    digests: HashMap<String, String>,
    outputs: Vec<Output>,
    pub(super) secrets: Changed,
    rendered: Option<Rendered>,
}

/// A chart as this cluster gets it.
#[derive(Debug, Clone)]
pub(super) struct Rendered {
    pub(super) template: Template,
    pub(super) access: Access,
    pub(super) objects: Vec<Value>,
}

impl World for UpWorld<'_> {
    type Action = Action;

    async fn perform(&self, step: &Step<Action>, context: &Context) -> Result<Done, StepError> {
        let result = match &step.action {
            Action::Namespace => self.namespace(context).await,
            Action::Secrets => self.secrets().await,
            Action::PushImage { image } => self.push_image(image, context).await,
            Action::AwaitImage { image } => self.await_image(image, context).await,
            Action::Workspace => self.workspace(context).await,
            Action::ApplyTerraform => self.apply_terraform(context).await,
            Action::Render => self.render(context).await,
            Action::TryOut => self.try_out().await,
            Action::Deliver => self.deliver(context).await,
        };
        result.map_err(with_room_hint)
    }
}

impl Checked {
    /// The plan.
    pub(crate) fn plan(&self, settings: &Settings, project: &Project) -> Result<Plan<Action>, Failure> {
        let images = self.images.iter().filter_map(|(name, image)| {
            let action = match image.source {
                Source::Build(_) => Action::PushImage { image: name.clone() },
                Source::Ci => Action::AwaitImage { image: name.clone() },
                Source::Given => return None,
            };
            Some((name.as_str(), image.fact.reference(), action))
        });
        let workspace = known::workspace(project, settings)?;
        let outline = Outline {
            name: settings.name.value.as_str(),
            images: images.collect(),
            secrets: self.secrets.names().count(),
            workspace: workspace.as_deref(),
            source: self.objects.source.clone(),
        };
        plan(&outline).map_err(Failure::failed)
    }
}

impl UpWorld<'_> {
    pub(super) fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn identity(&self) -> String {
        self.record().identity.clone()
    }

    pub(super) fn name(&self) -> &str {
        self.settings.name.value.as_str()
    }

    pub(super) fn target(&self) -> &Target {
        &self.project.file.stack.targets[&self.settings.target.value]
    }

    fn facts(&self) -> Facts {
        self.checked.facts(self.base, self.target(), self.settings)
    }

    async fn namespace(&self, context: &Context) -> Result<Done, StepError> {
        let record = self.record().clone();
        let guards = Guards::of(&record, self.target().guardrails.as_ref());
        let ensured =
            namespace::ensure(&self.checked.cluster, &guards, &record.identity).await.map_err(cluster)?;
        for stale in &ensured.stale {
            context.warn(format!(
                "{stale} of the namespace stays as it was made; a new environment gets the new one"
            ));
        }
        let done = if ensured.created { Done::shown("created, guarded") } else { Done::quiet("unchanged") };
        Ok(done.with([Thing::new(ThingKind::Namespace, record.name.to_string())]))
    }

    async fn secrets(&self) -> Result<Done, StepError> {
        let record = self.record().clone();
        let written = secrets::write(&self.checked.cluster, &record, self.checked.secrets.objects()).await;
        self.progress().secrets = written.map_err(cluster)?;
        Ok(Done::quiet("kept"))
    }

    /// Builds an image and pushes it, unless the registry has its content already.
    async fn push_image(&self, name: &str, context: &Context) -> Result<Done, StepError> {
        let image = &self.checked.images[name];
        let reference = image.fact.reference();
        let things = [Thing::new(ThingKind::Image, reference.clone())];
        if image.fact.digest.is_some() {
            return Ok(Done::shown("unchanged, in the registry").with(things));
        }
        let (Some(build), Some(machine)) = (image.built(), &self.checked.machine) else {
            return Ok(Done::quiet("given"));
        };
        let by = supervisor(self.interrupts, context);
        let there = images::inspect(&machine.reader, &reference).await.map_err(engine)?;
        if there.is_none() {
            let Some(addressed) = build.addressed.lock().await.take() else {
                return Err(failed(format!("the image {reference} was removed while `up` ran")));
            };
            let line = |_, line: &str| context.progress(line);
            let built = images::build(&machine.engine, &machine.cli, &by, &build.spec, addressed, line).await;
            built.map_err(|e| image_failed(&e))?;
        }
        context.failpoint("built")?;
        let login = self.checked.registries.login(&reference).await.map_err(cluster)?;
        let login = login.map(|login| (login.user, login.password));
        let pushed =
            images::push(&machine.engine, &reference, login, |status| context.progress(status)).await;
        let digest = pushed.map_err(|error| {
            failed(format!(
                "{error}\nmay your AWS identity push to this repository? `envctl whoami` shows who you are"
            ))
        })?;
        let short = digest.get(..19).unwrap_or(&digest).to_owned();
        self.progress().digests.insert(name.to_owned(), digest);
        let done = if there.is_some() { "pushed" } else { "built, pushed" };
        Ok(Done::shown(format!("{done} {short}")).with(things))
    }

    /// Waits until the registry has what CI builds for this commit. Registries tell nobody of a push.
    async fn await_image(&self, name: &str, context: &Context) -> Result<Done, StepError> {
        let reference = self.checked.images[name].fact.reference();
        let until = Instant::now() + self.options.timeout;
        loop {
            let why = match self.checked.registries.look_up(&reference).await {
                Lookup::Found { digest, .. } => {
                    self.progress().digests.insert(name.to_owned(), digest);
                    return Ok(Done::shown("from CI"));
                }
                Lookup::Invalid(why) => return Err(failed(format!("{reference}: {why}"))),
                Lookup::Missing => "CI has not pushed it yet".to_owned(),
                Lookup::Unknown(why) => why,
            };
            if Instant::now() >= until {
                return Err(failed(format!(
                    "{reference}: {why} after {} s (--wait-timeout)\n\
                     see whether CI runs for this commit, or build it here: --images build",
                    self.options.timeout.as_secs()
                )));
            }
            context.progress(format!("{reference}: {why}"));
            tokio::select! {
                () = tokio::time::sleep(AGAIN) => {}
                () = self.interrupts.token.cancelled() => return Err(StepError::Interrupted),
            }
        }
    }

    fn terraform(&self) -> Result<Option<Steps<'_>>, StepError> {
        let (Some(stack), Some(record)) = (&self.target().terraform, self.record().terraform.clone()) else {
            return Ok(None);
        };
        let home = &self.checked.home;
        let place = Place::of(home);
        let copy = place.archive(self.project, stack).map_err(failure)?;
        let vars = known::terraform_variables(self.project, self.target(), &self.facts()).map_err(failure)?;
        let mut terraform = place.terraform(&self.base.programs, &record, &copy, vars);
        equip(&mut terraform, &self.checked.cluster, &self.record());
        Ok(Some(Steps { place, home, terraform, digest: copy.digest, interrupts: self.interrupts }))
    }

    async fn workspace(&self, context: &Context) -> Result<Done, StepError> {
        let Some(steps) = self.terraform()? else { return Ok(Done::quiet("none")) };
        let target = &self.checked.cluster;
        steps.init(context).await?;
        let allowed = allowed(target, self.target().terraform.as_ref());
        let state = state(target, &steps.terraform, &allowed).await?;
        if state == State::Local {
            context.warn(
                "Terraform keeps its state on this machine: only from here can the environment be removed. \
                 A backend in S3 mends that",
            );
        }
        let archive = archive::place(&self.record(), &state);
        if self.record().terraform.as_ref().is_some_and(|terraform| terraform.claimed) {
            // Perhaps by an `up` from another machine.
            steps.place.claim_workspace(steps.home, &steps.terraform.workspace).map_err(failure)?;
        }
        let claim = steps.claim(context).await?;
        // Whoever dies from here on leaves nothing that the record does not know of: first where the root
        // will be kept, then the root, then that the workspace is ours, then the workspace.
        self.learn(|terraform| terraform.archive = Some(archive.clone())).await?;
        let record = self.record().clone();
        keep(target, &record, &archive, &steps.place).await?;
        context.failpoint("kept")?;
        self.learn(|terraform| terraform.claimed = true).await?;
        context.failpoint("claimed")?;
        steps.make(context, claim).await
    }

    /// Notes in the record what was learnt of Terraform, unless it is there already.
    async fn learn(&self, change: impl FnOnce(&mut TerraformRecord)) -> Result<(), StepError> {
        let mut record = self.record().clone();
        record.terraform.as_mut().map(change);
        if record == *self.record() {
            return Ok(());
        }
        records::save(&self.checked.cluster, &record).await.map_err(cluster)?;
        self.checked.home.save_record(&record).map_err(failure)?;
        *self.record() = record;
        Ok(())
    }

    async fn apply_terraform(&self, context: &Context) -> Result<Done, StepError> {
        let Some(steps) = self.terraform()? else { return Ok(Done::quiet("none")) };
        let allowed = allowed(&self.checked.cluster, self.target().terraform.as_ref());
        let by = supervisor(self.interrupts, context);
        let guard = Guard { terraform: &steps.terraform, allowed: &allowed, by };
        let (outputs, done) = steps.apply(context, self.options.yes, &guard).await?;
        self.progress().outputs = outputs;
        Ok(done)
    }

    async fn render(&self, context: &Context) -> Result<Done, StepError> {
        let facts = {
            let progress = self.progress();
            let mut facts = known::with_outputs(self.facts(), &progress.outputs);
            for (image, digest) in &progress.digests {
                let former = &self.checked.images[image].fact;
                let fact = ImageFact { digest: Some(digest.clone()), pushed: true, ..former.clone() };
                known::set_image(&mut facts, image, &fact);
            }
            facts
        };
        let inputs = self
            .checked
            .inputs(self.project, self.target(), self.settings, self.options, &facts)
            .map_err(failure)?;
        let home = &self.checked.home;
        let by = supervisor(self.interrupts, context);
        let template =
            chart::deliverable(self.base, self.project, home, inputs, &by).await.map_err(failure)?;
        let plugin = std::env::current_exe().map_err(failed)?;
        let scratch = home.file(chart::SCRATCH);
        let access = release::access(&self.checked.cluster, &scratch, &plugin).map_err(failed)?;
        let by = supervisor(self.interrupts, context);
        let reader = self.checked.cluster.reader();
        let identity = self.identity();
        let revision = release::newest(reader, self.name(), self.name(), &identity);
        let is_upgrade = revision.await.map_err(cluster)?.is_some();
        let (chart, through, by) = (&template, &access, &by);
        let rendered = patiently(reader, self.name(), context, || async move {
            Ok(chart.render_on(through, is_upgrade, by).await)
        })
        .await?;
        let objects = chart::parse(&rendered.manifests, "helm template").map_err(failure)?;
        let objects = objects.into_iter().map(|object| object.body).collect();
        self.progress().rendered = Some(Rendered { template, access, objects });
        Ok(Done::quiet("rendered"))
    }

    pub(super) fn rendered(&self) -> Result<Rendered, StepError> {
        let rendered = self.progress().rendered.clone();
        rendered.ok_or_else(|| failed("the plan did not render before it delivered"))
    }

    async fn try_out(&self) -> Result<Done, StepError> {
        let objects = self.rendered()?.objects;
        let kinds = Kinds::discover(self.checked.cluster.reader()).await.map_err(cluster)?;
        let name = self.name();
        let refusals = kinds.try_out(&self.checked.cluster, name, name, &objects).await.map_err(cluster)?;
        if refusals.is_empty() {
            let count =
                if objects.len() == 1 { "1 object".to_owned() } else { format!("{} objects", objects.len()) };
            return Ok(Done::shown(format!("{count}, accepted")));
        }
        let lines = refusals.iter().map(|r| format!("{}: {}\n  {}", r.object, r.message, r.advice));
        Err(StepError::Failed(format!(
            "the API server does not take what the chart renders; nothing was delivered\n{}",
            lines.collect::<Vec<_>>().join("\n")
        )))
    }

    /// The record of an environment that is ready, here and in the cluster.
    pub(super) async fn finish(&self) -> Result<Record, Failure> {
        let mut record = self.record().clone();
        record.phase = Phase::Ready;
        record.asleep = None;
        record.urls = self.progress().rendered.as_ref().map(|r| urls(&r.objects)).unwrap_or_default();
        records::save(&self.checked.cluster, &record).await.map_err(|e| explain(&e))?;
        self.checked.home.save_record(&record)?;
        Ok(record)
    }
}

/// How often a registry is asked whether CI has pushed.
const AGAIN: Duration = Duration::from_secs(5);

fn image_failed(error: &images::ImageError) -> StepError {
    match error {
        images::ImageError::Program(ProgramError::Interrupted { .. }) => StepError::Interrupted,
        other => failed(other),
    }
}

/// Where an environment answers: the hosts of its Ingresses, by HTTPS where they have a certificate.
fn urls(objects: &[Value]) -> Vec<String> {
    let mut urls = Vec::new();
    for ingress in objects.iter().filter(|o| o["kind"] == "Ingress") {
        let spec = &ingress["spec"];
        let encrypted: Vec<&str> = spec["tls"]
            .as_array()
            .into_iter()
            .flatten()
            .flat_map(|tls| tls["hosts"].as_array().into_iter().flatten())
            .filter_map(Value::as_str)
            .collect();
        for host in spec["rules"].as_array().into_iter().flatten().filter_map(|rule| rule["host"].as_str()) {
            let scheme = if encrypted.contains(&host) { "https" } else { "http" };
            let url = format!("{scheme}://{host}");
            if !urls.contains(&url) {
                urls.push(url);
            }
        }
    }
    urls
}
