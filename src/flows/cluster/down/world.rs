//! What the steps of `down` do. Each adds to the receipt.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use envctl_cluster::VerifiedCluster;
use envctl_cluster::namespace::{self, Found};
use envctl_cluster::objects::{Kinds, ObjectRef};
use envctl_cluster::release;
use envctl_cluster::remove::{self, Blocked, Removed, Volume};
use envctl_cluster::terraform::guard::Allowed;
use envctl_model::receipt::{End, Item};
use envctl_model::record::{Place as Lives, Record};
use envctl_model::{Receipt, Step, Thing, ThingKind};
use envctl_programs::helm::Template;
use envctl_runner::{Context, Done, StepError, World};
use serde::{Deserialize, Serialize};

use super::Options;
use super::plan::Action;
use crate::config::Base;
use crate::flows::Home;
use crate::flows::chart::{SCRATCH, helm_failed};
use crate::flows::cluster::target::cluster;
use crate::flows::cluster::terraform;
use crate::flows::interrupts::Interrupts;
use crate::flows::run::supervisor;
use crate::flows::step_error::{failed, failure};
use crate::flows::terraform::{Place, Steps};

/// The cluster target, as `down` acts on it.
#[derive(Debug)]
pub(super) struct DownWorld<'a> {
    pub(super) base: &'a Base,
    pub(super) options: &'a Options,
    pub(super) interrupts: &'a Interrupts,
    pub(super) cluster: &'a VerifiedCluster,
    pub(super) home: &'a Home,
    pub(super) record: &'a Record,
    /// Everything the journal of this machine says was created or meant to be.
    pub(super) things: BTreeSet<Thing>,
    pub(super) progress: Mutex<Progress>,
    pub(super) receipt: Mutex<Receipt>,
}

/// What steps have learnt for those after them.
#[derive(Debug, Default)]
pub(super) struct Progress {
    uid: Option<String>,
    inventory: Inventory,
}

/// What there was before anything was removed. It is kept until all of it is gone: a run that was
/// killed half-way must not make the next one forget.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Inventory {
    objects: BTreeSet<String>,
    /// Volume, reclaim policy, claim.
    volumes: BTreeSet<(String, String, String)>,
}

const INVENTORY: &str = "inventory.json";

impl World for DownWorld<'_> {
    type Action = Action;

    async fn perform(&self, step: &Step<Action>, context: &Context) -> Result<Done, StepError> {
        match step.action {
            Action::Inventory => self.inventory().await,
            Action::Front => self.front(context).await,
            Action::Uninstall => self.uninstall(context).await,
            Action::Namespace => self.namespace(context).await,
            Action::Volumes => self.volumes().await,
            Action::PlanDestroy => self.plan_destroy(context).await,
            Action::DestroyTerraform => self.destroy(context).await,
            Action::DeleteWorkspace => self.delete_workspace(context).await,
            Action::Images => Ok(self.images()),
        }
    }
}

impl DownWorld<'_> {
    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, end: End, item: Item) {
        self.receipt.lock().unwrap_or_else(PoisonError::into_inner).add(end, item);
    }

    fn name(&self) -> &str {
        self.record.name.as_str()
    }

    fn deadline(&self) -> Instant {
        Instant::now() + self.options.timeout
    }

    async fn inventory(&self) -> Result<Done, StepError> {
        let reader = self.cluster.reader();
        let mut known: Inventory = self.home.read_json(INVENTORY).map_err(failure)?.unwrap_or_default();
        let found = namespace::find(reader, self.name(), &self.record.identity).await.map_err(cluster)?;
        if let Found::Ours { uid, .. } = found {
            let kinds = Kinds::discover(reader).await.map_err(cluster)?;
            let (objects, volumes) =
                tokio::join!(kinds.inventory(reader, self.name()), remove::volumes(reader, self.name()));
            known.objects.extend(objects.map_err(cluster)?.iter().map(ToString::to_string));
            let volumes = volumes.map_err(cluster)?.into_iter();
            known.volumes.extend(volumes.map(|Volume { name, policy, claim }| (name, policy, claim)));
            self.home.write_json(INVENTORY, &known).map_err(failure)?;
            self.progress().uid = Some(uid);
        }
        let count = known.objects.len();
        self.progress().inventory = known;
        Ok(Done::quiet(format!("{count} objects")))
    }

    /// Tells soon what is in the way, and goes on waiting.
    fn blocked(context: &Context) -> impl Fn(&[Blocked]) {
        move |blocked: &[Blocked]| {
            for one in blocked {
                context.warn(one.to_string());
            }
            if blocked.is_empty() {
                context.progress("takes longer than usual; nothing says why yet");
            }
        }
    }

    fn still_blocked(&self, what: &str, blocked: &[Blocked]) -> StepError {
        let mut lines = vec![format!("{what} after {} s:", self.options.timeout.as_secs())];
        lines.extend(blocked.iter().map(|one| format!("  {one}")));
        lines.push(
            "start the controller again, or fix what it waits for, and type the same command again"
                .to_owned(),
        );
        let strippable =
            blocked.iter().find(|one| one.by.contains("finalizer") && !one.object.starts_with("Namespace"));
        if let Some(one) = strippable {
            lines.push(format!(
                "or give up what the finalizer protects, which then stays behind outside of the cluster: \
                 envctl down --name {} --strip-finalizers {}",
                self.name(),
                one.object
            ));
        }
        StepError::Stuck(lines.join("\n"))
    }

    async fn front(&self, context: &Context) -> Result<Done, StepError> {
        if self.progress().uid.is_none() {
            return Ok(Done::quiet("no namespace"));
        }
        for object in &self.options.strip {
            remove::strip_finalizers(self.cluster, self.name(), object).await.map_err(cluster)?;
            context.warn(format!(
                "the finalizers of {object} were taken off, as you asked: what its controller made outside of the cluster stays"
            ));
        }
        let names = remove::front(self.cluster.reader(), self.name()).await.map_err(cluster)?;
        if names.is_empty() {
            return Ok(Done::quiet("none"));
        }
        let tell = Self::blocked(context);
        let removed = remove::remove_front(self.cluster, self.name(), &names, self.deadline(), tell);
        match removed.await.map_err(cluster)? {
            Removed::Gone => Ok(Done::shown(format!("{} removed", names.len()))),
            Removed::Blocked(blocked) => {
                Err(self.still_blocked("Ingresses and load balancers are still there", &blocked))
            }
        }
    }

    async fn uninstall(&self, context: &Context) -> Result<Done, StepError> {
        let reader = self.cluster.reader();
        if self.progress().uid.is_none() {
            return Ok(Done::quiet("no namespace"));
        }
        let newest = release::newest(reader, self.name(), self.name(), &self.record.identity);
        if newest.await.map_err(cluster)?.is_none() {
            return Ok(Done::quiet("no release"));
        }
        release::recover(self.cluster, self.name(), self.name(), &self.record.identity)
            .await
            .map_err(cluster)?;
        let plugin = std::env::current_exe().map_err(failed)?;
        let access = release::access(self.cluster, &self.home.file(SCRATCH), &plugin).map_err(failed)?;
        let by = supervisor(self.interrupts, context);
        let template = Template::new(&self.base.programs.helm.value, "", self.name(), self.name());
        let uninstalled = template.uninstall(&access, self.options.timeout, &by).await;
        uninstalled.map_err(|error| failure(helm_failed(error)))?;
        Ok(Done::shown("uninstalled"))
    }

    async fn namespace(&self, context: &Context) -> Result<Done, StepError> {
        let (uid, inventory) = {
            let progress = self.progress();
            (progress.uid.clone(), progress.inventory.clone())
        };
        if let Some(uid) = &uid {
            let tell = Self::blocked(context);
            let removed = remove::remove_namespace(self.cluster, self.name(), uid, self.deadline(), tell);
            if let Removed::Blocked(blocked) = removed.await.map_err(cluster)? {
                return Err(self.still_blocked("the namespace is still there", &blocked));
            }
        }
        let item =
            |kind, id: String, evidence: String| Item { kind, id, evidence, used_by: vec![], remove: None };
        let found = namespace::find(self.cluster.reader(), self.name(), &self.record.identity);
        let evidence = match found.await.map_err(cluster)? {
            Found::Missing => format!("the API server has no namespace {}", self.name()),
            Found::NotOurs { whose } => format!("the namespace of that name is another one by now: {whose}"),
            Found::Ours { .. } => {
                let remove = Some(format!("kubectl delete namespace {}", self.name()));
                let left =
                    item(ThingKind::Namespace, self.name().to_owned(), "still in the cluster".to_owned());
                self.add(End::Left, Item { remove, ..left });
                return Ok(Done::quiet("still there"));
            }
        };
        let was_made = uid.is_some() || self.things.iter().any(|t| t.kind == ThingKind::Namespace);
        if was_made {
            self.add(End::Gone, item(ThingKind::Namespace, self.name().to_owned(), evidence.clone()));
        }
        for object in inventory.objects {
            self.add(End::Gone, item(ThingKind::Object, object, evidence.clone()));
        }
        self.look_up_cluster_wide().await?;
        Ok(if uid.is_some() { Done::shown("removed") } else { Done::quiet("there was none") })
    }

    /// What belongs to the whole cluster goes with the release, not with the namespace.
    async fn look_up_cluster_wide(&self) -> Result<(), StepError> {
        let Lives::Eks(place) = &self.record.place else { return Ok(()) };
        if place.cluster_wide.is_empty() {
            return Ok(());
        }
        let reader = self.cluster.reader();
        let kinds = Kinds::discover(reader).await.map_err(cluster)?;
        for object in &place.cluster_wide {
            let reference = ObjectRef {
                api_version: object.api_version.clone(),
                kind: object.kind.clone(),
                namespace: None,
                name: object.name.clone(),
            };
            let item = |evidence: &str, remove| Item {
                kind: ThingKind::Object,
                id: reference.to_string(),
                evidence: evidence.to_owned(),
                used_by: vec![],
                remove,
            };
            if kinds.exists(reader, &reference, self.name(), self.name()).await.map_err(cluster)? {
                let remove = format!("kubectl delete {} {}", object.kind.to_lowercase(), object.name);
                self.add(End::Left, item("still in the cluster", Some(remove)));
            } else {
                self.add(End::Gone, item("the API server has no such object", None));
            }
        }
        Ok(())
    }

    async fn volumes(&self) -> Result<Done, StepError> {
        let volumes = self.progress().inventory.volumes.clone();
        let deleted: BTreeSet<_> = volumes
            .iter()
            .filter(|(_, policy, _)| policy == "Delete")
            .map(|(name, ..)| name.clone())
            .collect();
        let left =
            remove::await_volumes(self.cluster.reader(), deleted, self.deadline()).await.map_err(cluster)?;
        for (name, policy, claim) in volumes {
            let item = |evidence: String, remove| Item {
                kind: ThingKind::PersistentVolume,
                id: name.clone(),
                evidence,
                used_by: vec![],
                remove,
            };
            let remove = format!("kubectl delete persistentvolume {name}");
            if policy != "Delete" {
                let evidence = format!(
                    "its reclaim policy is {policy}: the data of claim {claim} stays until somebody removes it: {remove}"
                );
                self.add(End::Retained, item(evidence, None));
            } else if left.contains(&name) {
                let evidence = format!("still in the cluster; it was bound to claim {claim}");
                self.add(End::Left, item(evidence, Some(remove)));
            } else {
                self.add(End::Gone, item("the API server has no such volume".to_owned(), None));
            }
        }
        Ok(Done::quiet("looked up"))
    }

    /// `None` where `up` died before the workspace was ours: then nothing was made by it either.
    async fn terraform(&self) -> Result<Option<Steps<'_>>, StepError> {
        let Some(record) = self.record.terraform.as_ref().filter(|record| record.claimed) else {
            return Ok(None);
        };
        let place = Place::of(self.home);
        terraform::fetch(self.cluster, self.record, &place).await?;
        let Some(copy) = place.archived().map_err(failure)? else {
            return Err(StepError::Stuck(
                "the Terraform root of this environment is neither on this machine nor kept in the cluster\n\
                 type `envctl down` on the machine that brought it up"
                    .to_owned(),
            ));
        };
        let vars = place.variables(self.home).map_err(failure)?;
        let mut equipped = place.terraform(record, &copy, vars);
        terraform::equip(&mut equipped, self.cluster, self.record);
        let (home, interrupts) = (self.home, self.interrupts);
        Ok(Some(Steps { place, home, terraform: equipped, digest: copy.digest, interrupts }))
    }

    async fn plan_destroy(&self, context: &Context) -> Result<Done, StepError> {
        let Some(steps) = self.terraform().await? else { return Ok(Done::quiet("nothing to destroy")) };
        let allowed = self.allowed();
        let by = supervisor(self.interrupts, context);
        steps.init(context).await?;
        terraform::state(self.cluster, &steps.terraform, &allowed).await?;
        let guard = terraform::Guard { terraform: &steps.terraform, allowed: &allowed, by };
        steps.plan_destroy(context, &guard).await
    }

    async fn destroy(&self, context: &Context) -> Result<Done, StepError> {
        let (Some(steps), Some(record)) = (self.terraform().await?, &self.record.terraform) else {
            return Ok(Done::quiet("nothing to destroy"));
        };
        let (known, done) = steps.destroy(context).await?;
        let ends = steps.look_up(context, &known, &record.lookup).await?;
        for (end, item) in terraform::look_up_by_tag(self.cluster, self.record, &known, ends).await {
            self.add(end, item);
        }
        Ok(done)
    }

    fn allowed(&self) -> Allowed {
        let mut allowed = terraform::allowed(self.cluster, None);
        if let Some(record) = &self.record.terraform {
            allowed.accounts.extend(record.accounts.iter().cloned());
            allowed.trusted.clone_from(&record.trust);
        }
        allowed
    }

    async fn delete_workspace(&self, context: &Context) -> Result<Done, StepError> {
        let Some(steps) = self.terraform().await? else { return Ok(Done::quiet("not ours")) };
        let (end, item) = steps.delete_workspace(context).await?;
        self.add(end, item);
        Ok(Done::quiet("deleted"))
    }

    /// Images are shared by all that run the same content, and by the next `up`.
    fn images(&self) -> Done {
        for reference in self.record.images.values() {
            self.add(
                End::Kept,
                Item {
                    kind: ThingKind::Image,
                    id: reference.clone(),
                    evidence: "in the registry, by its content; the registry's own rules expire it"
                        .to_owned(),
                    used_by: vec![],
                    remove: None,
                },
            );
        }
        Done::quiet("kept")
    }

    pub(super) fn finish(&self) -> Receipt {
        let mut receipt = self.receipt.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for thing in &self.things {
            let known = receipt.items().any(|(_, item)| item.kind == thing.kind && item.id == thing.id);
            if !known && matches!(thing.kind, ThingKind::Workspace | ThingKind::Resource) {
                receipt.add(
                    End::Unverified,
                    Item {
                        kind: thing.kind,
                        id: thing.id.clone(),
                        evidence: "only the journal knows of it; nothing could be looked up".to_owned(),
                        used_by: vec![],
                        remove: None,
                    },
                );
            }
        }
        receipt
    }

    /// Whether the only place that knows of something is this environment's directory.
    pub(super) fn lost_sight(&self, receipt: &Receipt) -> bool {
        receipt.unverified.iter().any(|item| item.kind == ThingKind::Workspace)
    }
}
