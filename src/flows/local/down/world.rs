//! What the steps of `down` do. Each adds to the receipt.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use envctl_local::backing::{self, Backing, BackingRef};
use envctl_local::{images, remove, router};
use envctl_model::receipt::{End, Item};
use envctl_model::record::{ComposePlace, Record};
use envctl_model::{Receipt, Step, Thing, ThingKind};
use envctl_runner::{Context, Done, StepError, World};

use super::plan::Action;
use crate::config::Base;
use crate::flows::accounts::{self, Guard, WhoeverIsSignedIn, unprotected};
use crate::flows::interrupts::Interrupts;
use crate::flows::local::machine::{Machine, engine};
use crate::flows::run::supervisor;
use crate::flows::step_error::{failed, failure, program};
use crate::flows::terraform::{Place, Steps};
use crate::flows::{Home, Store};

/// The local target, as `down` acts on it.
#[derive(Debug)]
pub(super) struct DownWorld<'a> {
    pub(super) base: &'a Base,
    pub(super) interrupts: &'a Interrupts,
    pub(super) machine: &'a Machine,
    pub(super) store: &'a Store,
    pub(super) home: &'a Home,
    pub(super) record: &'a Record,
    pub(super) compose: &'a ComposePlace,
    /// Everything the journal says was created or meant to be.
    pub(super) things: BTreeSet<Thing>,
    /// Images that other environments' records name: reference to environments.
    pub(super) images_in_use: BTreeMap<String, BTreeSet<String>>,
    pub(super) receipt: Mutex<Receipt>,
}

impl World for DownWorld<'_> {
    type Action = Action;

    async fn perform(&self, step: &Step<Action>, context: &Context) -> Result<Done, StepError> {
        match step.action {
            Action::Pods => self.pods().await,
            Action::StartBacking => self.start_backing(context).await,
            Action::PlanDestroy => self.plan_destroy(context).await,
            Action::FindResources => self.find(context).await,
            Action::DestroyTerraform => self.destroy(context).await,
            Action::DeleteWorkspace => self.delete_workspace(context).await,
            Action::ReleaseBacking => self.release_backing(context).await,
            Action::ReleaseRouter => self.release_router().await,
            Action::Images => self.images().await,
        }
    }
}

impl DownWorld<'_> {
    fn add(&self, ends: impl IntoIterator<Item = (End, Item)>) {
        let mut receipt = self.receipt.lock().unwrap_or_else(PoisonError::into_inner);
        for (end, item) in ends {
            receipt.add(end, item);
        }
    }

    async fn pods(&self) -> Result<Done, StepError> {
        let ends = remove::environment(&self.machine.engine, &self.record.identity).await.map_err(engine)?;
        let mut counts: BTreeMap<ThingKind, usize> = BTreeMap::new();
        for (_, item) in &ends {
            *counts.entry(item.kind).or_default() += 1;
        }
        self.add(ends);
        let counts: Vec<_> = counts
            .into_iter()
            .map(|(kind, n)| if n == 1 { format!("1 {kind}") } else { format!("{n} {kind}s") })
            .collect();
        let counts = if counts.is_empty() { "nothing".to_owned() } else { counts.join(", ") };
        Ok(Done::shown(format!("{counts} removed")))
    }

    async fn start_backing(&self, context: &Context) -> Result<Done, StepError> {
        let Some(record) = &self.compose.backing else { return Ok(Done::quiet("none")) };
        let by = supervisor(self.interrupts, context);
        let cli = &self.machine.cli;
        let backing = Backing::read(cli, &by, &record.file).await.map_err(failed)?;
        if backing::is_up(&self.machine.reader, &backing).await.map_err(engine)? {
            return Ok(Done::quiet("running"));
        }
        backing.up(cli, &by, |_, line| context.progress(line)).await.map_err(program)?;
        Ok(Done::shown("started again, for Terraform"))
    }

    /// `None` where `up` died before it had copied the root, or before the workspace was ours: then
    /// nothing was made by it either.
    fn terraform(&self) -> Result<Option<Steps<'_>>, StepError> {
        let Some(record) = &self.record.terraform else { return Ok(None) };
        let place = Place::of(self.home);
        let made = self.things.contains(&Thing::new(ThingKind::Workspace, record.workspace.clone()));
        if !made && !place.owns_workspace(self.home, &record.workspace).map_err(failure)? {
            return Ok(None);
        }
        let Some(copy) = place.archived().map_err(failure)? else { return Ok(None) };
        let vars = place.variables(self.home).map_err(failure)?;
        let mut terraform = place.terraform(&self.base.programs, record, &copy, vars);
        accounts::equip(&mut terraform, &self.protected(), &self.base.variables);
        Ok(Some(Steps {
            place,
            home: self.home,
            terraform,
            digest: copy.digest,
            interrupts: self.interrupts,
        }))
    }

    /// The accounts that were protected at the last `up`, and those that are now: older records know of none.
    fn protected(&self) -> Vec<String> {
        let mut accounts = self.compose.protected.accounts.clone();
        if let Ok(project) = self.base.stack()
            && project.file.stack.project.value == self.record.project
        {
            accounts.extend(project.file.stack.protected.accounts);
        }
        accounts
    }

    async fn plan_destroy(&self, context: &Context) -> Result<Done, StepError> {
        let Some(steps) = self.terraform()? else { return Ok(Done::quiet("nothing to destroy")) };
        let trust = self.record.terraform.as_ref().map(|terraform| terraform.trust.as_slice());
        let allowed = unprotected(&self.protected(), trust.unwrap_or_default());
        let by = supervisor(self.interrupts, context);
        let guard = Guard { terraform: &steps.terraform, allowed: &allowed, by };
        let guard = WhoeverIsSignedIn { guard, variables: &self.base.variables };
        steps.init(context).await?;
        guard.check_state().await?;
        steps.plan_destroy(context, &guard).await
    }

    async fn find(&self, context: &Context) -> Result<Done, StepError> {
        let Some(steps) = self.terraform()? else { return Ok(Done::quiet("nothing to destroy")) };
        steps.find(context).await
    }

    async fn destroy(&self, context: &Context) -> Result<Done, StepError> {
        let (Some(steps), Some(record)) = (self.terraform()?, &self.record.terraform) else {
            return Ok(Done::quiet("nothing to destroy"));
        };
        let (known, done) = steps.destroy(context).await?;
        self.add(steps.look_up(context, &known, &record.lookup).await?);
        Ok(done)
    }

    async fn delete_workspace(&self, context: &Context) -> Result<Done, StepError> {
        let Some(steps) = self.terraform()? else { return Ok(Done::quiet("not ours")) };
        self.add([steps.delete_workspace(context).await?]);
        Ok(Done::quiet("deleted"))
    }

    async fn release_backing(&self, context: &Context) -> Result<Done, StepError> {
        let Some(record) = &self.compose.backing else { return Ok(Done::quiet("none")) };
        let by = supervisor(self.interrupts, context);
        let of = BackingRef { project: &record.project, network: &record.network };
        let me = self.record.name.as_str();
        let started = self.store.backing(&record.project).map_err(failure)?;
        let machine = self.machine;
        let ends = backing::release(&machine.engine, &machine.cli, &by, &of, me, started.as_ref())
            .await
            .map_err(failed)?;
        let kept = ends.iter().any(|(end, _)| *end == End::Kept);
        if !kept {
            self.store.forget_backing(&record.project);
            self.add(self.backing_images(&record.file).await?);
        }
        self.add(ends);
        Ok(Done::quiet(if kept { "kept" } else { "removed" }))
    }

    /// Images that were built for the backing services stay: they belong to the user's Compose file,
    /// and the next environment starts in seconds with them.
    async fn backing_images(&self, file: &Path) -> Result<Vec<(End, Item)>, StepError> {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        let compose: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
        let mut kept = Vec::new();
        for service in compose["services"].as_object().into_iter().flat_map(|s| s.values()) {
            let Some(image) = service["image"].as_str().filter(|_| service["build"].is_object()) else {
                continue;
            };
            if images::inspect(&self.machine.reader, image).await.map_err(engine)?.is_some() {
                let evidence = format!(
                    "built for the backing services, for the next `up`; `docker image rm {image}` removes it"
                );
                let id = image.to_owned();
                kept.push((
                    End::Kept,
                    Item { kind: ThingKind::Image, id, evidence, used_by: vec![], remove: None },
                ));
            }
        }
        Ok(kept)
    }

    async fn release_router(&self) -> Result<Done, StepError> {
        let ends =
            router::remove_unused(&self.machine.engine, self.compose.router_port).await.map_err(engine)?;
        let kept = ends.iter().any(|(end, _)| *end == End::Kept);
        self.add(ends);
        Ok(Done::quiet(if kept { "kept" } else { "removed" }))
    }

    async fn images(&self) -> Result<Done, StepError> {
        let references = self.things.iter().filter(|t| t.kind == ThingKind::Image).map(|t| &t.id);
        for reference in references {
            let end = images::remove_unused(&self.machine.engine, reference, &self.images_in_use).await;
            self.add([end.map_err(engine)?]);
        }
        Ok(Done::quiet("removed"))
    }
}
