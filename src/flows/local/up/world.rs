//! What the steps of `up` do.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use envctl_cluster::terraform::guard::Allowed;
use envctl_local::network::{self, EnvironmentNetwork, NetworkRequest};
use envctl_local::router::{self, Change};
use envctl_local::{backing, images};
use envctl_model::record::{Phase, Record};
use envctl_model::{Step, Thing, ThingKind};
use envctl_programs::process::ProgramError;
use envctl_programs::terraform::Output;
use envctl_runner::{Context, Done, StepError, World};
use envctl_translate::Translation;

use super::Checked;
use super::plan::Action;
use crate::config::{Base, Project, Settings};
use crate::flows::accounts::{self, Guard, WhoeverIsSignedIn, unprotected};
use crate::flows::chart::{self, Objects};
use crate::flows::interrupts::Interrupts;
use crate::flows::known;
use crate::flows::local::certificates;
use crate::flows::local::compose::{self, Ownership};
use crate::flows::local::machine::engine;
use crate::flows::run::supervisor;
use crate::flows::step_error::{failed, failure, program, with_room_hint};
use crate::flows::terraform::{Place, Steps};
use crate::flows::up::Options;
use crate::flows::{Home, Store};
use crate::ui::Failure;

/// The local target, as `up` acts on it.
#[derive(Debug)]
pub(super) struct UpWorld<'a> {
    pub(super) base: &'a Base,
    pub(super) project: &'a Project,
    pub(super) settings: &'a Settings,
    pub(super) options: &'a Options,
    pub(super) interrupts: &'a Interrupts,
    pub(super) checked: &'a Checked,
    pub(super) store: &'a Store,
    pub(super) home: &'a Home,
    pub(super) agent_image: &'a str,
    pub(super) record: Mutex<Record>,
    pub(super) progress: Mutex<Progress>,
}

/// What steps have learnt for those after them.
#[derive(Debug, Default)]
pub(super) struct Progress {
    network: Option<EnvironmentNetwork>,
    digests: HashMap<String, String>,
    outputs: Vec<Output>,
    objects: Option<Objects>,
    translation: Option<Translation>,
    router_is_foreign: bool,
}

impl World for UpWorld<'_> {
    type Action = Action;

    async fn perform(&self, step: &Step<Action>, context: &Context) -> Result<Done, StepError> {
        let result = match &step.action {
            Action::Network => self.network().await,
            Action::BuildImage { image } => self.build_image(image, context).await,
            Action::Router => self.router().await,
            Action::Backing => self.backing(context).await,
            Action::Workspace => self.workspace(context).await,
            Action::ApplyTerraform => self.apply_terraform(context).await,
            Action::Render => self.render(context).await,
            Action::Translate => self.translate(),
            Action::Deliver => self.deliver(context).await,
        };
        result.map_err(with_room_hint)
    }
}

impl UpWorld<'_> {
    pub(super) fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn identity(&self) -> String {
        self.record().identity.clone()
    }

    pub(super) fn name(&self) -> &str {
        self.settings.name.value.as_str()
    }

    async fn network(&self) -> Result<Done, StepError> {
        let identity = self.identity();
        let owner = self.record().owner.clone();
        let labels = compose::environment_labels(
            self.name(),
            Ownership { identity: &identity, owner: &owner, project: &self.project.file.stack.project.value },
        );
        let labels: HashMap<_, _> = labels.into_iter().collect();
        let request = NetworkRequest {
            name: self.name(),
            identity: &identity,
            labels: &labels,
            base: network::DEFAULT_BASE,
            taken: &network::host_routes(),
        };
        let network =
            network::ensure(&self.checked.machine.engine, &request).await.map_err(|error| match error {
                network::NetworkError::NotOurs { .. } => StepError::Refused(error.to_string()),
                other => failed(other),
            })?;
        let summary = if network.created { "created" } else { "unchanged" };
        self.home.write_json("network.json", &network.subnet.0).map_err(failure)?;
        let done = Done::quiet(format!("{summary}, {}", network.subnet.0));
        self.progress().network = Some(network);
        Ok(done)
    }

    async fn build_image(&self, name: &str, context: &Context) -> Result<Done, StepError> {
        let checked = &self.checked.images[name];
        let Some(build) = checked.built() else { return Ok(Done::quiet("given")) };
        let reference = checked.fact.reference();
        let machine = &self.checked.machine;
        let there = images::inspect(&machine.reader, &reference).await.map_err(engine)?;
        let (facts, built) = match (there, build.addressed.lock().await.take()) {
            (Some(facts), _) => (facts, false),
            (None, None) => {
                return Err(StepError::Failed(format!("the image {reference} was removed while `up` ran")));
            }
            (None, Some(addressed)) => {
                let by = supervisor(self.interrupts, context);
                let line = |_, line: &str| context.progress(line);
                let built =
                    images::build(&machine.engine, &machine.cli, &by, &build.spec, addressed, line).await;
                (built.map_err(|e| image_failed(&e))?, true)
            }
        };
        context.failpoint("built")?;
        let short = facts.id.get(..19).unwrap_or(&facts.id).to_owned();
        self.progress().digests.insert(name.to_owned(), facts.id);
        let summary = if built { format!("built {short}") } else { format!("unchanged {short}") };
        Ok(Done::shown(summary).with([Thing::new(ThingKind::Image, reference)]))
    }

    async fn router(&self) -> Result<Done, StepError> {
        let identity = self.identity();
        let port = self.settings.router_port.value;
        let router = router::ensure(&self.checked.machine.engine, port, self.agent_image, &identity)
            .await
            .map_err(|error| match &error {
                router::RouterError::PortTaken { .. } => StepError::Failed(format!(
                    "{error}\nend that program, or choose another port: {}=PORT, or `routerPort` of the target",
                    crate::config::variables::ROUTER_PORT
                )),
                _ => failed(error),
            })?;
        let summary = match router.change {
            Change::None => "running",
            Change::Started => "started",
            Change::Created => "created",
            Change::Upgraded => "replaced by this version's",
        };
        self.progress().router_is_foreign = router.is_foreign;
        Ok(Done::quiet(summary).with([Thing::new(ThingKind::Router, router.name)]))
    }

    async fn backing(&self, context: &Context) -> Result<Done, StepError> {
        let Some(backing) = &self.checked.backing else { return Ok(Done::quiet("none")) };
        let things =
            backing.services.iter().map(|s| Thing::new(ThingKind::BackingService, s.container.clone()));
        let machine = &self.checked.machine;
        let by = supervisor(self.interrupts, context);
        let former: Option<serde_json::Value> = self.home.read_json("backing.json").map_err(failure)?;
        // `down` must be able to start them again when their file is gone: Terraform's destroy
        // works inside them.
        self.home.write_json("backing.json", &backing.resolved).map_err(failure)?;
        // What changed in the file, Compose itself finds and makes anew.
        let unchanged = former.as_ref() == Some(&backing.resolved);
        let running = backing::is_up(&machine.reader, backing).await.map_err(engine)?;
        if unchanged && running {
            return Ok(Done::quiet("running").with(things));
        }
        if let Some(before) = backing::before(&machine.reader, &backing.project).await.map_err(engine)? {
            self.store.claim_backing(&backing.project, &before).map_err(failure)?;
        }
        backing.up(&machine.cli, &by, |_, line| context.progress(line)).await.map_err(program)?;
        context.failpoint("started")?;
        let done = if running { Done::quiet("up to date") } else { Done::shown("started") };
        Ok(done.with(things))
    }

    fn terraform(&self) -> Result<Option<Steps<'_>>, StepError> {
        let target = &self.project.file.stack.targets[&self.settings.target.value];
        let (Some(stack), Some(record)) = (&target.terraform, self.record().terraform.clone()) else {
            return Ok(None);
        };
        let place = Place::of(self.home);
        let copy = place.archive(self.project, stack).map_err(failure)?;
        let facts = self.checked.facts(self.base, self.settings);
        let vars = known::terraform_variables(self.project, target, &facts).map_err(failure)?;
        let mut terraform = place.terraform(&self.base.programs, &record, &copy, vars);
        accounts::equip(&mut terraform, &self.project.file.stack.protected.accounts, &self.base.variables);
        Ok(Some(Steps {
            place,
            home: self.home,
            terraform,
            digest: copy.digest,
            interrupts: self.interrupts,
        }))
    }

    fn allowed(&self) -> Allowed {
        let stack = &self.project.file.stack;
        let terraform = stack.targets[&self.settings.target.value].terraform.as_ref();
        unprotected(&stack.protected.accounts, terraform.map(|t| t.trust.as_slice()).unwrap_or_default())
    }

    fn guard<'b>(
        &'b self,
        steps: &'b Steps<'_>,
        allowed: &'b Allowed,
        context: &Context,
    ) -> WhoeverIsSignedIn<'b> {
        let by = supervisor(self.interrupts, context);
        let guard = Guard { terraform: &steps.terraform, allowed, by };
        WhoeverIsSignedIn { guard, variables: &self.base.variables }
    }

    async fn workspace(&self, context: &Context) -> Result<Done, StepError> {
        let Some(steps) = self.terraform()? else { return Ok(Done::quiet("none")) };
        steps.init(context).await?;
        self.guard(&steps, &self.allowed(), context).check_state().await?;
        let claim = steps.claim(context).await?;
        steps.make(context, claim).await
    }

    async fn apply_terraform(&self, context: &Context) -> Result<Done, StepError> {
        let Some(steps) = self.terraform()? else { return Ok(Done::quiet("none")) };
        let (outputs, done) = {
            let allowed = self.allowed();
            let guard = self.guard(&steps, &allowed, context);
            steps.apply(context, self.options.yes, &guard).await?
        };
        self.progress().outputs = outputs;
        Ok(done)
    }

    async fn render(&self, context: &Context) -> Result<Done, StepError> {
        let facts = {
            let progress = self.progress();
            let mut facts =
                known::with_outputs(self.checked.facts(self.base, self.settings), &progress.outputs);
            for (image, digest) in &progress.digests {
                facts.set(format!("image.{image}.digest"), digest.as_str());
            }
            facts
        };
        let by = supervisor(self.interrupts, context);
        let objects = self
            .checked
            .render(
                self.base,
                self.project,
                self.settings,
                self.options,
                self.home,
                &facts,
                chart::Purpose::Deliver,
                &by,
            )
            .await
            .map_err(failure)?;
        self.progress().objects = Some(objects);
        Ok(Done::quiet("rendered"))
    }

    fn translate(&self) -> Result<Done, StepError> {
        let mut progress = self.progress();
        let (Some(objects), Some(network)) = (&progress.objects, &progress.network) else {
            return Err(StepError::Failed("the plan did not render before it translated".to_owned()));
        };
        let (identity, owner, expires) = {
            let record = self.record();
            (record.identity.clone(), record.owner.clone(), record.expires)
        };
        let ownership =
            Ownership { identity: &identity, owner: &owner, project: &self.project.file.stack.project.value };
        let translate = |certificate| {
            let (subnet, agent) = (network.subnet.0, self.agent_image);
            let translated = self.checked.translate(
                objects,
                self.settings,
                ownership,
                subnet,
                agent,
                expires,
                self.home,
                certificate,
            );
            translated.map_err(failure)
        };
        let mut translation = translate(None)?;
        if !translation.secured.is_empty() {
            let certificate = certificates::of(self.base, self.home, &translation.secured);
            translation = translate(Some(certificate.map_err(failure)?))?;
        }
        self.home.write_json("findings.json", &translation.findings).map_err(failure)?;
        self.home.write_json(compose::COMPOSE_FILE, &translation.compose).map_err(failure)?;
        compose::write_host_files(&translation.host_files).map_err(failure)?;
        let summary = format!("{} objects, {} dropped", translation.objects, translation.dropped);
        progress.translation = Some(translation);
        Ok(Done::shown(summary))
    }

    /// Whether the network was made by this run: then nothing that exists is attached to it.
    pub(super) fn network_is_new(&self) -> bool {
        self.progress().network.as_ref().is_some_and(|network| network.created)
    }

    pub(super) fn translation(&self) -> Result<Translation, StepError> {
        self.progress()
            .translation
            .clone()
            .ok_or_else(|| StepError::Failed("the plan did not translate before it delivered".to_owned()))
    }

    /// Whether hosts have TLS and the router cannot pass it on: they answer by http then, and are said to.
    pub(super) fn loses_tls(&self) -> bool {
        let mut progress = self.progress();
        let is_foreign = progress.router_is_foreign;
        let translation = progress.translation.as_mut().filter(|_| is_foreign);
        translation.is_some_and(|translation| !std::mem::take(&mut translation.secured).is_empty())
    }

    pub(super) fn compose_file(&self) -> PathBuf {
        self.home.file(compose::COMPOSE_FILE)
    }

    /// The record of an environment that is ready.
    pub(super) fn finish(&self) -> Result<Record, Failure> {
        let mut record = self.record().clone();
        record.phase = Phase::Ready;
        record.asleep = None;
        record.urls = self
            .progress()
            .translation
            .as_ref()
            .map(|t| compose::urls(t, self.settings.router_port.value, self.checked.backing.as_ref()))
            .unwrap_or_default();
        self.home.save_record(&record)?;
        Ok(record)
    }
}

fn image_failed(error: &images::ImageError) -> StepError {
    match error {
        images::ImageError::Program(ProgramError::Interrupted { .. }) => StepError::Interrupted,
        other => failed(other),
    }
}
