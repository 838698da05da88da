//! What the steps of `down` do. Each adds to the receipt.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use envctl_local::backing::{self, Backing, BackingRef};
use envctl_local::{images, remove, router};
use envctl_model::receipt::{End, Item};
use envctl_model::record::{Record, TerraformRecord};
use envctl_model::{Receipt, Step, Thing, ThingKind};
use envctl_programs::process::{Command, Input, ProgramError};
use envctl_programs::terraform::{Copy, Purpose, Workspace};
use envctl_runner::{Context, Done, StepError, World};

use super::plan::Action;
use crate::flows::machine::{Interrupts, Machine};
use crate::flows::run::supervisor;
use crate::flows::terraform::{Known, Place};
use crate::flows::up::{engine, failed, failure, program, terraform_failed};
use crate::flows::{Home, Store};

/// The exit code by which a lookup program says that a thing is gone.
const LOOKUP_GONE: i32 = 3;

/// The local target, as `down` acts on it.
#[derive(Debug)]
pub(super) struct DownWorld<'a> {
    pub(super) interrupts: &'a Interrupts,
    pub(super) machine: &'a Machine,
    pub(super) store: &'a Store,
    pub(super) home: &'a Home,
    pub(super) record: &'a Record,
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
        let Some(record) = &self.record.backing else { return Ok(Done::quiet("none")) };
        let by = supervisor(self.interrupts, context);
        let cli = &self.machine.cli;
        let backing = Backing::read(cli, &by, &record.file).await.map_err(failed)?;
        if backing::is_up(&self.machine.reader, &backing).await.map_err(engine)? {
            return Ok(Done::quiet("running"));
        }
        backing.up(cli, &by, |_, line| context.progress(line)).await.map_err(program)?;
        Ok(Done::shown("started again, for Terraform"))
    }

    fn terraform(&self) -> Result<Option<(Place, TerraformRecord, Copy)>, StepError> {
        let Some(record) = &self.record.terraform else { return Ok(None) };
        let place = Place::of(self.home);
        let copy = place.archived().map_err(failure)?;
        // `up` died before it had copied the root: then nothing was made by it either.
        Ok(copy.map(|copy| (place, record.clone(), copy)))
    }

    /// Whether an `up` made the workspace, or was about to.
    fn owns_workspace(&self, place: &Place, workspace: &str) -> Result<bool, StepError> {
        let made = self.things.contains(&Thing::new(ThingKind::Workspace, workspace));
        Ok(made || place.owns_workspace(self.home, workspace).map_err(failure)?)
    }

    async fn destroy(&self, context: &Context) -> Result<Done, StepError> {
        let Some((place, record, copy)) = self.terraform()? else {
            return Ok(Done::quiet("nothing to destroy"));
        };
        if !self.owns_workspace(&place, &record.workspace)? {
            return Ok(Done::quiet("nothing to destroy"));
        }
        let vars = place.variables(self.home).map_err(failure)?;
        let terraform = place.terraform(&record, &copy, vars);
        let by = supervisor(self.interrupts, context);
        context.progress("init");
        terraform.init(&copy.digest, &by).await.map_err(terraform_failed)?;
        let mut known = place.resources(self.home).map_err(failure)?;
        let mut summary = "nothing to destroy".to_owned();
        if terraform.workspace(&by).await.map_err(terraform_failed)? == Workspace::Found {
            // A state that an `up` wrote and died before it could tell us.
            let resources = terraform.resources(&by).await.map_err(terraform_failed)?;
            if !resources.is_empty() {
                known = place.save_resources(self.home, &resources).map_err(failure)?;
                let report = |p: &envctl_programs::terraform::Progress| {
                    context.progress(format!("{} {}", p.action, p.address));
                };
                let file = place.plan_file();
                let plan =
                    terraform.plan(&file, Purpose::Destroy, &by, report).await.map_err(terraform_failed)?;
                if !plan.is_empty() {
                    terraform.apply(&file, &by, report).await.map_err(terraform_failed)?;
                }
                let _ = std::fs::remove_file(&file);
                summary = format!("{} destroyed", plan.destroy);
            }
        }
        context.failpoint("destroyed")?;
        for resource in &known {
            context.progress(format!("looking up {}", resource.address));
            let (end, item) = look_up(resource, &record.lookup, &copy.root, &by).await?;
            self.add([(end, item)]);
        }
        Ok(Done::shown(summary))
    }

    async fn delete_workspace(&self, context: &Context) -> Result<Done, StepError> {
        let Some((place, record, copy)) = self.terraform()? else { return Ok(Done::quiet("no workspace")) };
        if !self.owns_workspace(&place, &record.workspace)? {
            return Ok(Done::quiet("not ours"));
        }
        let terraform = place.terraform(&record, &copy, serde_json::Map::new());
        let by = supervisor(self.interrupts, context);
        terraform.delete_workspace(&by).await.map_err(terraform_failed)?;
        let item = |evidence: &str, remove| Item {
            kind: ThingKind::Workspace,
            id: record.workspace.clone(),
            evidence: evidence.to_owned(),
            used_by: vec![],
            remove,
        };
        let end = match terraform.workspace(&by).await.map_err(terraform_failed)? {
            Workspace::Found => {
                let remove =
                    format!("terraform -chdir={} workspace delete {}", copy.root.display(), record.workspace);
                (End::Left, item("`terraform workspace list` still names it", Some(remove)))
            }
            _ => (End::Gone, item("`terraform workspace list` does not name it", None)),
        };
        self.add([end]);
        Ok(Done::quiet("deleted"))
    }

    async fn release_backing(&self, context: &Context) -> Result<Done, StepError> {
        let Some(record) = &self.record.backing else { return Ok(Done::quiet("none")) };
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
            router::remove_unused(&self.machine.engine, self.record.router_port).await.map_err(engine)?;
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

/// Looks a destroyed resource up where it really was. Without a program that knows how, only the
/// state says that it is gone.
async fn look_up(
    resource: &Known,
    lookup: &[String],
    root: &Path,
    by: &envctl_programs::process::Supervisor,
) -> Result<(End, Item), StepError> {
    let item = |evidence: String| Item {
        kind: ThingKind::Resource,
        id: resource.address.clone(),
        evidence,
        used_by: vec![],
        remove: None,
    };
    let Some((program, arguments)) = lookup.split_first() else {
        let evidence =
            "the Terraform state no longer has it; `lookup` of the target names no program that could look";
        return Ok((End::Unverified, item(evidence.to_owned())));
    };
    let question = serde_json::to_vec(resource).map_err(failed)?;
    let asked = Command::new(program)
        .args(arguments.iter().cloned())
        .current_dir(root)
        .input(Input::Bytes(question.into()))
        .accept([0, LOOKUP_GONE])
        .run(by)
        .await;
    Ok(match asked {
        Ok(output) => {
            let said = output.stdout_text().trim().to_owned();
            if output.code == LOOKUP_GONE {
                (
                    End::Gone,
                    item(if said.is_empty() {
                        "the lookup program did not find it".to_owned()
                    } else {
                        said
                    }),
                )
            } else {
                let remove = format!("look at {}: Terraform no longer knows of it", resource.address);
                (End::Left, Item { remove: Some(remove), ..item(said) })
            }
        }
        Err(ProgramError::Interrupted { .. }) => return Err(StepError::Interrupted),
        Err(error) => (End::Unverified, item(format!("the lookup program could not tell: {error}"))),
    })
}
